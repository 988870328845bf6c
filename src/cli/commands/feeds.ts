/** `fantail feed add`, `feed remove` and `feed list`. */
import type { ClientFlags } from '../../control/client.js';
import { sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import type { NamedFeed } from '../../domain/feed.js';
import type { FeedRow } from '../../domain/statistics.js';
import { tableLines } from '../../terminal/tables.js';
import { withFantail } from '../client.js';

type Flags = ClientFlags & { json?: boolean };

export async function feedAdd(feed: NamedFeed, flags: Flags): Promise<void> {
  const { existing } = await withFantail(flags, ({ feeds }) => feeds.add(feed));
  if (!flags.json) console.log(existing ? `${feed.name} was there already` : `added ${feed.name}`);
}

export async function feedRemove(name: string, flags: Flags): Promise<void> {
  const { removed } = await withFantail(flags, ({ feeds }) => feeds.remove(name));
  if (!flags.json) console.log(removed ? `removed ${name}` : `${name} was not there`);
}

export async function feedList(flags: Flags): Promise<void> {
  const rows = await withFantail(flags, ({ feeds }) => feeds.list());
  if (!flags.json) console.log(tableLines(COLUMNS, rows.map(rowOf)).join('\n'));
}

const COLUMNS = ['name', 'address', 'source', 'joined', 'received', 'refused', 'subscribers'];

function rowOf(feed: FeedRow): string[] {
  const joined = feed.joined === null ? '-' : feed.joined ? 'yes' : 'no';
  return [
    feed.name,
    endpointText(feed),
    feed.source ?? 'any',
    joined,
    String(feed.received),
    String(sumOf(feed.drops)),
    String(feed.subscribers),
  ];
}
