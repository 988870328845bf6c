/** etcd as this program uses it: ranges, transactions, leases, a watch. */
import {
  Compacted,
  type Entry,
  EtcdRefusal,
  type Event,
  endOf,
  entryOf,
  eventOf,
  idOf,
  type Json,
  listOf,
  numberOf,
  resultOf,
  revisionOf,
  toBase64,
} from './answers.js';
import { type EtcdOptions, Gateway } from './gateway.js';
import { linesOf } from './stream.js';

/** Keys of one answer. */
const PAGE_KEYS = 1000;
/**
 * Transactions that go as one request, as operations of an outer one; etcd takes 128 operations in
 * all (--max-txn-ops), those within among them.
 */
const TOGETHER_MAX = 60;
/** A keepalive that has waited so long is sent to the next endpoint. */
const KEEPALIVE_MS_MAX = 1000;
/** gRPC: out of range. What is asked for is compacted. */
const OUT_OF_RANGE = 11;

/** What must hold, of one key. */
export type Condition =
  | { readonly key: string; readonly modRevision: number }
  | { readonly key: string; readonly isAbsent: true }
  | { readonly key: string; readonly isPresent: true };

export type Write =
  | {
      readonly put: string;
      readonly value: string | Uint8Array;
      /** The lease that it goes with; `keep`: that which it has; left out: none. */
      readonly lease?: string | 'keep';
    }
  | { readonly remove: string };

/** All of `write` where all of `when` holds, and nothing otherwise. */
export interface Txn {
  readonly when: readonly Condition[];
  readonly write: readonly Write[];
}

/** Whether what had to hold did, and the revision that was made or seen. */
export interface Outcome {
  readonly isDone: boolean;
  readonly revision: number;
}

export interface Read {
  readonly entries: Entry[];
  readonly revision: number;
}

export interface Extent {
  readonly count: number;
  /** The revision in which one of them was put last, of those that are there; 0: there is none. */
  readonly written: number;
  /** Of the store. */
  readonly revision: number;
}

export interface Lease {
  readonly id: string;
  readonly ttl_s: number;
  /** When the request that was answered was sent: CLOCK_MONOTONIC. */
  readonly sent_ns: bigint;
}

export class Etcd {
  private readonly gateway: Gateway;

  constructor(options: EtcdOptions) {
    this.gateway = new Gateway(options);
  }

  get endpoint(): string {
    return this.gateway.endpoint;
  }

  close(): void {
    this.gateway.close();
  }

  async get(key: string): Promise<Entry | null> {
    const { body } = await this.gateway.ask('/v3/kv/range', { key: toBase64(key) });
    const [kv] = listOf(body.kvs);
    return kv === undefined ? null : entryOf(kv);
  }

  /**
   * All keys from the first up to the second and without it, as they were at one moment: that of
   * the revision, or now. `keysOnly`: values are empty. Throws Compacted.
   */
  async read(
    first: string,
    end: string,
    { keysOnly = false, revision: at = 0 } = {},
  ): Promise<Read> {
    const entries: Entry[] = [];
    const range_end = toBase64(end);
    let [from, revision] = [first, at];
    for (;;) {
      const { body } = await this.gateway
        .ask('/v3/kv/range', {
          ...{
            key: toBase64(from),
            range_end,
            limit: String(PAGE_KEYS),
            revision: String(revision),
          },
          ...(keysOnly ? { keys_only: true } : {}),
        })
        .catch(whenCompacted);
      if (revision === 0) revision = revisionOf(body);
      const page = listOf(body.kvs).map(entryOf);
      entries.push(...page);
      const last = page.at(-1);
      if (body.more !== true || last === undefined) return { entries, revision };
      from = `${last.key}\0`;
    }
  }

  /** Of all keys that begin so, at one moment: now. etcd looks at each; one goes over the line. */
  async extentOf(prefix: string): Promise<Extent> {
    const { body } = await this.gateway.ask('/v3/kv/range', {
      ...{ key: toBase64(prefix), range_end: toBase64(endOf(prefix)), keys_only: true },
      ...{ limit: '1', sort_target: 'MOD', sort_order: 'DESCEND' },
    });
    const [last] = listOf(body.kvs).map(entryOf);
    const written = last?.modRevision ?? 0;
    return { count: numberOf(body.count), written, revision: revisionOf(body) };
  }

  async transact(txn: Txn): Promise<Outcome> {
    const { body } = await this.gateway.ask('/v3/kv/txn', jsonOf(txn));
    return { isDone: body.succeeded === true, revision: revisionOf(body) };
  }

