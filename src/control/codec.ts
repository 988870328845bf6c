/**
 * Frames of the control channel: bytes → a request that is checked, and answers → bytes.
 *
 * A request is answered in its own encoding: a text frame that starts with `{` is JSON, a binary
 * frame is msgpack, any other text is a typed line as a person writes it. All three become the same
 * object, which the strict schema of its operation checks; inside fantail nobody looks at the shape
 * of a request again. Does no I/O.
 */
// Not 'msgpackr': that looks for a native parser, which no process of root's should load.
import { Packr } from 'msgpackr/pack';
import { Unpackr } from 'msgpackr/unpack';
import type * as z from 'zod';
import { FantailError, messageOf } from '../domain/errors.js';
import type { GapEvent } from '../domain/replicator.js';
import type { Stats } from '../domain/statistics.js';
import { ID_LENGTH_MAX, MESSAGE_SIZE_MAX } from './constants.js';
import { eventLine, gapLine, parseLine } from './lines.js';
import type { Operation, Operations } from './operation.js';
import { clip, show } from './parameters.js';

export type Id = string | number;
export type Encoding = 'json' | 'msgpack' | 'text';
export type Frame = string | Buffer;

/** A checked request: the name of its operation, and the values of its parameters. */
export interface Request {
  readonly op: string;
  readonly [parameter: string]: unknown;
}

/** How a message is answered; `id` is undefined where none was given or it is no id. */
export interface Asker {
  readonly encoding: Encoding;
  readonly id: Id | undefined;
}

/** A message as it came: a request, or why it is none. */
export type Decoded = Asked | Refused;

export interface Asked extends Asker {
  readonly operation: Operation;
  readonly request: Request;
}

export interface Refused extends Asker {
  readonly operation: Operation | undefined;
  /** Its name, where there is one. */
  readonly op?: string | undefined;
  readonly error: FantailError;
}

/**
 * Extensions of other programs' msgpack are decoded to something that no schema takes; int64 is a
 * number here.
 */
const unpacker = new Unpackr({ useRecords: false, int64AsType: 'number' });
const packer = new Packr({ useRecords: false, variableMapSize: true });

/** Decodes requests for the operations of one table. */
export class Codec {
  /** Bytes of the longest message that any operation takes. */
  readonly #messageSizeMax: number;

  constructor(private readonly operations: Operations) {
    this.#messageSizeMax = Math.max(...Object.values(operations).map(messageSizeMax));
  }

  /** The lines of `help`. */
  helpLines(): string[] {
    const rows = Object.values(this.operations);
    const width = Math.max(...rows.map(({ typed }) => typed.length)) + 2;
    return rows.map(({ typed, does }) => `${typed.padEnd(width)}${does}`);
  }

  /**
   * Decodes one message; never throws. The id is found even where the rest is wrong, so that the
   * answer carries it.
   */
  decode(data: Buffer, isBinary: boolean): Decoded {
    const encoding: Encoding = isBinary ? 'msgpack' : data[0] === 0x7b /* { */ ? 'json' : 'text';
    let id: Id | undefined;
    let operation: Operation | undefined;
    let name: string | undefined;
    try {
      const { id: rawId, op, ...values } = this.#parse(data, encoding);
      id = validId(rawId);
      operation = this.#find(op);
      if (operation !== undefined) name = String(op);
      checkSize(data.length, operation, values);
      if (rawId !== undefined && id === undefined)
        throw new FantailError(
          'BAD_REQUEST',
          `id must be an integer or a string of up to ${ID_LENGTH_MAX} characters`,
        );
      if (typeof op !== 'string' || operation === undefined) throw this.#noOperation(op);
      return { encoding, id, operation, request: { op, ...check(op, operation, values) } };
    } catch (thrown) {
      const error =
        thrown instanceof FantailError ? thrown : new FantailError('INTERNAL', messageOf(thrown));
      return { encoding, id, operation, op: name, error };
    }
  }

  /** The object that a message stands for, its values still unchecked. */
  #parse(data: Buffer, encoding: Encoding): Record<string, unknown> {
    if (encoding === 'text') {
      if (data.length > this.#messageSizeMax) return {}; // told by checkSize
      return parseLine(data.toString(), this.operations);
    }
    const value = parseObject(data, encoding);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>; // just checked
    throw new FantailError('BAD_REQUEST', 'a request is one object, such as {"id":1,"op":"list"}');
  }

  #find(op: unknown): Operation | undefined {
    const isKnown = typeof op === 'string' && Object.hasOwn(this.operations, op);
    return isKnown ? this.operations[op] : undefined;
  }

  #noOperation(op: unknown): FantailError {
    if (op === undefined)
      return new FantailError('BAD_REQUEST', 'op is missing; help tells what may be asked');
    if (typeof op !== 'string') return new FantailError('BAD_REQUEST', 'op must be a string');
    return new FantailError('UNKNOWN_OP', `there is no ${show(op)}; help tells what may be asked`);
  }
}

