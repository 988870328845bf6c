/** `fantail feed add`, `feed remove` and `feed list`. */
import { type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import type { NamedFeed } from '../../domain/feed.js';
import type { FeedRow } from '../../domain/statistics.js';
import { tableLines } from '../../terminal/tables.js';

type Flags = ClientFlags & { json?: boolean };

export async function feedAdd({ source, ...feed }: NamedFeed, flags: Flags): Promise<void> {
  const asked = { op: 'feed.add', ...feed, ...(source === null ? {} : { source }) } as const;
  const reply = await withClient(flags, (client) => client.ask(asked));
  if (flags.json) console.log(reply.text);
  const { existing } = orThrow(reply);
  if (!flags.json) console.log(existing ? `${feed.name} was there already` : `added ${feed.name}`);
}

export async function feedRemove(name: string, flags: Flags): Promise<void> {
  const reply = await withClient(flags, (client) => client.ask({ op: 'feed.remove', name }));
  if (flags.json) console.log(reply.text);
  const { removed } = orThrow(reply);
  if (!flags.json) console.log(removed ? `removed ${name}` : `${name} was not there`);
}

export async function feedList(flags: Flags): Promise<void> {
  const reply = await withClient(flags, (client) => client.ask({ op: 'feed.list' }));
  if (flags.json) console.log(reply.text);
  const { feeds } = orThrow(reply);
  if (!flags.json) console.log(tableLines(COLUMNS, feeds.map(rowOf)).join('\n'));
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
