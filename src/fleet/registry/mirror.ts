/**
 * What a group's keys in etcd say, as far as it was heard: filled by one read of all, then changed
 * event by event. Follows nobody and decides nothing.
 */
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { BUILT_IN } from '../../domain/filter.js';
import { type Entry, type Event, NO_LEASE } from '../etcd/answers.js';
import type { BrokenShard, HeldShard } from '../shards/plan.js';
import { SHARDS, shardOf } from '../shards/rendezvous.js';
import { isName, type Keys, type Kind } from './keys.js';
import {
  type DefaultRecord,
  endpointOf,
  type FeedRecord,
  type FilterRecord,
  isFeedKey,
  isFilterName,
  type MemberRecord,
  parsed,
  type ReportRecord,
  type SubscriberRecord,
  schemas,
} from './records.js';

/** A subscriber with its place. The same object as long as its value in etcd is the same. */
export interface GroupSubscriber extends SubscriberRecord {
  readonly endpoint: Endpoint;
  readonly shard: number;
}

/** A value with what a transaction compares. */
export type Held<Value> = Value & { readonly modRevision: number; readonly lease: string };

/** Values of subscribers that are remembered, since most say one and the same; bytes of each. */
const SAID_MAX = 256;
const SAID_SIZE_MAX = 1024;

/** What is wrong with a key. */
export interface Fault {
  readonly wrong: string;
  /** Of the value that is. */
  readonly modRevision: number;
  /** When it was heard of first, by performance.now(). */
  readonly heard_ms: number;
}

export class Mirror {
  readonly feeds = new Map<string, FeedRecord>();
  /** By shard, then by `ip:port`. */
  readonly subscribers: readonly Map<string, GroupSubscriber>[] = Array.from(
    { length: SHARDS },
    () => new Map(),
  );
  readonly filters = new Map<string, FilterRecord>();
  default: DefaultRecord | null = null;
  readonly modules = new Set<string>();
  readonly pins = new Map<number, string>();
  /** Who has joined and not left. */
  readonly lasting = new Set<string>();
  readonly members = new Map<string, Held<MemberRecord>>();
  readonly reports = new Map<string, Held<ReportRecord>>();
  readonly shards = new Map<number, HeldShard>();
  /** By key, those that are passed over: as many as etcd has of them. */
  readonly faults = new Map<string, Fault>();
  /** Of etcd's store: all changes up to it are in here. */
  revision = 0;
  /** How often the subscribers of each shard have changed. */
  readonly shardChanges = new Array<number>(SHARDS).fill(0);
  /** How often that has on which it depends how any is served: feeds, filters, members. */
  commonChanges = 0;
  /** What values of subscribers say, by their text. */
  private readonly said = new Map<string, ReturnType<typeof subscriberOf>>();
  /** Revisions of what was written here and not heard back yet. */
  private readonly own = new Map<string, number>();

  constructor(
    private readonly keys: Keys,
    /** Told of each value that is passed over, once, however often all is read again. */
    private readonly onFault: (key: string, wrong: string) => void = () => {},
  ) {}

  get subscriberCount(): number {
    return this.subscribers.reduce((sum, { size }) => sum + size, 0);
  }

  /** As known() has them: whatever is in them, a key each. */
  get keyCount(): number {
    const { feeds, filters, modules, pins, lasting, members, reports, shards, faults } = this;
    const all = [feeds, filters, modules, pins, lasting, members, reports, shards, faults];
    const rest = this.subscriberCount + (this.default === null ? 0 : 1);
    return all.reduce((sum, { size }) => sum + size, rest);
  }

  find(endpoint: Endpoint): GroupSubscriber | undefined {
    return this.subscribers[shardOf(endpoint)]?.get(endpointText(endpoint));
  }

  /**
   * All as it was read; what is not among it is gone. Passed over where a watch has told more
   * meanwhile: it does not tell again. `asked`: the revision that was known when the reading began;
   * a store that is behind that has been put back to a backup, and is believed.
   */
  fill(entries: readonly Entry[], revision: number, asked = 0): void {
    if (revision < this.revision && revision >= asked) return;
    const there = new Set(entries.map(({ key }) => key));
    for (const key of this.known()) if (!there.has(key)) this.take(gone(key));
    for (const entry of entries) this.take(entry);
    this.own.clear();
    this.revision = revision;
  }

