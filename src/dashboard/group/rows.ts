/** The subscribers of a group as rows: each with its name, and how it is with it. */
import { endpointText } from '../../domain/endpoint.js';
import type { FleetStatus, FleetSubscriberRow } from '../../domain/fleet.js';
import type { GroupReading } from '../link/group.js';

/**
 * waits: its shard is nobody's at the moment. refused: its member says why it does not serve it.
 * unknown: its member has more of those than it names.
 */
export type State = 'served' | 'paused' | 'waits' | 'refused' | 'unknown';

export interface GroupSubscriber {
  /** ip:port. */
  readonly name: string;
  /** By its address. */
  readonly order: number;
  readonly row: FleetSubscriberRow;
  readonly state: State;
  /** Of one that is refused. */
  readonly reason: string;
  /** Somebody has moved its shard. */
  readonly isMoved: boolean;
}

export function rowsOf({ status, subscribers }: GroupReading): GroupSubscriber[] {
  const reasons = reasonsOf(status);
  const vague = new Set(
    status.members
      .filter(({ unserved, reasons: told, refused_relays: relays }) => {
        return unserved > told.length + relays.length;
      })
      .map(({ member }) => member),
  );
  const moved = new Set(status.pins.map(({ shard }) => shard));
  return subscribers.map((row) => {
    const name = endpointText(row);
    const told = row.member === null ? undefined : reasons.get(`${row.member} ${name}`);
    const reason = told?.replace(`${name} `, ''); // whose row says it
    const stateOf = (): State => {
      if (row.member === null) return 'waits';
      if (reason !== undefined) return 'refused';
      if (row.paused) return 'paused';
      return vague.has(row.member) ? 'unknown' : 'served';
    };
    const isMoved = moved.has(row.shard);
    return { name, order: orderOf(row), row, state: stateOf(), reason: reason ?? '', isMoved };
  });
}

/** By member and subscriber: one that has just changed hands may be told of by its last member. */
function reasonsOf({ members }: FleetStatus): ReadonlyMap<string, string> {
  return new Map(
    members.flatMap(({ member, reasons }) =>
      reasons.map(({ subscriber, reason }) => [`${member} ${subscriber}`, reason] as const),
    ),
  );
}

const orderOf = ({ ip, port }: FleetSubscriberRow): number =>
  ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) * 65536 + port;

/** How many have each feed. */
export function feedCounts({ subscribers }: GroupReading): (feed: string) => number {
  const counts = new Map<string, number>();
  for (const { feeds } of subscribers)
    for (const feed of feeds) counts.set(feed, (counts.get(feed) ?? 0) + 1);
  const all = counts.get('all') ?? 0;
  return (feed) => (counts.get(feed) ?? 0) + all;
}
