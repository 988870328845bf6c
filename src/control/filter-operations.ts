/** The operations on filters, a row each: see operations.ts. */
import { counted } from '../domain/counts.js';
import type { Endpoint } from '../domain/endpoint.js';
import { isAddress } from '../domain/endpoint.js';
import { FantailError } from '../domain/errors.js';
import { limits } from '../memory/layout.js';
import { filterLine, filterLines } from './lines.js';
import { operation } from './operation.js';
import { ip, module, name, optional, param, port } from './parameters.js';

/** A module in base64, with room for the rest. */
export const LOAD_SIZE_MAX = Math.ceil(limits.MODULE_SIZE_MAX / 3) * 4 + 1024;
const NO_PARAM = new Uint8Array();

export const filterOperations = {
  'filter.load': operation({
    typed: 'filter load <name> base64:<module>',
    does: 'check a filter and load it',
    takes: { name, module },
    messageSizeMax: LOAD_SIZE_MAX,
    perform: async ({ replicator }, { name, module }) => ({
      filter: await replicator.filterLoad(name, module),
    }),
    lines: ({ filter }) => [`ok ${filter.name} loaded, sha256 ${filter.hash}`],
  }),
  'filter.list': operation({
    typed: 'filter list',
    does: 'all filters',
    takes: {},
    reads: true,
    perform: ({ replicator }) => ({ filters: replicator.filterList() }),
    lines: ({ filters }) => [...filters.map(filterLine), `ok ${counted(filters.length, 'filter')}`],
  }),
  'filter.info': operation({
    typed: 'filter info <name>',
    does: 'one filter: cost, verdicts, faults',
    takes: { name },
    reads: true,
    perform: ({ replicator }, { name }) => ({ filter: replicator.filterInfo(name) }),
    lines: ({ filter }) => [filterLine(filter), ...filterLines(filter), 'ok'],
  }),
  'filter.use': operation({
    typed: 'filter use <name> [<ip> <port>] [<param>]',
    does: 'for one subscriber, or for all',
    takes: { ip: optional(ip), port: optional(port), name, param: optional(param) },
    allOrNone: ['ip', 'port'],
    fromWords: useFromWords,
    perform: async ({ replicator }, { name, param = NO_PARAM, ip, port }) => ({
      subscribers: await replicator.filterUse(name, param, subscriberOf(ip, port)),
    }),
    lines: ({ subscribers }, { name }) => [
      `ok ${name} answers for ${counted(subscribers, 'subscriber')}`,
    ],
  }),
  'filter.unload': operation({
    typed: 'filter unload <name>',
    does: 'forget it',
    takes: { name },
    perform: async ({ replicator }, { name }) => {
      await replicator.filterUnload(name);
      return {};
    },
    lines: (_, { name }) => [`ok ${name} unloaded`],
  }),
} as const;

/** An address is told by its look, and the param is all the rest of the words. */
export function useFromWords([filter, ...words]: readonly string[]): Record<
  string,
  unknown
> | null {
  if (filter === undefined) return null;
  const [ipWord = '', portWord = ''] = words;
  const isOne = words.length >= 2 && isAddress(ipWord) && /^[0-9]+$/.test(portWord);
  const rest = words.slice(isOne ? 2 : 0).join(' ');
  return {
    name: filter,
    ...(isOne ? { ip: ipWord, port: port.fromWord(portWord) } : {}),
    ...(rest === '' ? {} : { param: rest }),
  };
}

/** The subscriber that a request names, or null for all. */
export function subscriberOf(ip: string | undefined, port: number | undefined): Endpoint | null {
  if (ip === undefined && port === undefined) return null;
  if (ip !== undefined && port !== undefined) return { ip, port };
  throw new FantailError('BAD_REQUEST', 'ip and port are given together, or neither for all');
}
