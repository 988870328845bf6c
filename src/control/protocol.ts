/**
 * The control protocol: what may be asked, what is answered, and the one decoder of it.
 *
 * A request is answered in its own encoding: a text frame that starts with `{` is JSON, a binary
 * frame is msgpack, any other text is a typed line as a person writes it. All three become the same
 * object, which one strict schema checks; inside fantail nobody looks at the shape of a request
 * again. Used by control.ts (server) and client.ts; the supervisor implements Replicator. Nothing
 * here does I/O.
 */

import { Packr, Unpackr } from 'msgpackr';
import { z } from 'zod';
import { type Counts, counted, countsText, sumOf } from '../domain/counts.js';
import { isAddress, isPort } from '../domain/endpoint.js';
import { FantailError, messageOf, never } from '../domain/errors.js';
import { paramOf } from '../domain/filter.js';
import type { FilterInfo, FilterRow, Stats, SubscriberRow } from '../domain/statistics.js';
import { limits } from '../memory/layout.js';
import {
  ID_LENGTH_MAX,
  MESSAGE_SIZE_MAX,
  TOKEN_LENGTH_MAX,
  WATCH_SECONDS_MAX,
  WATCH_SECONDS_MIN,
} from './constants.js';

// ---- requests -----------------------------------------------------------------------------------

const ipSchema = z.string().refine(isAddress);
const portSchema = z.number().refine(isPort);

const nameSchema = z.string().min(1).max(32);
/**
 * Bytes as they are in msgpack; base64 in JSON and typed lines, where `base64:` may stand before
 * it.
 */
const moduleSchema = z
  .union([
    z.instanceof(Uint8Array),
    z.string().transform((text, context) => base64Of(text) ?? wrong(context)),
  ])
  .refine((bytes) => bytes.length > 0);
/** Text, or `hex:` and digits, or bytes in msgpack. */
const paramSchema = z
  .union([
    z.instanceof(Uint8Array),
    z.string().transform((text, context) => paramOf(text) ?? wrong(context)),
  ])
  .refine((bytes) => bytes.length <= limits.PARAM_SIZE);

/** What was given is not what it should be. */
function wrong(context: z.core.$RefinementCtx): never {
  context.addIssue({ code: 'custom' });
  return z.NEVER;
}

/** Strict: no characters that decoders skip in silence. */
function base64Of(text: string): Uint8Array | null {
  const digits = text.replace(/^base64:/, '');
  const isWhole = digits.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(digits);
  return isWhole ? new Uint8Array(Buffer.from(digits, 'base64')) : null;
}

/** One strict schema an operation: an unknown key is refused, never ignored. */
const schemas = {
  add: z.strictObject({ op: z.literal('add'), ip: ipSchema, port: portSchema }),
  remove: z.strictObject({ op: z.literal('remove'), ip: ipSchema, port: portSchema }),
  list: z.strictObject({ op: z.literal('list') }),
  stats: z.strictObject({ op: z.literal('stats') }),
  watch: z.strictObject({
    op: z.literal('watch'),
    seconds: z.number().min(WATCH_SECONDS_MIN).max(WATCH_SECONDS_MAX),
  }),
  unwatch: z.strictObject({ op: z.literal('unwatch') }),
  help: z.strictObject({ op: z.literal('help') }),
  auth: z.strictObject({ op: z.literal('auth'), token: z.string().min(1).max(TOKEN_LENGTH_MAX) }),
  'filter.load': z.strictObject({
    op: z.literal('filter.load'),
    name: nameSchema,
    module: moduleSchema,
  }),
  'filter.list': z.strictObject({ op: z.literal('filter.list') }),
  'filter.info': z.strictObject({ op: z.literal('filter.info'), name: nameSchema }),
  'filter.use': z.strictObject({
    op: z.literal('filter.use'),
    name: nameSchema,
    ip: ipSchema.optional(),
    port: portSchema.optional(),
    param: paramSchema.optional(),
  }),
  'filter.unload': z.strictObject({ op: z.literal('filter.unload'), name: nameSchema }),
} as const;

export type Op = keyof typeof schemas;
export type Request = { [Name in Op]: z.infer<(typeof schemas)[Name]> }[Op];
/** As a client writes it: bytes may be text. */
export type Question = { [Name in Op]: z.input<(typeof schemas)[Name]> }[Op];
export type Id = string | number;
export type Encoding = 'json' | 'msgpack' | 'text';

/**
 * A message as it came: a request, or why it is none. `id` is undefined where none was given or it
 * is no id.
 */