  /** Each for itself, in as few requests as etcd takes. */
  async transactAll(txns: readonly Txn[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (let at = 0; at < txns.length; at += TOGETHER_MAX) {
      const some = txns.slice(at, at + TOGETHER_MAX);
      const success = some.map((txn) => ({ request_txn: jsonOf(txn) }));
      const { body } = await this.gateway.ask('/v3/kv/txn', { success });
      const revision = revisionOf(body);
      for (const response of listOf(body.responses)) {
        const inner = response.response_txn as Json | undefined;
        outcomes.push({ isDone: inner?.succeeded === true, revision });
      }
    }
    return outcomes;
  }

  // -- leases -------------------------------------------------------------------------------------

  async grant(ttl_s: number): Promise<Lease> {
    const { body, sent_ns } = await this.gateway.ask('/v3/lease/grant', { TTL: String(ttl_s) });
    return { id: idOf(body.ID), ttl_s: numberOf(body.TTL), sent_ns };
  }

  /** Null: there is no such lease any more. */
  async keepAlive(id: string): Promise<Lease | null> {
    const asked = { ID: id };
    const { body, sent_ns } = await this.gateway.ask(
      '/v3/lease/keepalive',
      asked,
      KEEPALIVE_MS_MAX,
    );
    const ttl_s = numberOf(resultOf(body).TTL);
    return ttl_s > 0 ? { id, ttl_s, sent_ns } : null;
  }

  /** Seconds that are left of it; below none: it is gone. */
  async timeToLive(id: string): Promise<number> {
    const { body } = await this.gateway.ask('/v3/lease/timetolive', { ID: id });
    return numberOf(body.TTL);
  }

  async revoke(id: string): Promise<void> {
    await this.gateway.ask('/v3/lease/revoke', { ID: id });
  }

  // -- watching -----------------------------------------------------------------------------------

  /**
   * Changes of all keys that begin so, from that revision on, in the order of etcd, those of one
   * answer together; the first, which is empty, says that the watch stands. Ends where nothing has
   * come for `silence_ms`: nobody else tells that a stream is dead. Throws EtcdAway, EtcdRefusal,
   * Compacted.
   */
  async *watch(
    prefix: string,
    from: number,
    { silence_ms, signal }: { silence_ms: number; signal: AbortSignal },
  ): AsyncGenerator<Event[]> {
    const endpoint = this.gateway.endpoint;
    const range = { key: toBase64(prefix), range_end: toBase64(endOf(prefix)) };
    // an endpoint that has lost its leader ends the stream, instead of being silent for good
    const stream = await this.gateway.open(
      '/v3/watch',
      { create_request: { ...range, start_revision: String(from) } },
      { 'Grpc-Metadata-Hasleader': 'true' },
    );
    try {
      for await (const line of linesOf(stream, { silence_ms, signal })) {
        const result = resultOf(line);
        if (numberOf(result.compact_revision) > 0) throw new Compacted();
        if (result.canceled === true)
          throw new EtcdRefusal(`the watch: ${result.cancel_reason ?? 'ended'}`, 0);
        yield listOf(result.events).map(eventOf);
      }
    } catch (error) {
      if (!(error instanceof Compacted)) this.gateway.giveUp(endpoint);
      throw error;
    } finally {
      stream.close();
    }
  }
}

function whenCompacted(error: unknown): never {
  if (error instanceof EtcdRefusal && error.grpcCode === OUT_OF_RANGE) throw new Compacted();
  throw error;
}

function jsonOf({ when, write }: Txn): Json {
  return { compare: when.map(compareOf), success: write.map(operationOf) };
}

function compareOf(condition: Condition): Json {
  const key = toBase64(condition.key);
  if ('modRevision' in condition)
    return { key, target: 'MOD', result: 'EQUAL', mod_revision: String(condition.modRevision) };
  const result = 'isAbsent' in condition ? 'EQUAL' : 'GREATER';
  return { key, target: 'CREATE', result, create_revision: '0' };
}

function operationOf(write: Write): Json {
  if ('remove' in write) return { request_delete_range: { key: toBase64(write.remove) } };
  const { put, value, lease } = write;
  return {
    request_put: {
      ...{ key: toBase64(put), value: toBase64(value) },
      ...(lease === 'keep' ? { ignore_lease: true } : lease === undefined ? {} : { lease }),
    },
  };
}
