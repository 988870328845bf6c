/** The operations of the control channel on feeds, a row each. */
import { counted } from '../domain/counts.js';
import { feedAddressOf } from '../domain/feed.js';
import { feedLine } from './lines.js';
import { operation } from './operation.js';
import { feedName, ip, optional, port, source } from './parameters.js';

export const feedOperations = {
  'feed.add': operation({
    typed: 'feed add <name> <ip>:<port>[@<source>]',
    does: 'receive that feed too, from that host alone if it is named',
    takes: { name: feedName, ip, port, source: optional(source) },
    fromWords: feedFromWords,
    perform: ({ replicator }, { name, ip, port, source = null }) =>
      replicator.feedAdd({ name, ip, port, source }),
    lines: ({ existing }, { name }) => [
      `ok feed ${name} ${existing ? 'was there already' : 'added'}`,
    ],
  }),
  'feed.remove': operation({
    typed: 'feed remove <name>',
    does: 'receive it no more',
    takes: { name: feedName },
    perform: ({ replicator }, { name }) => replicator.feedRemove(name),
    lines: ({ removed }, { name }) => [`ok feed ${name} ${removed ? 'removed' : 'was not there'}`],
  }),
  'feed.list': operation({
    typed: 'feed list',
    does: 'all feeds',
    takes: {},
    reads: true,
    perform: async ({ replicator }) => ({ feeds: await replicator.feedList() }),
    lines: ({ feeds }) => [...feeds.map(feedLine), `ok ${counted(feeds.length, 'feed')}`],
  }),
} as const;

/** `b 239.1.1.1:5000@10.0.0.9`. */
export function feedFromWords(words: readonly string[]): Record<string, unknown> | null {
  const [name, address, ...more] = words;
  if (name === undefined || address === undefined || more.length > 0) return null;
  const { source = null, ...to } = feedAddressOf(address) ?? { ip: address, port: 0 };
  return { name, ...to, ...(source === null ? {} : { source }) };
}