export type Decoded = { encoding: Encoding; id: Id | undefined } & (
  | { request: Request }
  | { error: FantailError; op: string | undefined }
);

/**
 * How each operation is typed, with an example; `help` and every usage message are made from it.
 */
const usages: Record<Op, { typed: string; parameters: readonly string[]; does: string }> = {
  add: {
    typed: 'add <ip> <port>',
    parameters: ['ip', 'port'],
    does: 'send the feed to that address too',
  },
  remove: { typed: 'remove <ip> <port>', parameters: ['ip', 'port'], does: 'stop sending there' },
  list: { typed: 'list', parameters: [], does: 'all subscribers' },
  stats: { typed: 'stats', parameters: [], does: 'all counters' },
  watch: {
    typed: 'watch <seconds>',
    parameters: ['seconds'],
    does: 'counters every so many seconds, 0.1 to 3600',
  },
  unwatch: { typed: 'unwatch', parameters: [], does: 'no more of them' },
  help: { typed: 'help', parameters: [], does: 'this text' },
  auth: {
    typed: 'auth <token>',
    parameters: ['token'],
    does: 'show the token, where one is wanted',
  },
  'filter.load': {
    typed: 'filter load <name> base64:<module>',
    parameters: ['name', 'module'],
    does: 'check a filter and load it',
  },
  'filter.list': { typed: 'filter list', parameters: [], does: 'all filters' },
  'filter.info': {
    typed: 'filter info <name>',
    parameters: ['name'],
    does: 'one filter: cost, verdicts, faults',
  },
  'filter.use': {
    typed: 'filter use <name> [<ip> <port>] [<param>]',
    parameters: ['name'], // the others are read by useLine()
    does: 'for one subscriber, or for all',
  },
  'filter.unload': { typed: 'filter unload <name>', parameters: ['name'], does: 'forget it' },
};

/** Where a message may be longer: a module in base64, with room for the rest. */
const LOAD_SIZE_MAX = Math.ceil(limits.MODULE_SIZE_MAX / 3) * 4 + 1024;
const sizeMax = (op: string | undefined) =>
  op === 'filter.load' ? LOAD_SIZE_MAX : MESSAGE_SIZE_MAX;

const operations = Object.keys(schemas).join(', ');

/** The lines of `help`. */
export function helpLines(): string[] {
  return Object.values(usages).map(({ typed, does }) => `${typed.padEnd(43)}${does}`);
}

/**
 * Extensions of other programs' msgpack are decoded to something that no schema takes; int64 is a
 * number here.
 */
const unpacker = new Unpackr({ useRecords: false, int64AsType: 'number' });
const packer = new Packr({ useRecords: false, variableMapSize: true });

/**
 * Decodes one message; never throws. The id is found even where the rest is wrong, so that the
 * answer carries it.
 */
export function decode(data: Buffer, isBinary: boolean): Decoded {
  const encoding: Encoding = isBinary ? 'msgpack' : data[0] === 0x7b /* { */ ? 'json' : 'text';
  let id: Id | undefined;
  let op: string | undefined;
  try {
    const raw = parse(data, encoding);
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
      throw new FantailError(
        'BAD_REQUEST',
        'a request is one object, such as {"id":1,"op":"list"}',
      );
    }
    // every key is checked by the schema below
    const { id: rawId, ...rest } = raw as Record<string, unknown>;
    id = validId(rawId);
    op = typeof rest.op === 'string' ? rest.op : undefined;
    if (data.length > sizeMax(op)) {
      throw new FantailError(
        'TOO_LARGE',
        `the message has ${data.length} bytes; at most ${sizeMax(op)} are taken`,
      );
    }
    if (rest.module instanceof Uint8Array || typeof rest.module === 'string')
      checkModuleSize(rest.module);
    if (rawId !== undefined && id === undefined) {
      throw new FantailError(
        'BAD_REQUEST',
        `id must be an integer or a string of up to ${ID_LENGTH_MAX} characters`,
      );
    }
    return { encoding, id, request: check(rest) };
  } catch (thrown) {
    const error =
      thrown instanceof FantailError ? thrown : new FantailError('INTERNAL', messageOf(thrown));
    return { encoding, id, error, op };
  }
}

/** TOO_LARGE, whatever else is wrong with it. */
function checkModuleSize(module: Uint8Array | string): void {
  const size =
    typeof module === 'string'
      ? Math.floor((module.replace(/^base64:/, '').length * 3) / 4) - 2
      : module.length;
  if (size > limits.MODULE_SIZE_MAX)
    throw new FantailError('TOO_LARGE', `a module has at most ${limits.MODULE_SIZE_MAX} bytes`);
}

