/** The operations of the control channel on a group beyond this machine, a row each. */
import { counted } from '../domain/counts.js';
import type { FleetStatus, FleetSubscriberRow } from '../domain/fleet.js';
import { feedFromWords } from './feed-operations.js';
import { LOAD_SIZE_MAX, subscriberOf, useFromWords } from './filter-operations.js';
import { operation } from './operation.js';
import {
  feedName,
  feedNames,
  ip,
  memberName,
  module,
  name,
  optional,
  paramWord,
  port,
  source,
} from './parameters.js';

export const fleetOperations = {
  'fleet.status': operation({
    typed: 'fleet status',
    does: 'the group: members, shards, feeds, filters',
    takes: {},
    reads: true,
    perform: ({ replicator }) => replicator.fleet().status(),
    lines: statusLines,
  }),
  'fleet.list': operation({
    typed: 'fleet list',
    does: 'all subscribers of the group, and who serves each',
    takes: {},
    reads: true,
    perform: async ({ replicator }) => ({ subscribers: await replicator.fleet().list() }),
    lines: ({ subscribers }) => [
      ...subscribers.map(subscriberLine),
      `ok ${counted(subscribers.length, 'subscriber')}`,
    ],
  }),
  'fleet.add': operation({
    typed: 'fleet add <ip> <port> [feed=<name>,<name>|all] [filter=<name>] [param=<param>]',
    does: 'send feeds there, from whichever member',
    takes: {
      ip,
      port,
      feeds: optional(feedNames),
      filter: optional(name),
      param: optional(paramWord),
    },
    fromWords: addFromWords,
    perform: ({ replicator }, { ip, port, feeds, filter, param }) =>
      replicator.fleet().add({ ip, port }, { feeds, filter, param }),
    lines: ({ existing }, { ip, port }) => [
      `ok ${ip} ${port} ${existing ? 'was there already' : 'added'}`,
    ],
  }),
  'fleet.remove': operation({
    typed: 'fleet remove <ip> <port>',
    does: 'stop sending there, whoever does',
    takes: { ip, port },
    perform: ({ replicator }, { ip, port }) => replicator.fleet().remove({ ip, port }),
    lines: ({ removed }, { ip, port }) => [
      `ok ${ip} ${port} ${removed ? 'removed' : 'was not there'}`,
    ],
  }),
  'fleet.pause': operation({
    typed: 'fleet pause <ip> <port>',
    does: 'owe it nothing until fleet resume',
    takes: { ip, port },
    perform: ({ replicator }, { ip, port }) => replicator.fleet().pause({ ip, port }, true),
    lines: ({ changed }, { ip, port }) => [
      `ok ${ip} ${port} ${changed ? 'paused' : 'was paused already'}`,
    ],
  }),
  'fleet.resume': operation({
    typed: 'fleet resume <ip> <port>',
    does: 'send there again',
    takes: { ip, port },
    perform: ({ replicator }, { ip, port }) => replicator.fleet().pause({ ip, port }, false),
    lines: ({ changed }, { ip, port }) => [
      `ok ${ip} ${port} ${changed ? 'resumed' : 'was not paused'}`,
    ],
  }),
  'fleet.move': operation({
    typed: 'fleet move <ip> <port> [<member>]',
    does: 'its shard to that member, or back to whose it is',
    takes: { ip, port, member: optional(memberName) },
    fromWords: ([ipWord, portWord, member, ...more]) => {
      if (ipWord === undefined || portWord === undefined || more.length > 0) return null;
      const to = { ip: ipWord, port: port.fromWord(portWord) };
      return member === undefined ? to : { ...to, member };
    },
    perform: ({ replicator }, { ip, port, member = null }) =>
      replicator.fleet().move({ ip, port }, member),
    lines: ({ shard, subscribers }) => [
      `ok shard ${shard}, with ${counted(subscribers, 'subscriber')}`,
    ],
  }),
  'fleet.drain': operation({
    typed: 'fleet drain <member>',
    does: 'it hands all over to others, and ends',
    takes: { member: memberName },
    perform: ({ replicator }, { member }) => replicator.fleet().drain(member),
    lines: (_, { member }) => [`ok ${member} drains`],
  }),
  'fleet.feed.add': operation({
    typed: 'fleet feed add <name> <ip>:<port>[@<source>]',
    does: 'members receive that feed too',
    takes: { name: feedName, ip, port, source: optional(source) },
    fromWords: feedFromWords,
    perform: ({ replicator }, { name, ip, port, source = null }) =>
      replicator.fleet().feedAdd({ name, ip, port, source }),
    lines: ({ existing }, { name }) => [`ok feed ${name} ${existing ? 'changed' : 'added'}`],
  }),
  'fleet.feed.remove': operation({
    typed: 'fleet feed remove <name>',
    does: 'they receive it no more',
    takes: { name: feedName },
    perform: ({ replicator }, { name }) => replicator.fleet().feedRemove(name),
    lines: ({ removed }, { name }) => [`ok feed ${name} ${removed ? 'removed' : 'was not there'}`],
  }),
  'fleet.filter.load': operation({
    typed: 'fleet filter load <name> base64:<module>',
    does: 'a filter for the group; members that allow its hash run it',
    takes: { name, module },
    messageSizeMax: LOAD_SIZE_MAX,
    perform: ({ replicator }, { name, module }) => replicator.fleet().filterLoad(name, module),
    lines: ({ sha256 }, { name }) => [`ok ${name} loaded, sha256 ${sha256}`],
  }),
  'fleet.filter.use': operation({
    typed: 'fleet filter use <name> [<ip> <port>] [<param>]',
    does: 'for one subscriber, or for those that name none',
    takes: { ip: optional(ip), port: optional(port), name, param: optional(paramWord) },
    allOrNone: ['ip', 'port'],
    fromWords: useFromWords,
    perform: async ({ replicator }, { name, param = '', ip, port }) => {
      await replicator.fleet().filterUse(name, param, subscriberOf(ip, port));
      return {};
    },
    lines: (_, { name }) => [`ok ${name}`],
  }),
  'fleet.filter.unload': operation({
    typed: 'fleet filter unload <name>',
    does: 'forget it',
    takes: { name },
    perform: async ({ replicator }, { name }) => {
      await replicator.fleet().filterUnload(name);
      return {};
    },
    lines: (_, { name }) => [`ok ${name} unloaded`],
  }),
} as const;

