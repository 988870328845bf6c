/**
 * The control protocol: what may be asked, what is answered, and the one decoder of it.
 *
 * A request is answered in its own encoding: a text frame that starts with `{` is JSON, a binary frame is
 * msgpack, any other text is a typed line as a person writes it. All three become the same object, which
 * one strict schema checks; inside fantail nobody looks at the shape of a request again. Used by
 * control.ts (server) and client.ts; the supervisor implements Replicator. Nothing here does I/O.
 */

import { isIPv4 } from 'node:net';
import { Packr, Unpackr } from 'msgpackr';
import { z } from 'zod';
import { FantailError, messageOf, never } from './errors.js';

/** Bytes of one message; a longer one is TOO_LARGE. */
export const MESSAGE_SIZE_MAX = 64 * 1024;
/** Characters of a request id that is a string. */
export const ID_LENGTH_MAX = 128;
/** Characters of a token. */
export const TOKEN_LENGTH_MAX = 1024;
/** Seconds between two events of `watch`: often enough for an eye, seldom enough for 4096 subscribers. */
export const WATCH_SECONDS_MIN = 0.1;
export const WATCH_SECONDS_MAX = 3600;

// ---- what the replicator tells ------------------------------------------------------------------------

export type Mode = 'zerocopy' | 'copy' | 'skb' | 'socket';
export type SubscriberState = 'live' | 'kernel' | 'unresolved' | 'paused';

/** One row of `list`. `mac` is null while the neighbour is not known. */
export interface SubscriberRow {
  ip: string;
  port: number;
  state: SubscriberState;
  mac: string | null;
  worker: number;
  filter: string;
}

/** Counts by name, as in the enums of layout.ts. */
export type Counts = Record<string, number>;

/** XDP_STATISTICS of one queue's sockets. */
export interface KernelRow {
  queue: number;
  rx_dropped: number;
  rx_invalid_descs: number;
  tx_invalid_descs: number;
  rx_ring_full: number;
  rx_fill_ring_empty_descs: number;
  tx_ring_empty_descs: number;
}

/** Nanoseconds; 0 before the first packet. */
export interface Latency {
  p50: number;
  p99: number;
  p999: number;
}

/** One burst in 16 is timed: how many were, their jobs, and the nanoseconds that each stage took of them in all. */
export interface Timed {
  bursts: number;
  copies: number;
  stages_ns: Counts;
}

/**
 * `inside_ns`: from reading the RX producer index to storing the TX producer index, of every packet.
 * `kick_ns`: the system calls after that, of each timed burst.
 */
export interface WorkerRow {
  worker: number;
  pid: number;
  restarts: number;
  inside_ns: Latency;
  kick_ns: Latency;
  /** Filter calls, and sendto calls, since the arena was made. */
  bursts: number;
  kicks: number;
  timed: Timed;
}

/** The RX process of the split layout; inline, receiving is a stage of each worker. */
export interface ReceiverRow {
  pid: number;
  /** Frames: received and taken back. */
  timed: { bursts: number; frames: number; receive_ns: number };
}

/** One subscriber's account: received = sent + in_flight + sum of drops. */
export interface AccountRow {
  ip: string;
  port: number;
  received: number;
  sent: number;
  in_flight: number;
  bytes: number;
  drops: Counts;
}

export interface Stats {
  version: 1;
  uptime_ms: number;
  interface: string;
  queues: number[];
  mode: Mode;
  fallbacks: { mode: Mode; reason: string }[];
  layout: 'inline' | 'split';
  feed: { ip: string; port: number; received: number; bytes: number; drops: Counts };
  xdp: Counts;
  kernel: KernelRow[];
  receivers: ReceiverRow[];
  workers: WorkerRow[];
  subscribers: AccountRow[];
}

/**
 * What the control channel drives. `add` and `remove` throw FantailError (NOT_ALLOWED, TABLE_FULL, BUSY
 * …).
 */
export interface Replicator {
  add(ip: string, port: number): Promise<{ existing: boolean }>;
  remove(ip: string, port: number): Promise<{ removed: boolean }>;
  list(): SubscriberRow[];
  stats(): Stats;
}