function parse(data: Buffer, encoding: Encoding): unknown {
  if (encoding === 'text') return parseLine(data);
  try {
    return encoding === 'json' ? JSON.parse(data.toString()) : unpacker.unpack(data);
  } catch (thrown) {
    if (data.length > MESSAGE_SIZE_MAX) return {}; // too large is what is wrong with it first
    throw new FantailError(
      'BAD_REQUEST',
      `not ${encoding === 'json' ? 'JSON' : 'msgpack'}: ${clip(messageOf(thrown))}`,
    );
  }
}

/**
 * `add 10.0.0.34 9001` → {op, ip, port}. A word that should be a number and is none is left for the
 * schema to refuse.
 */
function parseLine(data: Buffer): unknown {
  if (data.length > LOAD_SIZE_MAX) return {};
  const line = data.toString().trim();
  if (line === '')
    throw new FantailError('BAD_REQUEST', 'an empty line; help tells what may be asked');
  if (/[\r\n]/.test(line)) throw new FantailError('BAD_REQUEST', 'one line a message, please');
  const [first = '', ...rest] = line.split(/\s+/);
  const op = first === 'filter' && rest[0] !== undefined ? `filter.${rest[0]}` : first;
  const words = op === first ? rest : rest.slice(1);
  if (!isOp(op)) return { op };
  if (op === 'filter.use') return useLine(words);
  const { typed, parameters } = usages[op];
  if (words.length !== parameters.length) throw new FantailError('BAD_REQUEST', `usage: ${typed}`);
  const values = parameters.map((name, index) => [name, wordValue(name, words[index] ?? '')]);
  return { op, ...Object.fromEntries(values) };
}

/**
 * `use <name> [<ip> <port>] [<param>]`: an address is told by its look, and the param is all the
 * rest of the words.
 */
function useLine([name, ...words]: readonly string[]): unknown {
  const op = 'filter.use';
  if (name === undefined) throw new FantailError('BAD_REQUEST', `usage: ${usages[op].typed}`);
  const isOne = words.length >= 2 && isAddress(words[0] ?? '') && /^[0-9]+$/.test(words[1] ?? '');
  const [ip, port] = words;
  const param = words.slice(isOne ? 2 : 0).join(' ');
  return {
    op,
    name,
    ...(isOne ? { ip, port: wordValue('port', port ?? '') } : {}),
    ...(param === '' ? {} : { param }),
  };
}

function wordValue(name: string, word: string): string | number {
  if (name === 'port' && /^[1-9][0-9]{0,15}$/.test(word)) return Number(word);
  if (name === 'seconds' && /^[0-9]{1,9}(\.[0-9]{1,9})?$/.test(word)) return Number(word);
  return word;
}

function isOp(op: unknown): op is Op {
  return typeof op === 'string' && Object.hasOwn(schemas, op);
}

function validId(id: unknown): Id | undefined {
  if (typeof id === 'string') return id.length <= ID_LENGTH_MAX ? id : undefined;
  return typeof id === 'number' && Number.isSafeInteger(id) ? id : undefined;
}

/** The request, or the sentence that says which part of it is wrong. */
function check(raw: Record<string, unknown>): Request {
  const op = raw.op;
  if (op === undefined)
    throw new FantailError('BAD_REQUEST', 'op is missing; help tells what may be asked');
  if (typeof op !== 'string') throw new FantailError('BAD_REQUEST', 'op must be a string');
  if (!isOp(op))
    throw new FantailError('UNKNOWN_OP', `there is no ${show(op)}; there are ${operations}`);
  const result = schemas[op].safeParse(raw);
  if (result.success) return result.data;
  throw refusal(op, raw, result.error.issues);
}