/** `10.0.0.34 9001`, and `feed=main,b`, `filter=mine`, `param=…` behind it, in any order. */
function addFromWords(words: readonly string[]): Record<string, unknown> | null {
  const [ipWord, portWord, ...options] = words;
  if (ipWord === undefined || portWord === undefined) return null;
  const read: Record<string, unknown> = { ip: ipWord, port: port.fromWord(portWord) };
  for (const option of options) {
    const [, key, value = ''] = /^(feed|filter|param)=(.*)$/.exec(option) ?? [];
    const named = key === 'feed' ? 'feeds' : key;
    if (named === undefined || named in read) return null;
    read[named] = named === 'feeds' ? feedNames.fromWord(value) : value;
  }
  return read;
}

function subscriberLine(row: FleetSubscriberRow): string {
  const { ip, port, feeds, filter, param, paused, shard, member } = row;
  const how = `${param === '' ? '' : ` param ${param}`}${paused ? ' paused' : ''}`;
  return `${ip} ${port} shard ${shard} member ${member ?? '-'} filter ${filter ?? '-'}${how} feeds ${feeds.join(',')}`;
}

function statusLines(status: FleetStatus): string[] {
  const { group, members, subscribers, free_shards, unowned, moving } = status;
  return [
    ...members.map((row) => {
      const state = `${row.standing ?? '-'}${row.is_draining ? ' draining' : ''}`;
      const counts = `shards ${row.shards} subscribers ${row.subscribers} unserved ${row.unserved} handover ${row.handover}`;
      const from = row.upstream === null ? '' : ` upstream ${row.upstream} ${row.upstream_state}`;
      return `member ${row.member} ${state} weight ${row.weight} ${counts}${from} control ${row.control}`;
    }),
    ...members.flatMap(({ member, reasons }) =>
      reasons.map(({ subscriber, reason }) => `unserved ${subscriber} by ${member}: ${reason}`),
    ),
    ...members.flatMap((row) =>
      row.refused_relays.map(
        ({ member, reason }) => `no feed for ${member} by ${row.member}: ${reason}`,
      ),
    ),
    ...status.feeds.map(({ name, ip, port, source }) => {
      return `feed ${name} ${ip} ${port}${source === null ? '' : ` from ${source}`}`;
    }),
    ...status.filters.map((row) => {
      const flags = `${row.default ? ' default' : ''}${row.is_there ? '' : ' without its module'}`;
      return `filter ${row.name} sha256 ${row.sha256} subscribers ${row.subscribers}${flags}`;
    }),
    ...status.pins.map(({ shard, member }) => `moved shard ${shard} to ${member}`),
    ...status.faults.map(({ key, wrong }) => `passed over ${key}: ${wrong}`),
    `ok ${group}: ${counted(subscribers, 'subscriber')}, ${unowned} of nobody, unserved ${status.unserved}, no room ${status.no_room}, free shards ${free_shards}, moving ${moving}, faults ${status.fault_count}`,
  ];
}
