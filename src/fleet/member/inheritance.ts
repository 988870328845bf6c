/** What the next supervisor of a member is to know. */
export interface FleetInheritance {
  readonly group: string;
  readonly member: string;
  readonly lease: string;
  /** Control ports of the others. */
  readonly peers: readonly string[];
}
