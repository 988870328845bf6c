/** A mirror of a group → the rows that people and programs read. Pure. */
import type {
  FleetMemberRow,
  FleetStatus,
  FleetSubscriberRow,
  UpstreamState,
} from '../../domain/fleet.js';
import { SHARDS } from '../shards/rendezvous.js';
import type { Mirror } from './mirror.js';

/** Of the keys that are passed over; the others are counted. */
const FAULTS_TOLD_MAX = 1000;

const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) =>
  a < b ? -1 : 1;
const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

/** What somebody wrote is shown on terminals. */
export const printable = (text: string): string => text.replace(/\p{Cc}/gu, '?');

export function statusOf(group: string, mirror: Mirror): FleetStatus {
  const { shards, subscribers, pins, faults, revision } = mirror;
  const sizeOf = (shard: number) => subscribers[shard]?.size ?? 0;
  const free = Array.from({ length: SHARDS }, (_, shard) => shard).filter(
    (each) => !shards.has(each),
  );
  const members = membersOf(mirror);
  return {
    group,
    revision,
    members,
    subscribers: mirror.subscriberCount,
    free_shards: free.length,
    unowned: free.reduce((sum, shard) => sum + sizeOf(shard), 0),
    unserved: members.reduce((sum, { unserved }) => sum + unserved, 0),
    no_room: members.reduce((sum, { no_room }) => sum + no_room, 0),
    moving: [...shards.values()].filter(({ to, from }) => to !== undefined || from !== undefined)
      .length,
    feeds: [...mirror.feeds].map(([name, feed]) => ({ name, ...feed })).sort(byName),
    filters: filtersOf(mirror),
    pins: [...pins].map(([shard, member]) => ({ shard, member })).sort((a, b) => a.shard - b.shard),
    faults: [...faults]
      .slice(0, FAULTS_TOLD_MAX)
      .map(([key, { wrong }]) => ({ key: printable(key), wrong })),
    fault_count: faults.size,
  };
}

/** As far as was heard. */
export function upstreamStateOf(
  { members, reports }: Pick<Mirror, 'members' | 'reports'>,
  relay: { readonly name: string; readonly upstream: string | null },
): UpstreamState | null {
  const { name, upstream } = relay;
  if (upstream === null) return null;
  const record = members.get(upstream);
  if (record === undefined) return 'absent';
  if (record.isDraining) return 'draining';
  const refused = reports.get(upstream)?.refused_relays ?? [];
  return refused.some(({ member }) => member === name) ? 'refuses' : 'feeds';
}

function membersOf(mirror: Mirror): FleetMemberRow[] {
  const { members, reports, shards, subscribers } = mirror;
  const rows = [...members].map(([name, record]) => {
    const owned = [...shards].filter(([, { owner }]) => owner === name).map(([shard]) => shard);
    const report = reports.get(name);
    return {
      name,
      row: {
        member: name,
        weight: record.weight,
        is_draining: record.isDraining,
        control: record.control,
        listen: record.listen,
        upstream: record.upstream,
        upstream_state: upstreamStateOf(mirror, { name, upstream: record.upstream }),
        inside_ns: report?.inside ?? null,
        link_us: report?.link_us ?? null,
        version: record.version,
        started_at_ms: record.startedAt_ms,
        shards: owned.length,
        subscribers: owned.reduce((sum, shard) => sum + (subscribers[shard]?.size ?? 0), 0),
        standing: report?.state ?? null,
        unserved: report?.unserved ?? 0,
        no_room: report?.no_room ?? 0,
        handover: report?.handover ?? 0,
        reasons: report?.reasons ?? [],
        refused_relays: report?.refused_relays ?? [],
      },
    };
  });
  return rows.sort(byName).map(({ row }) => row);
}

function filtersOf({ filters, modules, subscribers, default: chosen }: Mirror) {
  const users = new Map<string, number>();
  for (const some of subscribers)
    for (const { filter } of some.values()) {
      const name = filter ?? chosen?.filter;
      if (name !== undefined) users.set(name, (users.get(name) ?? 0) + 1);
    }
  return [...filters]
    .map(([name, { sha256 }]) => ({
      name,
      sha256,
      is_there: modules.has(sha256),
      subscribers: users.get(name) ?? 0,
      default: chosen?.filter === name,
    }))
    .sort(byName);
}

/** In the order of their shards, and in it in that of their keys. */
export function subscriberRows({ subscribers, shards }: Mirror): FleetSubscriberRow[] {
  return subscribers.flatMap((some) =>
    [...some].sort(byKey).map(([, { endpoint, feeds, filter, param, paused, shard }]) => ({
      ...endpoint,
      ...{ feeds, filter, param, paused, shard },
      member: shards.get(shard)?.owner ?? null,
    })),
  );
}
