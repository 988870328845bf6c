/** What the kernel tells of a card beyond its being an interface: offloads, queues, its clock. */

/** How a card chooses a queue by a hash: a queue for each of the hash's last values. */
export interface Spread {
  readonly table: readonly number[];
  /** Bytes. */
  readonly key: readonly number[];
  readonly toeplitz: boolean;
  /** The ports of UDP over IPv4 are hashed, too. */
  readonly has_ports: boolean;
}

/** A rule of a card for UDP over IPv4, or all of IPv4. Bits of a mask that are set are compared. */
export interface FlowRule {
  readonly location: number;
  /** Null: what matches is dropped. */
  readonly queue: number | null;
  readonly source: string;
  readonly source_mask: string;
  readonly target: string;
  readonly target_mask: string;
  readonly source_port: number;
  readonly source_port_mask: number;
  readonly target_port: number;
  readonly target_port_mask: number;
}

/** What a card does beyond being an interface; what its driver does not tell is null or empty. */
export interface Card {
  /** Switched on, carrier or not. */
  readonly enabled: boolean;
  readonly multicast: boolean;
  readonly arp: boolean;
  /** Offloads and the like that are on (ethtool -k), and whether they can be switched off. */
  readonly features: readonly { readonly name: string; readonly changeable: boolean }[];
  readonly spread: Spread | null;
  readonly rules: readonly FlowRule[];
  /** It knows of rules (ethtool -N): ntuple-filters is on, or can be switched on. */
  readonly takes_rules: boolean;
  /** Of the netdev family, since Linux 6.3: bits of enum netdev_xdp_act and netdev_xsk_flags. */
  readonly xdp: {
    readonly xdp: number;
    /** Segments of a packet in zero copy; 1 where it takes no more. */
    readonly segments_max: number;
    readonly xsk: number;
  } | null;
  /** N of /dev/ptpN, its own clock; -1: it has none. */
  readonly clock: number;
}
