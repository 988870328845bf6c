/** What the next supervisor of a member is to know. */
export interface FleetInheritance {
  readonly group: string;
  readonly member: string;
  readonly lease: string;
  /** The others. */
  readonly peers: readonly Peer[];
}

/** Another member, and where its control port is: http://IP:PORT, or https. */
export interface Peer {
  readonly member: string;
  readonly control: string;
}
