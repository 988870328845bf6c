/** Makes a replicator a member of the fleet that it was told of. */
import { isMulticast } from '../../domain/endpoint.js';
import { Failure, UsageError } from '../../domain/errors.js';
import { version } from '../../domain/installation.js';
import { Member } from '../../fleet/member/member.js';
import { GroupDesk } from '../../fleet/registry/desk.js';
import { followed } from '../../fleet/registry/followed.js';
import { log } from '../../terminal/log.js';
import type { OpenedPlane, Opening } from '../planes.js';
import type { InForce } from '../reload/configured.js';
import { GuardedReplicator } from './guarded.js';
import { ReplicatorTarget, type TargetParts } from './target.js';

/** A member that has not joined yet, and its replicator as control drives it. */
export interface OpenedFleet {
  readonly member: Member;
  readonly replicator: GuardedReplicator;
}

export interface FleetParts extends Omit<TargetParts, 'arena'> {
  readonly inForce: InForce;
  /** Tells what the next supervisor is to know. */
  readonly keep: () => void;
  /** It was drained. */
  readonly onEnd: () => void;
}

/** Null: there is none. */
export function openFleet(
  { config, closers, onFatal }: Opening,
  { plane, adopted }: OpenedPlane,
  parts: FleetParts,
): OpenedFleet | null {
  if (config.fleet === null) return null;
  const { inForce, keep, onEnd, replicator } = parts;
  const inherited = adopted?.fleet ?? null;
  if (adopted !== null && inherited === null && parts.subscribers.size > 0)
    throw new Failure('what runs here is of no fleet; stop it first, with: fantail clean');
  if (config.fleet.upstream !== null && isMulticast(config.listenIp))
    throw new UsageError(
      `--upstream sends to one address, and ${config.listenIp} is a group: name an address of this host as listen_ip`,
    );
  const member = new Member({
    config: config.fleet,
    target: new ReplicatorTarget({ ...parts, arena: plane.arena }),
    about: {
      listen: { ip: config.listenIp, port: config.listenPort },
      upstream: config.fleet.upstream,
      path: [],
      version,
      startedAt_ms: Date.now(),
    },
    ownFeeds: new Set(config.feeds.map(({ name }) => name)),
    inherited,
    onKeep: () => {
      inForce.fleet = member.inheritance;
      keep();
    },
    onDrained: () => {
      log.info('fleet: drained');
      onEnd();
    },
    onFatal,
  });
  closers.keep(member);
  replicator.member = member;
  const { etcd, keys, mirror } = member;
  const desk = new GroupDesk(etcd, keys, () => followed(etcd, keys, mirror));
  return { member, replicator: new GuardedReplicator(replicator, member, desk) };
}
