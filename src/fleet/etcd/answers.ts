/**
 * Values of etcd's v3 API as its JSON gateway writes them: keys and values in base64, numbers of 64
 * bits as strings, fields that are zero left out.
 */

export type Json = Readonly<Record<string, unknown>>;

/** No endpoint answers, or none of them has a leader. */
export class EtcdAway extends Error {
  constructor(reason: string) {
    super(`etcd does not answer: ${reason}`);
    this.name = 'EtcdAway';
  }
}

/** etcd has answered, and refuses; `grpcCode` as of google.golang.org/grpc/codes, 0 where none. */
export class EtcdRefusal extends Error {
  constructor(
    reason: string,
    readonly grpcCode: number,
  ) {
    super(`etcd refuses: ${reason}`);
    this.name = 'EtcdRefusal';
  }
}

/** What was to be read has been compacted away: all is to be read again. */
export class Compacted extends Error {}

/** So it is, since this is another store than before: one that was restored from a backup. */
export class OtherStore extends Compacted {}

/** Of a key that goes with none. */
export const NO_LEASE = '0';

/** One key as it is. */
export interface Entry {
  readonly key: string;
  readonly value: Buffer;
  /** Of its last change, and when it was made. */
  readonly modRevision: number;
  readonly createRevision: number;
  /** The lease that it goes with; `0`: none. */
  readonly lease: string;
}

/** A change of one key; `value` is null where it is gone. */
export interface Event {
  readonly key: string;
  readonly value: Buffer | null;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly lease: string;
}

export const objectOf = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? (value as Json) : {};
export const listOf = (value: unknown): readonly Json[] =>
  Array.isArray(value) ? value.map(objectOf) : [];
/** Absent is 0. Revisions are exact to 2^53. */
export const numberOf = (value: unknown): number => Number(value ?? 0);
export const idOf = (value: unknown): string => String(value ?? NO_LEASE);

export const toBase64 = (value: string | Uint8Array): string =>
  Buffer.from(value).toString('base64');
export const bytesOf = (value: unknown): Buffer => Buffer.from(String(value ?? ''), 'base64');

export function entryOf(kv: Json): Entry {
  return {
    key: bytesOf(kv.key).toString(),
    value: bytesOf(kv.value),
    modRevision: numberOf(kv.mod_revision),
    createRevision: numberOf(kv.create_revision),
    lease: idOf(kv.lease),
  };
}

export function eventOf(event: Json): Event {
  const entry = entryOf(objectOf(event.kv));
  return event.type === 'DELETE' ? { ...entry, value: null } : entry;
}

/** The revision of etcd's whole store when it answered. */
export const revisionOf = (body: Json): number => numberOf(objectOf(body.header).revision);

/** What a stream has in one line: an answer, or what ends it. Throws EtcdRefusal. */
export function resultOf(line: Json): Json {
  if (line.error === undefined) return objectOf(line.result);
  const { message = line.error, grpc_code: code } = objectOf(line.error);
  throw new EtcdRefusal(String(message), numberOf(code));
}

/** The end of the range of all keys that begin so: the first that does not. */
export function endOf(prefix: string): string {
  const last = prefix.charCodeAt(prefix.length - 1); // prefixes end in ASCII
  return prefix.slice(0, -1) + String.fromCharCode(last + 1);
}
