/**
 * Which feeds there are: what each is called, where it is sent to, and its index in shared memory
 * (struct table_feed). The first is there from start to end. subscribers/table.ts publishes them.
 *
 *     free index ── add() ──▶ open ── close() ──▶ closing ── freed() ──▶ free index
 *
 * A closing one gets no packets to anybody any more, and its index is another's only when nothing
 * of it can be under way, which the table finds out.
 */
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { FantailError } from '../domain/errors.js';
import { type FeedAddress, MAIN, type NamedFeed } from '../domain/feed.js';
import { limits } from '../memory/layout.js';

export interface Feed extends FeedAddress {
  readonly name: string;
  readonly index: number;
  /** Unique to each that was added. */
  readonly epoch: bigint;
  /**
   * UDP sockets that the kernel delivers it to, by queue in socket mode, else one. None of the
   * first feed, whose sockets are opened with the data plane.
   */
  readonly sockets: readonly number[];
  /** What its index had counted before it was added: words of struct feed_counters. */
  readonly base: readonly number[];
}

export { MAIN };

/** In place of bits for some: all that there are and will be. */
export const EVERY_FEED = 0xffff_ffff_ffff_ffffn;

export class Feeds {
  private readonly open: Feed[] = [];
  private readonly closing = new Map<number, Feed>();
  private epochs: bigint;
  /** Another number after every change. */
  version = 0;

  constructor(main: FeedAddress) {
    this.epochs = 1n; // as whoever makes an arena has it
    this.open.push({ ...main, name: MAIN, index: 0, epoch: 1n, sockets: [], base: [] });
  }

  /** Those of an earlier supervisor; `closing`: what is published, and was not left. */
  restore(open: readonly Feed[], closing: readonly Feed[], epochs: bigint): void {
    this.open.push(...open);
    for (const feed of closing) this.closing.set(feed.index, feed);
    this.epochs = epochs;
    this.version++;
  }

  /** In the order of adding, the first one first. */
  all(): readonly Feed[] {
    return this.open;
  }

  get main(): Feed {
    return this.open[0] as Feed; // from the constructor on
  }

  /** Removed, and their index is not free yet. */
  leaving(): Iterable<Feed> {
    return this.closing.values();
  }

  /** The highest epoch that was ever given. */
  get lastEpoch(): bigint {
    return this.epochs;
  }

  find(name: string): Feed | undefined {
    return this.open.find((feed) => feed.name === name);
  }

  /** The feed that is sent there. */
  at({ ip, port }: Endpoint): Feed | undefined {
    return this.open.find((feed) => feed.ip === ip && feed.port === port);
  }

  /** Throws TABLE_FULL, or BAD_REQUEST where another has the name or the address. */
  check(name: string, address: FeedAddress): void {
    checkAmong(this.open, { name, ...address });
    this.indexFor(address);
  }

  /** The same of several that come in place of some; those that are there as they are count not. */
  checkChange(gone: ReadonlySet<string>, come: readonly NamedFeed[]): void {
    const stay = this.open.filter(({ name }) => !gone.has(name));
    const isThere = ({ name, ...address }: NamedFeed) =>
      stay.some((feed) => feed.name === name && feedText(feed) === feedText(address));
    const added = come.filter((feed) => !isThere(feed));
    for (const feed of added) checkAmong(stay, feed);
    if (stay.length + added.length > limits.FEEDS_MAX) throw full();
  }

  /** The index that a feed with that address would get. One that has just left it gives its own. */
  indexFor(address: Endpoint): number {
    for (const feed of this.closing.values())
      if (endpointText(feed) === endpointText(address)) return feed.index;
    for (let index = 0; index < limits.FEEDS_MAX; index++)
      if (!this.closing.has(index) && this.open.every((feed) => feed.index !== index)) return index;
    throw full();
  }

  add(feed: Omit<Feed, 'epoch'>): Feed {
    const added = { ...feed, epoch: ++this.epochs };
    this.closing.delete(feed.index);
    this.open.push(added);
    this.version++;
    return added;
  }

  close(feed: Feed): void {
    this.open.splice(this.open.indexOf(feed), 1);
    this.closing.set(feed.index, feed);
    this.version++;
  }

  /** Nothing of it is under way any more. */
  freed(feed: Feed): void {
    if (this.closing.get(feed.index) !== feed) return; // it is back
    this.closing.delete(feed.index);
    this.version++;
  }

  /** A bit for each of those names. Throws NOT_FOUND. */
  maskOf(names: readonly string[]): bigint {
    return names.reduce((mask, name) => {
      const feed = this.find(name);
      if (feed === undefined)
        throw new FantailError('NOT_FOUND', `there is no feed ${name}; see: feed list`);
      return mask | bitOf(feed);
    }, 0n);
  }

  /** Those of a mask that are there, and their highest epoch: the two name them for good. */
  openOf(mask: bigint): { bits: bigint; newest: bigint } {
    const open = this.open.filter((feed) => mask & bitOf(feed));
    const bits = open.reduce((all, feed) => all | bitOf(feed), 0n);
    return { bits, newest: open.at(-1)?.epoch ?? 0n }; // in the order of adding
  }

  /** In the order of adding. */
  namesOf(mask: bigint): string[] {
    return this.open.filter((feed) => mask & bitOf(feed)).map(({ name }) => name);
  }
}

const full = () =>
  new FantailError(
    'TABLE_FULL',
    `${limits.FEEDS_MAX} feeds are served; remove one first, or run another launcher`,
  );

/** Neither its name nor its address is another's. */
function checkAmong(feeds: readonly Feed[], { name, ip, port }: NamedFeed): void {
  const same =
    feeds.find((feed) => feed.name === name) ??
    feeds.find((feed) => feed.ip === ip && feed.port === port);
  if (same !== undefined)
    throw new FantailError(
      'BAD_REQUEST',
      `feed ${same.name} is ${feedText(same)}; remove it first, or choose another ${same.name === name ? 'name' : 'address'}`,
    );
}

export const bitOf = ({ index }: Pick<Feed, 'index'>): bigint => 1n << BigInt(index);

/** `239.1.1.1:5000@10.0.0.9`, as it is written. */
export function feedText(feed: FeedAddress): string {
  return `${endpointText(feed)}${feed.source === null ? '' : `@${feed.source}`}`;
}