/** Unknown and missing keys first: they say that the request as a whole was misunderstood. */
function refusal(
  op: Op,
  raw: Record<string, unknown>,
  issues: readonly z.core.$ZodIssue[],
): FantailError {
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    return new FantailError(
      'BAD_REQUEST',
      `${op} does not take ${issue.keys.map(show).join(', ')}`,
    );
  }
  const names = issues.map((issue) => String(issue.path[0]));
  const missing = names.find((name) => raw[name] === undefined);
  if (missing !== undefined)
    return new FantailError('BAD_REQUEST', `${op} needs ${missing}: ${usages[op].typed}`);
  if (names.includes('ip')) {
    return new FantailError(
      'BAD_ADDRESS',
      `${show(raw.ip)} is not an IPv4 address such as 10.0.0.34`,
    );
  }
  if (names.includes('port')) {
    return new FantailError('BAD_ADDRESS', `${show(raw.port)} is not a port from 1 to 65535`);
  }
  if (names.includes('name')) {
    return new FantailError('BAD_REQUEST', `${show(raw.name)} is not the name of a filter`);
  }
  if (names.includes('module')) {
    return new FantailError(
      'BAD_REQUEST',
      'module must be the bytes of a module: base64, or binary in msgpack',
    );
  }
  if (names.includes('param')) {
    const most = `at most ${limits.PARAM_SIZE} bytes`;
    return new FantailError('BAD_REQUEST', `param must be text or hex:<digits>, ${most}`);
  }
  if (names.includes('seconds')) {
    const range = `from ${WATCH_SECONDS_MIN} to ${WATCH_SECONDS_MAX}`;
    return new FantailError('BAD_REQUEST', `seconds must be a number ${range}`);
  }
  return new FantailError(
    'BAD_REQUEST',
    `token must be a string of 1 to ${TOKEN_LENGTH_MAX} characters`,
  );
}

/** What somebody sent, made fit for one line of an error message. */
function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(clip(value));
  if (typeof value === 'number' || typeof value === 'boolean' || value === null)
    return String(value);
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}

