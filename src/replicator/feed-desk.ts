/**
 * Feeds that come and go while the replicator runs, and what the XDP program knows of them.
 *
 * A new feed's address is known to receivers before the first packet of it can come: its sockets
 * are sent to the processes, the table names it, the program takes it. A removed one is known until
 * nothing of it is under way; the program and the kernel forget it first.
 */
import { closeSync } from 'node:fs';
import { isMulticast } from '../domain/endpoint.js';
import { Failure, FantailError, messageOf } from '../domain/errors.js';
import type { FeedAddress, NamedFeed } from '../domain/feed.js';
import { sentenceOf } from '../domain/finding.js';
import { bitOf, EVERY_FEED, type Feed, type Feeds, feedText, MAIN } from '../feeds/feeds.js';
import { openFeedSockets } from '../feeds/sockets.js';
import { addon, type Interface } from '../memory/addon.js';
import type { Publisher } from '../subscribers/publisher.js';
import type { Subscribers } from '../subscribers/subscribers.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import { checkFeedAddress, isReceived } from './plan/checks.js';
import type { OpenedPlane } from './planes.js';
import { feedWords, whenSettled } from './stats.js';

export interface FeedDeskOptions {
  readonly config: Config;
  readonly opened: OpenedPlane;
  readonly feeds: Feeds;
  readonly subscribers: Subscribers;
  readonly publisher: Publisher;
  /** As it is now; null for the interface `-`. */
  readonly link: () => Interface | null;
  /** What the next supervisor is to know has changed. */
  readonly keep: () => void;
}

/** After a table that some worker was slow to follow. */
const PUBLISH_AGAIN_MS = 100;

export class FeedDesk {
  private isClosed = false;

  constructor(private readonly options: FeedDeskOptions) {}

  /**
   * Those of the command line. Throws Failure. Those that an adopted data plane has are there, so
   * that a worker which is slow to follow keeps nobody from taking it over.
   */
  async open(feeds: readonly NamedFeed[]): Promise<void> {
    for (const feed of feeds) {
      if (this.sameAs(feed) !== undefined) continue;
      await this.add(feed).catch((error) => {
        throw new Failure(`--feed ${feed.name}: ${messageOf(error)}`);
      });
      const about = { op: 'feed.add', who: 'command line', code: 'ok', feed: feed.name };
      log.info(about, `command line asked: feed.add ${feed.name} ${feedText(feed)}: ok`);
    }
  }

  private sameAs({ name, ...address }: NamedFeed): Feed | undefined {
    const same = this.options.feeds.find(name);
    return same !== undefined && feedText(same) === feedText(address) ? same : undefined;
  }

  async add(asked: NamedFeed): Promise<{ existing: boolean }> {
    const same = this.sameAs(asked);
    if (same !== undefined) {
      await this.publish(same); // whoever added it may have been told BUSY
      return { existing: true };
    }
    const { name, ...address } = asked;
    const { arena } = this.options.opened.plane;
    const feed = await whenSettled(arena, () => this.openFeed(name, address));
    this.options.keep();
    this.options.opened.plane.tellFeed(feed);
    log.debug({ feed: name }, `feed ${name}: ${feedText(feed)}`);
    await this.publish(feed);
    return { existing: false };
  }

  /** The program takes it once receivers know it; where they are slow to follow, BUSY is thrown. */
  private async publish(feed: Feed): Promise<void> {
    try {
      await this.options.publisher.applied();
      this.tellProgram(feed);
    } catch (error) {
      setTimeout(() => {
        const isThere = !this.isClosed && this.options.feeds.find(feed.name) === feed;
        if (isThere) this.publish(feed).catch(() => {}); // it is tried again
      }, PUBLISH_AGAIN_MS).unref();
      throw error;
    }
  }

  /** The sockets of all feeds but the first, which are the data plane's. */
  close(): void {
    this.isClosed = true;
    for (const { sockets } of this.options.feeds.all()) for (const fd of sockets) closeSync(fd);
  }

  /** Throws as add() would, of several that come in place of some. */
  checkChange(gone: ReadonlySet<string>, come: readonly NamedFeed[]): void {
    for (const feed of come) this.checkAddress(feed);
    this.options.feeds.checkChange(gone, come);
  }