  /** As a watch tells them, in the order of etcd. */
  apply(events: readonly Event[]): void {
    for (const event of events) {
      if (event.modRevision <= this.revision) continue;
      const ours = this.own.get(event.key);
      if (ours === undefined || ours <= event.modRevision) {
        this.own.delete(event.key);
        this.take(event);
      }
    }
    // not that of the answer: a watch that catches up has the store's newest in it
    this.revision = Math.max(this.revision, events.at(-1)?.modRevision ?? 0);
  }

  /**
   * What this process has just written itself, unless something newer was heard already; what is
   * older is passed over then, as it comes.
   */
  applyOwn(event: Event): void {
    if (event.modRevision <= this.revision) return;
    this.own.set(event.key, event.modRevision);
    this.take(event);
  }

  /** Whose lease has ended without its leaving: killed, or cut off and serving still. */
  get missing(): string[] {
    return [...this.lasting].filter((name) => !this.members.has(name));
  }

  private *known(): Iterable<string> {
    const { keys } = this;
    for (const name of this.feeds.keys()) yield keys.of('feeds', name);
    for (const some of this.subscribers)
      for (const text of some.keys()) yield keys.of('subscribers', text);
    for (const name of this.filters.keys()) yield keys.of('filters', name);
    if (this.default !== null) yield keys.default;
    for (const hash of this.modules) yield keys.of('modules', hash);
    for (const shard of this.pins.keys()) yield keys.of('pins', shard);
    for (const name of this.lasting) yield keys.of('lasting', name);
    for (const name of this.members.keys()) yield keys.of('members', name);
    for (const name of this.reports.keys()) yield keys.of('reports', name);
    for (const shard of this.shards.keys()) yield keys.of('shards', shard);
    yield* [...this.faults.keys()];
  }

  private take(event: Event): void {
    const { key, modRevision } = event;
    const parts = this.keys.parse(key);
    if (parts === null) return;
    const before = this.faults.get(key);
    this.faults.delete(key);
    const wrong = this.place(parts.kind, parts.name, event);
    if (wrong === null) return;
    this.place(parts.kind, parts.name, gone(key)); // what was there before is not so any more
    const isSame = before?.modRevision === modRevision;
    this.faults.set(key, isSame ? before : { wrong, modRevision, heard_ms: performance.now() });
    if (!isSame) this.onFault(key, wrong);
  }

  /** Shards whose keys are among the faults; old are those that have been for so long. */
  broken(old_ms: number): Map<number, BrokenShard> {
    const broken = new Map<number, BrokenShard>();
    for (const [key, { modRevision, heard_ms }] of this.faults) {
      const { kind, name } = this.keys.parse(key) ?? {};
      const shard = kind === 'shards' && name !== undefined ? shardNumber(name) : null;
      const isOld = performance.now() - heard_ms > old_ms;
      if (shard !== null) broken.set(shard, { modRevision, isOld });
    }
    return broken;
  }

