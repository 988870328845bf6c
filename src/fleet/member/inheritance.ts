/** What the next supervisor of a member is to know. */
export interface FleetInheritance {
  readonly group: string;
  readonly member: string;
  readonly lease: string;
  /** The others. */
  readonly peers: readonly Peer[];
  /** When the member was started, as it is registered: who adopts it goes on with it. */
  readonly startedAt_ms: number | null;
}

/** Another member, and where its control port is: http://IP:PORT, or https. */
export interface Peer {
  readonly member: string;
  readonly control: string;
}
