/**
 * The operations of the control channel, a row each; those on feeds, filters, the configuration and
 * a group are in files of their own.
 * A new one is a row here and a method of Replicator.
 */
import { counted } from '../domain/counts.js';
import type { Stats } from '../domain/statistics.js';
import { configurationOperations } from './configuration-operations.js';
import {
  CHANGES_MAX,
  PROTOCOL_VERSION,
  WATCH_SECONDS_MAX,
  WATCH_SECONDS_MIN,
} from './constants.js';
import { feedOperations } from './feed-operations.js';
import { filterOperations } from './filter-operations.js';
import { fleetOperations } from './fleet-operations.js';
import { changeLine, queueLines, statsLines, subscriberLine } from './lines.js';
import { type Operation, operation, type Parameters, type Written } from './operation.js';
import {
  count,
  feedNames,
  ip,
  lease,
  optional,
  port,
  seconds,
  token,
  wanted,
} from './parameters.js';

export const operations = {
  add: operation({
    typed: 'add <ip> <port> [feed=<name>,<name>|all] [lease=<seconds>|session]',
    does: 'send feeds there too (main); for so long, or as long as you are here',
    takes: { ip, port, feeds: optional(feedNames), lease: optional(lease) },
    fromWords: addFromWords,
    together: true,
    perform: ({ replicator, session }, { ip, port, feeds, lease = null }) =>
      replicator.add(ip, port, lease === 'session' ? session.life : lease, feeds),
    lines: ({ existing }, { ip, port }) => [
      `ok ${ip} ${port} ${existing ? 'was there already' : 'added'}`,
    ],
  }),
  remove: operation({
    typed: 'remove <ip> <port>',
    does: 'stop sending there',
    takes: { ip, port },
    together: true,
    perform: ({ replicator }, { ip, port }) => replicator.remove(ip, port),
    lines: ({ removed }, { ip, port }) => [
      `ok ${ip} ${port} ${removed ? 'removed' : 'was not there'}`,
    ],
  }),
  pause: operation({
    typed: 'pause <ip> <port>',
    does: 'owe it nothing until resume',
    takes: { ip, port },
    together: true,
    perform: ({ replicator }, { ip, port }) => replicator.pause(ip, port, true),
    lines: ({ changed }, { ip, port }) => [
      `ok ${ip} ${port} ${changed ? 'paused' : 'was paused already'}`,
    ],
  }),
  resume: operation({
    typed: 'resume <ip> <port>',
    does: 'send there again',
    takes: { ip, port },
    together: true,
    perform: ({ replicator }, { ip, port }) => replicator.pause(ip, port, false),
    lines: ({ changed }, { ip, port }) => [
      `ok ${ip} ${port} ${changed ? 'resumed' : 'was not paused'}`,
    ],
  }),
  list: operation({
    typed: 'list',
    does: 'all subscribers',
    takes: {},
    reads: true,
    perform: ({ replicator }) => ({ subscribers: replicator.list() }),
    lines: ({ subscribers }) => [
      ...subscribers.map(subscriberLine),
      `ok ${counted(subscribers.length, 'subscriber')}`,
    ],
  }),
  stats: operation({
    typed: 'stats [queues]',
    does: "all counters; with those of each queue beside the driver's own",
    takes: { queues: optional(wanted) },
    fromWords: ([word, ...more]) => {
      if (more.length > 0 || (word !== undefined && word !== 'queues')) return null;
      return word === undefined ? {} : { queues: true };
    },
    reads: true,
    perform: ({ replicator }, { queues = false }): Promise<Stats> =>
      queues ? replicator.queueStats() : replicator.stats(),
    lines: (stats) => [
      ...statsLines(stats),
      ...queueLines(stats.driver),
      `ok ${counted(stats.subscribers.length, 'subscriber')}`,
    ],
  }),
  watch: operation({
    typed: 'watch <seconds>',
    does: `counters every so many seconds, ${WATCH_SECONDS_MIN} to ${WATCH_SECONDS_MAX}, and gaps as they are found`,
    takes: { seconds },
    reads: true,
    perform: ({ session }, { seconds }) => {
      session.watch(seconds);
      return { seconds };
    },
    lines: ({ seconds }) => [`ok every ${seconds} s`],
  }),
  unwatch: operation({
    typed: 'unwatch',
    does: 'no more of them',
    takes: {},
    reads: true,
    perform: ({ session }) => {
      session.unwatch();
      return {};
    },
    lines: () => ['ok no more events'],
  }),
  changes: operation({
    typed: 'changes [<count>]',
    does: `the last changes that were asked for here, up to ${CHANGES_MAX}`,
    takes: { count: optional(count) },
    fromWords: ([word, ...more]) => {
      if (more.length > 0) return null;
      return word === undefined ? {} : { count: count.fromWord(word) };
    },
    reads: true,
    perform: ({ session }, { count = CHANGES_MAX }) => ({ changes: session.changes(count) }),
    lines: ({ changes }) => [...changes.map(changeLine), `ok ${counted(changes.length, 'change')}`],
  }),
  help: operation({
    typed: 'help',
    does: 'this text',
    takes: {},
    reads: true,
    perform: ({ session }) => ({ protocol: PROTOCOL_VERSION, help: session.help() }),
    lines: ({ help }) => [...help, 'ok'],
  }),
  auth: operation({
    typed: 'auth <token>',
    does: 'show the token, where one is wanted',
    takes: { token },
    beforeToken: true,
    perform: async ({ session }, { token }) => ({ rights: await session.authorize(token) }),
    lines: () => ['ok'],
  }),
  ...configurationOperations,
  ...feedOperations,
  ...filterOperations,
  ...fleetOperations,
} as const;

/** `10.0.0.34 9001`, and `feed=main,b` and `lease=30` behind it, in either order. */
function addFromWords(words: readonly string[]): Record<string, unknown> | null {
  const [ipWord, portWord, ...options] = words;
  if (ipWord === undefined || portWord === undefined) return null;
  const read: Record<string, unknown> = { ip: ipWord, port: port.fromWord(portWord) };
  for (const option of options) {
    const [, key, value = ''] = /^(feed|lease)=(.*)$/.exec(option) ?? [];
    const name = key === 'feed' ? 'feeds' : key;
    if (name === undefined || name in read) return null;
    read[name] = name === 'feeds' ? feedNames.fromWord(value) : lease.fromWord(value);
  }
  return read;
}

type Table = typeof operations;

export type Op = keyof Table;
/** A request as a client writes it. */
export type Question<Name extends Op = Op> = {
  [Each in Name]: { op: Each } & Written<Table[Each]['takes']>;
}[Name];
/** What an operation answers, as objects carry it. */
export type Answer<Name extends Op = Op> = {
  [Each in Name]: Table[Each] extends Operation<infer _ extends Parameters, infer Given>
    ? Given
    : never;
}[Name];