const messageSizeMax = (operation: Operation | undefined) =>
  operation?.messageSizeMax ?? MESSAGE_SIZE_MAX;

function parseObject(data: Buffer, encoding: 'json' | 'msgpack'): unknown {
  try {
    return encoding === 'json' ? JSON.parse(data.toString()) : unpacker.unpack(data);
  } catch (thrown) {
    if (data.length > MESSAGE_SIZE_MAX) return {}; // too large is what is wrong with it first
    const name = encoding === 'json' ? 'JSON' : 'msgpack';
    throw new FantailError('BAD_REQUEST', `not ${name}: ${clip(messageOf(thrown))}`);
  }
}

function validId(id: unknown): Id | undefined {
  if (typeof id === 'string') return id.length <= ID_LENGTH_MAX ? id : undefined;
  return typeof id === 'number' && Number.isSafeInteger(id) ? id : undefined;
}

/** TOO_LARGE, whatever else is wrong with it. */
function checkSize(
  size: number,
  operation: Operation | undefined,
  values: Record<string, unknown>,
): void {
  const most = messageSizeMax(operation);
  if (size > most)
    throw new FantailError('TOO_LARGE', `the message has ${size} bytes; at most ${most} are taken`);
  for (const [name, { tooLarge }] of Object.entries(operation?.takes ?? {})) {
    const why = tooLarge?.(values[name]) ?? null;
    if (why !== null) throw new FantailError('TOO_LARGE', why);
  }
}

/** The values, or the sentence that says which of them is wrong. */
function check(op: string, operation: Operation, values: Record<string, unknown>): object {
  const result = operation.schema.safeParse(values);
  if (result.success) return result.data;
  throw refusal(op, operation, { values, issues: result.error.issues });
}

/** Unknown and missing ones first: they say that the request as a whole was misunderstood. */
function refusal(
  op: string,
  { takes, typed }: Operation,
  wrong: { values: Record<string, unknown>; issues: readonly z.core.$ZodIssue[] },
): FantailError {
  const { values, issues } = wrong;
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    const keys = issue.keys.map(show).join(', ');
    return new FantailError('BAD_REQUEST', `${op} does not take ${keys}`);
  }
  const named = issues.map(({ path, message }) => ({ name: String(path[0]), message }));
  const missing = named.find(({ name }) => values[name] === undefined);
  if (missing !== undefined)
    return new FantailError('BAD_REQUEST', `${op} needs ${missing.name}: ${typed}`);
  const [first] = named;
  return new FantailError(takes[first?.name ?? '']?.code ?? 'BAD_REQUEST', first?.message ?? op);
}

// ---- answers ------------------------------------------------------------------------------------

/** The frame that answers a request. */
export function encodeAnswer(asked: Asked, answer: object): Frame {
  const { encoding, id, operation, request } = asked;
  if (encoding === 'text') return operation.lines(answer, request).join('\n');
  return encodeObject(encoding, { ...(id === undefined ? {} : { id }), ok: true, ...answer });
}

/** The frame that refuses one. */
export function encodeError({ encoding, id }: Asker, { code, message }: FantailError): Frame {
  if (encoding === 'text') return `error ${code} ${message}`;
  const error = { code, message };
  return encodeObject(encoding, { ...(id === undefined ? {} : { id }), ok: false, error });
}

/** Frames of events, for as long as what they are of is told to somebody. */
const events = new WeakMap<Stats | GapEvent, Map<Encoding, Frame>>();

/** The frame of one event of `watch`: the same for all who are told of the same statistics. */
export function encodeEvent(encoding: Encoding, stats: Stats): Frame {
  return encodedOnce(stats, encoding, () =>
    encoding === 'text' ? eventLine(stats) : encodeObject(encoding, { event: 'stats', ...stats }),
  );
}

export function encodeGap(encoding: Encoding, gap: GapEvent): Frame {
  return encodedOnce(gap, encoding, () =>
    encoding === 'text' ? gapLine(gap) : encodeObject(encoding, { event: 'gap', ...gap }),
  );
}

function encodedOnce(of: Stats | GapEvent, encoding: Encoding, encode: () => Frame): Frame {
  const made = events.get(of) ?? new Map<Encoding, Frame>();
  const frame = made.get(encoding) ?? encode();
  events.set(of, made.set(encoding, frame));
  return frame;
}

function encodeObject(encoding: 'json' | 'msgpack', value: object): Frame {
  return encoding === 'json' ? JSON.stringify(value) : packer.pack(value);
}
