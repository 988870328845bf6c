/** What a member is opened with, what it leaves, and what it says of how it stands. */
import type { Failure } from '../../domain/errors.js';
import type { FleetTarget, Standing } from '../../domain/fleet.js';
import type { FleetConfig } from '../config.js';
import type { MemberRecord } from '../registry/records.js';

/** What the next supervisor is to know. */
export interface FleetInheritance {
  readonly group: string;
  readonly member: string;
  readonly lease: string;
  /** Control ports of the others. */
  readonly peers: readonly string[];
}

export interface MemberOptions {
  readonly config: FleetConfig;
  readonly target: FleetTarget;
  /** What it says of itself in etcd. */
  readonly about: Omit<MemberRecord, 'weight' | 'isDraining' | 'control'>;
  readonly ownFeeds: ReadonlySet<string>;
  /** Of the supervisor before, whose subscribers are in the table; null: there was none. */
  readonly inherited: FleetInheritance | null;
  /** What the next supervisor is to know has changed. */
  readonly onKeep: () => void;
  /** It was drained, and owns nothing any more. */
  readonly onDrained: () => void;
  readonly onFatal: (failure: Failure) => void;
}

export const SENTENCES: Readonly<Record<Exclude<Standing, 'joined'>, string>> = {
  unsure: 'etcd is silent; it asks the other members',
  cut: 'another member reaches etcd and this one does not: it serves to the end of its lease',
  registry_gone: 'no member reaches etcd: it goes on with what it has, and takes no changes',
  isolated: 'it reaches neither etcd nor all members: it does as --fleet-isolated says',
  fenced: 'the time of its lease is over: it serves nobody until it has joined again',
};