  /** What is wrong with it; null: nothing. */
  private place(kind: string, name: string, event: Event): string | null {
    const put = <Key, Value>(
      into: Map<Key, Value>,
      key: Key | null,
      read: (value: Buffer) => { readonly value: Value } | { readonly wrong: string },
    ): string | null => {
      if (key === null) return event.value === null ? null : 'a name that is none';
      if (event.value === null) {
        into.delete(key);
        return null;
      }
      const result = read(event.value);
      if ('wrong' in result) return result.wrong;
      into.set(key, result.value);
      return null;
    };
    const held = <Value extends object>(
      result: { readonly value: Value } | { readonly wrong: string },
    ): { readonly value: Held<Value> } | { readonly wrong: string } => {
      if ('wrong' in result) return result;
      const { modRevision, lease } = event;
      return { value: { ...result.value, modRevision, lease } };
    };
    const named = isName(name) ? name : null;
    if (COMMON.has(kind)) this.commonChanges += 1;
    // what a member writes of itself ends with it: what does not would stand for nobody, for good
    const isOfNobody = event.value !== null && event.lease === NO_LEASE && OF_LEASE.has(kind);
    if (isOfNobody) return 'it goes with no lease, so no member has written it';
    switch (kind) {
      case 'feeds':
        return put(this.feeds, isFeedKey(name) ? name : null, (v) => parsed(schemas.feeds, v));
      case 'subscribers':
        return this.placeSubscriber(name, put);
      case 'filters':
        return put(this.filters, isOwnFilter(name) ? name : null, (v) =>
          parsed(schemas.filters, v),
        );
      case 'default':
        if (event.key !== this.keys.default)
          return event.value === null ? null : 'a name that is none';
        return this.placeDefault(event);
      case 'modules':
        return placeWord(this.modules, isHash(name) ? name : null, event);
      case 'pins':
        return put(this.pins, shardNumber(name), (v) => {
          const result = parsed(schemas.pins, v);
          return 'wrong' in result ? result : { value: result.value.member };
        });
      case 'lasting':
        return placeWord(this.lasting, named, event);
      case 'members':
        return put(this.members, named, (v) => held(parsed(schemas.members, v)));
      case 'reports':
        return put(this.reports, named, (v) => held(parsed(schemas.reports, v)));
      case 'shards':
        return put(this.shards, shardNumber(name), (v) => held(parsed(schemas.shards, v)));
      default:
        return event.value === null ? null : 'nothing that this version knows';
    }
  }

  private placeSubscriber(
    name: string,
    put: (
      into: Map<string, GroupSubscriber>,
      key: string | null,
      read: (value: Buffer) => { readonly value: GroupSubscriber } | { readonly wrong: string },
    ) => string | null,
  ): string | null {
    const endpoint = endpointOf(name);
    const shard = endpoint === null ? 0 : shardOf(endpoint);
    const into = this.subscribers[shard] ?? new Map();
    this.shardChanges[shard] = (this.shardChanges[shard] ?? 0) + 1;
    return put(into, endpoint === null ? null : name, (value) => {
      const result = this.whatIsSaid(value);
      if ('wrong' in result || endpoint === null)
        return { wrong: 'wrong' in result ? result.wrong : '' };
      return { value: { ...result.value, endpoint, shard } };
    });
  }

  private whatIsSaid(value: Buffer): ReturnType<typeof subscriberOf> {
    if (value.length > SAID_SIZE_MAX) return subscriberOf(value);
    const text = value.toString('latin1');
    const known = this.said.get(text) ?? subscriberOf(value);
    if (this.said.size >= SAID_MAX) this.said.clear();
    this.said.set(text, known);
    return known;
  }

  private placeDefault({ value }: Event): string | null {
    if (value === null) {
      this.default = null;
      return null;
    }
    const result = parsed(schemas.default, value);
    if ('wrong' in result) return result.wrong;
    this.default = result.value;
    return null;
  }
}

const subscriberOf = (value: Buffer) => parsed(schemas.subscribers, value);

/** Kinds of keys of which each may change how any subscriber is served. */
const COMMON: ReadonlySet<string> = new Set(['feeds', 'filters', 'default', 'members']);
/** Kinds of keys that go with a member's lease. */
const OF_LEASE: ReadonlySet<string> = new Set<Kind>(['members', 'reports', 'shards']);

const gone = (key: string): Event => {
  return { key, value: null, modRevision: 0, createRevision: 0, lease: NO_LEASE };
};

const isHash = (name: string) => /^[0-9a-f]{64}$/.test(name);
const isOwnFilter = (name: string) => isFilterName(name) && name !== BUILT_IN;

/** Of a kind whose values say nothing; what is wrong with it, or null. */
function placeWord(into: Set<string>, name: string | null, { value }: Event): string | null {
  if (name === null) return value === null ? null : 'a name that is none';
  if (value === null) into.delete(name);
  else into.add(name);
  return null;
}

function shardNumber(name: string): number | null {
  const number = /^\d{3}$/.test(name) ? Number(name) : Number.NaN;
  return number < SHARDS ? number : null;
}