function clip(text: string): string {
  const line = text.replace(/[^\x20-\x7e]/g, '?');
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

// ---- answers ------------------------------------------------------------------------------------

/** What an operation answers, by its name; the encoder adds id and ok. */
export type Answer =
  | { op: 'add'; ip: string; port: number; existing: boolean }
  | { op: 'remove'; ip: string; port: number; removed: boolean }
  | { op: 'list'; subscribers: SubscriberRow[] }
  | { op: 'stats'; stats: Stats }
  | { op: 'watch'; seconds: number }
  | { op: 'unwatch' }
  | { op: 'help' }
  | { op: 'auth' }
  | { op: 'filter.load'; filter: FilterInfo }
  | { op: 'filter.use'; name: string; subscribers: number }
  | { op: 'filter.list'; filters: FilterRow[] }
  | { op: 'filter.info'; filter: FilterInfo }
  | { op: 'filter.unload'; name: string };

/** The frame that answers a request. */
export function encodeAnswer(
  encoding: Encoding,
  id: Id | undefined,
  answer: Answer,
): string | Buffer {
  if (encoding === 'text') return answerLines(answer).join('\n');
  return encodeObject(encoding, {
    ...(id === undefined ? {} : { id }),
    ok: true,
    ...answerFields(answer),
  });
}

/** The frame that refuses one. */
export function encodeError(
  encoding: Encoding,
  id: Id | undefined,
  error: FantailError,
): string | Buffer {
  const { code, message } = error;
  if (encoding === 'text') return `error ${code} ${message}`;
  return encodeObject(encoding, {
    ...(id === undefined ? {} : { id }),
    ok: false,
    error: { code, message },
  });
}

/** The frame of one event of `watch`. */
export function encodeEvent(encoding: Encoding, stats: Stats): string | Buffer {
  if (encoding === 'text') return eventLine(stats);
  return encodeObject(encoding, { event: 'stats', ...stats });
}

function encodeObject(encoding: 'json' | 'msgpack', value: object): string | Buffer {
  return encoding === 'json' ? JSON.stringify(value) : packer.pack(value);
}

function answerFields(answer: Answer): object {
  switch (answer.op) {
    case 'add':
      return { existing: answer.existing };
    case 'remove':
      return { removed: answer.removed };
    case 'list':
      return { subscribers: answer.subscribers };
    case 'stats':
      return answer.stats;
    case 'watch':
      return { seconds: answer.seconds };
    case 'help':
      return { help: helpLines() };
    case 'filter.load':
    case 'filter.info':
      return { filter: answer.filter };
    case 'filter.use':
      return { subscribers: answer.subscribers };
    case 'filter.list':
      return { filters: answer.filters };
    case 'unwatch':
    case 'auth':
    case 'filter.unload':
      return {};
    default:
      return never(answer);
  }
}

/** Rows first, `ok …` last. */
function answerLines(answer: Answer): string[] {
  switch (answer.op) {
    case 'add':
      return [`ok ${answer.ip} ${answer.port} ${answer.existing ? 'was there already' : 'added'}`];
    case 'remove':
      return [`ok ${answer.ip} ${answer.port} ${answer.removed ? 'removed' : 'was not there'}`];
    case 'list':
      return [
        ...answer.subscribers.map(subscriberLine),
        `ok ${counted(answer.subscribers.length, 'subscriber')}`,
      ];
    case 'stats':
      return [
        ...statsLines(answer.stats),
        `ok ${counted(answer.stats.subscribers.length, 'subscriber')}`,
      ];
    case 'watch':
      return [`ok every ${answer.seconds} s`];
    case 'unwatch':
      return ['ok no more events'];
    case 'help':
      return [...helpLines(), 'ok'];
    case 'auth':
      return ['ok'];
    case 'filter.load':
      return [`ok ${answer.filter.name} loaded, sha256 ${answer.filter.hash}`];
    case 'filter.use':
      return [`ok ${answer.name} answers for ${counted(answer.subscribers, 'subscriber')}`];
    case 'filter.list':
      return [...answer.filters.map(filterLine), `ok ${counted(answer.filters.length, 'filter')}`];
    case 'filter.info':
      return [filterLine(answer.filter), ...filterLines(answer.filter), 'ok'];
    case 'filter.unload':
      return [`ok ${answer.name} unloaded`];
    default:
      return never(answer);
  }
}

function subscriberLine(row: SubscriberRow): string {
  return `${row.ip} ${row.port} ${row.state} ${row.mac ?? '-'} worker ${row.worker} filter ${row.filter}`;
}

function filterLine(row: FilterRow): string {
  const users = `subscribers ${row.subscribers}${row.default ? ' default' : ''}`;
  const rollback = row.rollback === null ? '' : ` rolled back: ${row.rollback.reason}`;
  return `${row.name} ${row.status} sha256 ${row.hash.slice(0, 12)} size ${row.size} abi ${row.abi} ${users}${rollback}`;
}

function filterLines({ cost_ns, calls, jobs, verdicts, faults }: FilterInfo): string[] {
  return [
    `cost_ns ${cost_ns ?? '-'} calls ${calls} jobs ${jobs}`,
    `verdicts send ${verdicts.send} drop ${verdicts.drop}`,
    `faults trap ${faults.trap} bad_answer ${faults.bad_answer} too_big ${faults.too_big}`,
  ];
}

function withCounts(line: string, counts: Counts): string {
  return `${line} ${countsText(counts)}`.trimEnd();
}

function statsLines(stats: Stats): string[] {
  const { feed } = stats;
  const queues = stats.queues.join(',') || '-';
  return [
    `replicator ${stats.interface} queues ${queues} mode ${stats.mode} layout ${stats.layout} uptime_ms ${stats.uptime_ms}`,
    ...stats.fallbacks.map(({ mode, reason }) => `fallback ${mode}: ${reason}`),
    withCounts(
      `feed ${feed.ip} ${feed.port} received ${feed.received} bytes ${feed.bytes}`,
      feed.drops,
    ),
    ...(Object.keys(stats.xdp).length > 0 ? [withCounts('xdp', stats.xdp)] : []),
    ...stats.kernel.map(({ queue, ...counts }) => withCounts(`kernel queue ${queue}`, counts)),
    ...stats.workers.map(({ worker, pid, restarts, inside_ns: inside, kick_ns: kick }) => {
      const latency = `inside_ns ${inside.p50} ${inside.p99} ${inside.p999} kick_ns ${kick.p50} ${kick.p99} ${kick.p999}`;
      return `worker ${worker} pid ${pid} restarts ${restarts} ${latency}`;
    }),
    ...stats.subscribers.map((row) => {
      const counted = `received ${row.received} sent ${row.sent} in_flight ${row.in_flight} bytes ${row.bytes}`;
      return withCounts(`subscriber ${row.ip} ${row.port} ${counted}`, row.drops);
    }),
  ];
}

/** Sum over all subscribers, for one line a second in wscat. */
function eventLine(stats: Stats): string {
  let sent = 0;
  let inFlight = 0;
  let dropped = 0;
  for (const row of stats.subscribers) {
    sent += row.sent;
    inFlight += row.in_flight;
    dropped += sumOf(row.drops);
  }
  const all = `subscribers ${stats.subscribers.length} sent ${sent} in_flight ${inFlight} dropped ${dropped}`;
  return `stats uptime_ms ${stats.uptime_ms} received ${stats.feed.received} ${all}`;
}
