/** What a member is opened with. */
import type { Failure } from '../../domain/errors.js';
import type { FleetTarget } from '../../domain/fleet.js';
import type { FleetConfig } from '../config.js';
import type { MemberRecord } from '../registry/records.js';
import type { FleetInheritance } from './inheritance.js';

export interface MemberOptions {
  readonly config: FleetConfig;
  readonly target: FleetTarget;
  /** What it says of itself in etcd; where it inherits, it was started when that one was. */
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
