/**
 * Who a filter may decide for together: the subscribers of one worker that get the same feeds by
 * the same filter and parameter. Each such set has a number (subscriber.set in layout.ts) by which
 * filters keep what they know of it; when its last subscriber has gone the number is never used
 * again, so that nobody goes on with what was known of somebody else, or long ago. A set whose
 * feeds change is another one, also that of those that get all feeds. Who is paused is in none.
 */
import type { Feeds } from '../feeds/feeds.js';
import { limits } from '../memory/layout.js';
import type { Subscriber } from './subscribers.js';

export interface SubscriberSet {
  readonly number: bigint;
  readonly worker: number;
  /** Their names when it began, in the order of adding. */
  readonly feeds: readonly string[];
  readonly param: Uint8Array;
  /** How many it has in the newest table. */
  subscribers: number;
}

/** What a published row says of its subscriber's set. */
interface PublishedSet {
  readonly set: bigint;
  readonly feeds: bigint;
  /** Of its filter. */
  readonly slot: number;
  readonly param: Uint8Array;
}

/** Those that have ended, for what is told of them a moment later. */
const ENDED_MAX = 256;

export class SubscriberSets {
  private readonly byKey = new Map<string, SubscriberSet>();
  private readonly byRow: SubscriberSet[] = [];
  private readonly byNumber = new Map<bigint, SubscriberSet>();
  private readonly ended: bigint[] = [];
  /** Of an earlier supervisor, by row. */
  private adopted = new Map<number, PublishedSet>();
  /** Of the subscribers, at the last update. */
  private version = -1;

  constructor(private readonly feeds: Feeds) {}

  /** The numbers that an earlier supervisor has published; they go on for who is the same still. */
  adopt(rows: readonly (PublishedSet & { readonly row: number })[]): void {
    this.adopted = new Map(rows.map((each) => [each.row, each]));
  }

  /** As they will be in the table of that generation. */
  update(subscribers: Iterable<Subscriber>, version: number, generation: bigint): void {
    for (const set of this.byKey.values()) set.subscribers = 0;
    for (const subscriber of subscribers) {
      const { row, changed, isPaused } = subscriber;
      if (isPaused) {
        delete this.byRow[row]; // nothing is decided for it
        continue;
      }
      const known = changed > this.version ? undefined : this.byRow[row];
      const set = known ?? this.setOf(subscriber, generation);
      set.subscribers += 1;
      this.byRow[row] = set;
    }
    for (const [key, set] of this.byKey) if (set.subscribers === 0) this.end(key, set);
    this.adopted.clear();
    this.version = version;
  }

  /** The one of the subscriber in that row. */
  ofRow(row: number): bigint {
    return this.byRow[row]?.number ?? 0n;
  }

  /** Also one that has ended, for a while. */
  find(number: bigint): SubscriberSet | undefined {
    return this.byNumber.get(number);
  }

  private setOf(subscriber: Subscriber, generation: bigint): SubscriberSet {
    const { worker, row, filter } = subscriber;
    const { bits, newest } = this.feeds.openOf(subscriber.feeds);
    const param = Buffer.from(filter.param).toString('hex');
    const key = `${worker} ${bits} ${newest} ${filter.module.owner} ${param}`;
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    const left = this.adopted.get(row);
    const isLeft =
      left !== undefined &&
      left.set !== 0n &&
      !this.byNumber.has(left.set) &&
      left.feeds === subscriber.feeds &&
      left.slot === filter.module.slot &&
      Buffer.compare(left.param, filter.param) === 0;
    // one row begins at most one of a generation
    const number = isLeft ? left.set : generation * BigInt(limits.SUBSCRIBERS_MAX) + BigInt(row);
    const feeds = this.feeds.namesOf(bits);
    const set: SubscriberSet = { number, worker, feeds, param: filter.param, subscribers: 0 };
    this.byKey.set(key, set);
    this.byNumber.set(number, set);
    return set;
  }

  private end(key: string, { number }: SubscriberSet): void {
    this.byKey.delete(key);
    this.ended.push(number);
    const [oldest] = this.ended;
    if (this.ended.length <= ENDED_MAX || oldest === undefined) return;
    this.ended.shift();
    this.byNumber.delete(oldest);
  }
}