// ---- requests -----------------------------------------------------------------------------------------

/**
 * Dotted quad, decimal, no leading zeros: `010.0.0.1` means one host to some programs and another to
 * others.
 */
export function isAddress(text: string): boolean {
  return isIPv4(text);
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}

const ipSchema = z.string().refine(isAddress);
const portSchema = z.number().refine(isPort);

/** One strict schema an operation: an unknown key is refused, never ignored. filter.* will stand here. */
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
} as const;

export type Op = keyof typeof schemas;
export type Request = { [Name in Op]: z.infer<(typeof schemas)[Name]> }[Op];
export type Id = string | number;
export type Encoding = 'json' | 'msgpack' | 'text';

/**
 * A message as it came: a request, or why it is none. `id` is undefined where none was given or it is no
 * id.
 */
export type Decoded = { encoding: Encoding; id: Id | undefined } & (
  | { request: Request }
  | { error: FantailError; op: string | undefined }
);

/** How each operation is typed, with an example; `help` and every usage message are made from it. */
const usages: Record<Op, { typed: string; parameters: readonly string[]; does: string }> = {
  add: { typed: 'add <ip> <port>', parameters: ['ip', 'port'], does: 'send the feed to that address too' },
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
  auth: { typed: 'auth <token>', parameters: ['token'], does: 'show the token, where one is wanted' },
};

const operations = Object.keys(schemas).join(', ');

/** The lines of `help`. */
export function helpLines(): string[] {
  return Object.values(usages).map(({ typed, does }) => `${typed.padEnd(20)}${does}`);
}

/**
 * Extensions of other programs' msgpack are decoded to something that no schema takes; int64 is a number
 * here.
 */
const unpacker = new Unpackr({ useRecords: false, int64AsType: 'number' });
const packer = new Packr({ useRecords: false, variableMapSize: true });

/**
 * Decodes one message; never throws. The id is found even where the rest is wrong, so that the answer
 * carries it.
 */
export function decode(data: Buffer, isBinary: boolean): Decoded {
  const encoding: Encoding = isBinary ? 'msgpack' : data[0] === 0x7b /* { */ ? 'json' : 'text';
  let id: Id | undefined;
  let op: string | undefined;
  try {
    const raw = parse(data, encoding);
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
      throw new FantailError('BAD_REQUEST', 'a request is one object, such as {"id":1,"op":"list"}');
    }
    const { id: rawId, ...rest } = raw as Record<string, unknown>; // every key is checked by the schema below
    id = validId(rawId);
    op = typeof rest.op === 'string' ? rest.op : undefined;
    if (data.length > MESSAGE_SIZE_MAX) {
      throw new FantailError(
        'TOO_LARGE',
        `the message has ${data.length} bytes; at most ${MESSAGE_SIZE_MAX} are taken`,
      );
    }
    if (rawId !== undefined && id === undefined) {
      throw new FantailError(
        'BAD_REQUEST',
        `id must be an integer or a string of up to ${ID_LENGTH_MAX} characters`,
      );
    }
    return { encoding, id, request: check(rest) };
  } catch (thrown) {
    const error = thrown instanceof FantailError ? thrown : new FantailError('INTERNAL', messageOf(thrown));
    return { encoding, id, error, op };
  }
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
  if (data.length > MESSAGE_SIZE_MAX) return {};
  const line = data.toString().trim();
  if (line === '') throw new FantailError('BAD_REQUEST', 'an empty line; help tells what may be asked');
  if (/[\r\n]/.test(line)) throw new FantailError('BAD_REQUEST', 'one line a message, please');
  const [op = '', ...words] = line.split(/\s+/);
  if (!isOp(op)) return { op };
  const { typed, parameters } = usages[op];
  if (words.length !== parameters.length) throw new FantailError('BAD_REQUEST', `usage: ${typed}`);
  const values = parameters.map((name, index) => [name, wordValue(name, words[index] ?? '')]);
  return { op, ...Object.fromEntries(values) };
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
  if (op === undefined) throw new FantailError('BAD_REQUEST', 'op is missing; help tells what may be asked');
  if (typeof op !== 'string') throw new FantailError('BAD_REQUEST', 'op must be a string');
  if (!isOp(op)) throw new FantailError('UNKNOWN_OP', `there is no ${show(op)}; there are ${operations}`);
  const result = schemas[op].safeParse(raw);
  if (result.success) return result.data;
  throw refusal(op, raw, result.error.issues);
}