  /** Throws BAD_ADDRESS, NOT_ALLOWED. */
  checkAddress(address: FeedAddress): void {
    const { subscribers, config } = this.options;
    if (subscribers.find(address) !== undefined)
      throw new FantailError(
        'NOT_ALLOWED',
        `${feedText(address)} is a subscriber; remove it first`,
      );
    const link = this.options.link();
    if (link === null || this.options.opened.plane.opened.mode === 'socket') return; // bind tells
    const why = checkFeedAddress(config, address.ip, link);
    if (why !== null) throw new FantailError('BAD_ADDRESS', sentenceOf(why));
  }

  /** In one go, since another may be added meanwhile. Throws InCommit before anything is done. */
  private openFeed(name: string, address: FeedAddress): Feed {
    const { config, opened, feeds } = this.options;
    const { plane, deployment } = opened;
    const { netns, interfaceName, promiscuous } = config;
    const { mode, xdp } = plane.opened;
    const count = mode === 'socket' ? deployment.queues.length : 1;
    this.checkAddress(address);
    feeds.check(name, address);
    const index = feeds.indexFor(address);
    const base = feedWords(plane.arena, index);
    let sockets: number[];
    try {
      sockets = openFeedSockets({ netns, interfaceName, feed: address, promiscuous, count });
    } catch (error) {
      throw new FantailError('BAD_ADDRESS', messageOf(error));
    }
    const [first] = sockets;
    if (xdp !== null && first !== undefined)
      addon.feedReaderSet(xdp, deployment.queues[0] ?? 0, index, first, isMulticast(address.ip));
    const feed = feeds.add({ ...address, name, index, sockets, base });
    this.touchAll();
    return feed;
  }

  async remove(name: string): Promise<{ removed: boolean }> {
    const { feeds, subscribers, publisher, opened, keep } = this.options;
    if (name === MAIN)
      throw new FantailError('BAD_REQUEST', 'the feed main is there as long as fantail up runs');
    const feed = feeds.find(name);
    if (feed !== undefined) {
      const { xdp } = opened.plane.opened;
      if (xdp !== null)
        for (const queue of opened.deployment.queues)
          addon.feedDelete(xdp.feeds, queue, feed.ip, feed.port);
      feeds.close(feed);
      for (const subscriber of subscribers.all())
        if (subscriber.feeds !== EVERY_FEED && subscriber.feeds & bitOf(feed))
          subscribers.choose(subscriber, subscriber.feeds & ~bitOf(feed));
      this.touchAll();
      for (const fd of feed.sockets) closeSync(fd);
      keep();
      log.debug({ feed: name }, `feed ${name} is removed: ${feedText(feed)}`);
    }
    await publisher.applied();
    return { removed: feed !== undefined };
  }

  /** Who gets all feeds gets others now. */
  private touchAll(): void {
    const { subscribers } = this.options;
    subscribers.touch([...subscribers.all()].filter(({ feeds }) => feeds === EVERY_FEED));
  }

  /** What the interface or the host has now decides which frames are certain to be for us. */
  interfaceChanged(): void {
    for (const feed of this.options.feeds.all()) this.tellProgram(feed);
  }

  /**
   * Which frames of a feed are certain to be for us: by the MAC of the interface and the addresses
   * of the host. fantail-rx has said so of the first one at the start.
   */
  private tellProgram({ index, ip, port, source }: Feed): void {
    const { config, opened, link } = this.options;
    const { plane, deployment } = opened;
    const { xdp } = plane.opened;
    const name = link()?.name;
    if (xdp === null || name === undefined) return;
    const { queues, mtu } = deployment;
    const generic = xdp.attach === 'generic';
    try {
      const { promiscuous } = config;
      const feed = { queues, index, ip, port, source, mtu, generic, promiscuous };
      addon.feedSet(xdp.feeds, xdp.own, config.netns, name, feed);
    } catch (error) {
      // frames that it does not know for ours any more go by the kernel until the next change
      log.warn(`the XDP program is not told of the change: ${messageOf(error)}`);
    }
  }

  /** Whether the kernel receives a feed's group; null: it is sent to none. */
  joined({ ip }: Feed): boolean | null {
    const name = this.options.link()?.name ?? '-';
    return isMulticast(ip) && name !== '-'
      ? addon.isMember(this.options.config.netns, name, ip)
      : null;
  }

  /** Whether a feed is sent to another host, as the addresses of this one are now. */
  isOfAnotherHost({ ip }: Feed): boolean {
    const link = this.options.link();
    return this.options.config.promiscuous && link !== null && !isReceived(ip, link);
  }
}