/** Unknown and missing keys first: they say that the request as a whole was misunderstood. */
function refusal(op: Op, raw: Record<string, unknown>, issues: readonly z.core.$ZodIssue[]): FantailError {
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    return new FantailError('BAD_REQUEST', `${op} does not take ${issue.keys.map(show).join(', ')}`);
  }
  const names = issues.map((issue) => String(issue.path[0]));
  const missing = names.find((name) => raw[name] === undefined);
  if (missing !== undefined)
    return new FantailError('BAD_REQUEST', `${op} needs ${missing}: ${usages[op].typed}`);
  if (names.includes('ip')) {
    return new FantailError('BAD_ADDRESS', `${show(raw.ip)} is not an IPv4 address such as 10.0.0.34`);
  }
  if (names.includes('port')) {
    return new FantailError('BAD_ADDRESS', `${show(raw.port)} is not a port from 1 to 65535`);
  }
  if (names.includes('seconds')) {
    const range = `from ${WATCH_SECONDS_MIN} to ${WATCH_SECONDS_MAX}`;
    return new FantailError('BAD_REQUEST', `seconds must be a number ${range}`);
  }
  return new FantailError('BAD_REQUEST', `token must be a string of 1 to ${TOKEN_LENGTH_MAX} characters`);
}

/** What somebody sent, made fit for one line of an error message. */
function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(clip(value));
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}

function clip(text: string): string {
  const line = text.replace(/[^\x20-\x7e]/g, '?');
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

// ---- answers ------------------------------------------------------------------------------------------

/** What an operation answers, by its name; the encoder adds id and ok. */
export type Answer =
  | { op: 'add'; ip: string; port: number; existing: boolean }
  | { op: 'remove'; ip: string; port: number; removed: boolean }
  | { op: 'list'; subscribers: SubscriberRow[] }
  | { op: 'stats'; stats: Stats }
  | { op: 'watch'; seconds: number }
  | { op: 'unwatch' }
  | { op: 'help' }
  | { op: 'auth' };

/** The frame that answers a request. */
export function encodeAnswer(encoding: Encoding, id: Id | undefined, answer: Answer): string | Buffer {
  if (encoding === 'text') return answerLines(answer).join('\n');
  return encodeObject(encoding, { ...(id === undefined ? {} : { id }), ok: true, ...answerFields(answer) });
}

/** The frame that refuses one. */
export function encodeError(encoding: Encoding, id: Id | undefined, error: FantailError): string | Buffer {
  const { code, message } = error;
  if (encoding === 'text') return `error ${code} ${message}`;
  return encodeObject(encoding, { ...(id === undefined ? {} : { id }), ok: false, error: { code, message } });
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
    case 'unwatch':
    case 'auth':
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
        `ok ${count(answer.subscribers.length, 'subscriber')}`,
      ];
    case 'stats':
      return [...statsLines(answer.stats), `ok ${count(answer.stats.subscribers.length, 'subscriber')}`];
    case 'watch':
      return [`ok every ${answer.seconds} s`];
    case 'unwatch':
      return ['ok no more events'];
    case 'help':
      return [...helpLines(), 'ok'];
    case 'auth':
      return ['ok'];
    default:
      return never(answer);
  }
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function subscriberLine(row: SubscriberRow): string {
  return `${row.ip} ${row.port} ${row.state} ${row.mac ?? '-'} worker ${row.worker} filter ${row.filter}`;
}

/** `name=count` of those that are not zero. */
export function countsText(counts: Counts): string {
  const seen = Object.entries(counts).filter(([, number]) => number !== 0);
  return seen.map(([name, number]) => `${name}=${number}`).join(' ');
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
    withCounts(`feed ${feed.ip} ${feed.port} received ${feed.received} bytes ${feed.bytes}`, feed.drops),
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

export function sumOf(counts: Counts): number {
  return Object.values(counts).reduce((sum, number) => sum + number, 0);
}
