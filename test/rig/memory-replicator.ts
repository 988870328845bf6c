/**
 * A replicator without packets, for tests of what drives one: a table of subscribers, written
 * plainly. Rules that the real one takes from its interface are fixed here: destinations in
 * 10.0.0.0/8, at most `capacity` of them.
 */

import type { ConfigurationAnswer, ReloadAnswer } from '../../src/domain/configuration.js';
import { FantailError } from '../../src/domain/errors.js';
import type { FeedChoice, NamedFeed } from '../../src/domain/feed.js';
import type { Fleet, FleetStatus } from '../../src/domain/fleet.js';
import type { Lease } from '../../src/domain/lease.js';
import type { GapEvent, Replicator } from '../../src/domain/replicator.js';
import type {
  FeedRow,
  FilterInfo,
  FilterRow,
  Stats,
  SubscriberRow,
} from '../../src/domain/statistics.js';

export class MemoryReplicator implements Replicator {
  readonly rows: SubscriberRow[] = [];
  /** What `stats` tells; a test changes it at will. */
  current: Stats = emptyStats();
  /**
   * Time that add and remove take, milliseconds: longer for earlier ones would tempt a server to
   * reorder.
   */
  delayMs = 0;
  /** As they came. */
  readonly leases: Lease[] = [];
  /** Thrown by the next `add` or `reload`. */
  failure: Error | null = null;
  /** What was asked of the group, with what. */
  readonly fleetAsked: unknown[][] = [];

  constructor(readonly capacity = 4096) {}

  async add(
    ip: string,
    port: number,
    lease: Lease,
    feeds?: FeedChoice,
  ): Promise<{ existing: boolean }> {
    await this.wait();
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
    if (!ip.startsWith('10.'))
      throw new FantailError('NOT_ALLOWED', `${ip} is outside 10.0.0.0/8; see --allow`);
    this.leases.push(lease);
    const known = this.rows[this.indexOf(ip, port)];
    const chosen = feeds?.[0] === 'all' ? this.names : [...(feeds ?? known?.feeds ?? ['main'])];
    if (known !== undefined) {
      known.feeds = chosen;
      return { existing: true };
    }
    if (this.rows.length >= this.capacity) {
      throw new FantailError(
        'TABLE_FULL',
        `${this.capacity} subscribers are served; remove one first`,
      );
    }
    this.rows.push({
      ip,
      port,
      state: 'live',
      mac: '02:00:00:00:00:02',
      worker: 0,
      filter: 'default',
      feeds: chosen,
      expires_s: typeof lease === 'number' || lease === null ? lease : 'session',
    });
    if (lease !== null && typeof lease !== 'number')
      lease.onEnd(() => this.rows.splice(this.indexOf(ip, port), 1));
    return { existing: false };
  }

  private get names(): string[] {
    return this.current.feeds.map(({ name }) => name);
  }

  async feedAdd({ name, ...address }: NamedFeed): Promise<{ existing: boolean }> {
    if (this.names.includes(name)) return { existing: true };
    this.current.feeds.push({ ...emptyFeed(), ...address, name });
    return { existing: false };
  }

  async feedRemove(name: string): Promise<{ removed: boolean }> {
    if (name === 'main')
      throw new FantailError('BAD_REQUEST', 'the feed main is there as long as fantail up runs');
    const at = this.names.indexOf(name);
    if (at >= 0) this.current.feeds.splice(at, 1);
    return { removed: at >= 0 };
  }

  async feedList(): Promise<FeedRow[]> {
    return this.current.feeds;
  }

  async remove(ip: string, port: number): Promise<{ removed: boolean }> {
    await this.wait();
    const index = this.indexOf(ip, port);
    if (index >= 0) this.rows.splice(index, 1);
    return { removed: index >= 0 };
  }

  async pause(ip: string, port: number, isPaused: boolean): Promise<{ changed: boolean }> {
    await this.wait();
    const row = this.rows[this.indexOf(ip, port)];
    if (row === undefined)
      throw new FantailError('NOT_FOUND', `${ip}:${port} is not subscribed; see: list`);
    const before = row.state;
    row.state = isPaused ? 'paused' : 'live';
    return { changed: row.state !== before };
  }

  list(): SubscriberRow[] {
    return this.rows;
  }

  /** A group that takes all that it is asked for. */
  fleet(): Fleet {
    const answers = <Answer>(name: string, answer: Answer) => {
      return async (...asked: unknown[]): Promise<Answer> => {
        this.fleetAsked.push([name, ...asked]);
        return answer;
      };
    };
    return {
      status: answers('status', emptyFleet()),
      list: answers('list', []),
      add: answers('add', { existing: false }),
      remove: answers('remove', { removed: true }),
      pause: answers('pause', { changed: true }),
      move: answers('move', { shard: 7, subscribers: 1 }),
      drain: answers('drain', { draining: true }),
      feedAdd: answers('feedAdd', { existing: false }),
      feedRemove: answers('feedRemove', { removed: true }),
      filterLoad: answers('filterLoad', { sha256: '0'.repeat(64) }),
      filterUse: answers('filterUse', undefined),
      filterUnload: answers('filterUnload', undefined),
    };
  }

  async stats(): Promise<Stats> {
    return this.current;
  }

  async queueStats(): Promise<Stats> {
    return { ...this.current, driver: null };
  }

  /** Filters by name: the bytes that were loaded. */
  readonly filters = new Map<string, Uint8Array>();
  /** What `filterUse` was asked last. */
  used: { name: string; param: Uint8Array; to: { ip: string; port: number } | null } | null = null;

  async filterLoad(name: string, module: Uint8Array): Promise<FilterInfo> {
    if (module[0] !== 0) throw new FantailError('FILTER_REJECTED', 'byte 0 is not 0');
    this.filters.set(name, module);
    return this.filterInfo(name);
  }

  async filterUse(
    name: string,
    param: Uint8Array,
    to: { ip: string; port: number } | null,
  ): Promise<number> {
    this.filterInfo(name);
    this.used = { name, param, to };
    return to === null ? this.rows.length : 1;
  }

  filterList(): FilterRow[] {
    return [...this.filters.keys()].map((name) => this.filterInfo(name));
  }

  filterInfo(name: string): FilterInfo {
    const module = this.filters.get(name);
    if (module === undefined) throw new FantailError('NOT_FOUND', `there is no filter ${name}`);
    return {
      name,
      status: 'ready',
      hash: 'ab'.repeat(32),
      size: module.length,
      abi: 1,
      subscribers: 0,
      default: false,
      rollback: null,
      slot: 1,
      state: false,
      cost_ns: 4.5,
      calls: 10,
      jobs: 20,
      verdicts: { send: 15, drop: 2 },
      faults: { trap: 1, bad_answer: 2, too_big: 0 },
    };
  }

  async filterUnload(name: string): Promise<void> {
    this.filterInfo(name);
    this.filters.delete(name);
  }

  configuration(): ConfigurationAnswer {
    const settings = [
      { key: 'interface', value: 'eth9', from: 'command line' },
      { key: 'mode', value: 'auto', from: 'default' },
      { key: 'queues', value: '0', from: '/etc/fantail.yaml:3', waiting: '0,1' },
      { key: 'state', value: null, from: 'default' },
    ];
    return { file: '/etc/fantail.yaml', settings };
  }

  /** What the next `reload` answers. */
  reloaded: ReloadAnswer = { file: '/etc/fantail.yaml', applied: [], refused: [] };

  async reload(): Promise<ReloadAnswer> {
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
    return this.reloaded;
  }

  /** Whoever is told of gaps. */
  readonly gapListeners = new Set<(gap: GapEvent) => void>();

  onGap(listener: (gap: GapEvent) => void): () => void {
    this.gapListeners.add(listener);
    return () => this.gapListeners.delete(listener);
  }

  private indexOf(ip: string, port: number): number {
    return this.rows.findIndex((row) => row.ip === ip && row.port === port);
  }

  private async wait(): Promise<void> {
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs).unref());
  }
}

function emptyFeed(): FeedRow {
  return {
    name: 'main',
    ip: '10.0.0.1',
    port: 9000,
    source: null,
    joined: null,
    of_another_host: false,
    received: 0,
    bytes: 0,
    slow_path: 0,
    socket_lost: 0,
    drops: {},
    subscribers: 0,
  };
}

/** Stats of a replicator in copy mode that has seen nothing. */
export function emptyStats(): Stats {
  const main = emptyFeed();
  return {
    version: 1,
    uptime_ms: 1000,
    interface: 'eth9',
    queues: [0],
    mode: 'copy',
    fallbacks: [{ mode: 'zerocopy', reason: 'the driver has none' }],
    layout: 'inline',
    feed: main,
    feeds: [main],
    removed_feeds: { received: 0, bytes: 0, slow_path: 0, drops: {} },
    xdp: { redirect: 0, other: 0 },
    kernel: [
      {
        queue: 0,
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
      },
    ],
    receivers: [],
    workers: [
      {
        worker: 0,
        pid: 4242,
        restarts: 0,
        inside_ns: { p50: 250, p99: 700, p999: 900 },
        kick_ns: { p50: 2000, p99: 4000, p999: 8000 },
        window_ns: { p50: 1800, p99: 3800, p999: 7800 },
        recent: {
          inside_ns: { p50: 240, p99: 600, p999: 800 },
          kick_ns: { p50: 1900, p99: 3900, p999: 7900 },
          window_ns: { p50: 1700, p99: 3700, p999: 7700 },
        },
        bursts: 160,
        kicks: 170,
        fenced: false,
        fenced_packets: 0,
        timed: { bursts: 10, copies: 20, stages_ns: { filter: 100, kick: 20_000 } },
        transmit: {
          path: 'ring',
          reason: '--transmit ring',
          pumped: false,
          changes: 0,
          calls: 0,
          frames: 0,
          slowest_ns: 0,
          refused: 0,
          resent: 0,
          interrupted: 0,
          live_pools: 0,
        },
      },
    ],
    subscribers: [],
    filters: { loaded: [], rollbacks: [] },
  };
}

/** The same after `received` packets of 100 bytes to one subscriber, all of them sent. */
export function busyStats(received: number): Stats {
  const stats = emptyStats();
  stats.feed.received = received;
  stats.feed.bytes = received * 100;
  stats.xdp = { redirect: received, other: 3 };
  const account = {
    received,
    sent: received,
    in_flight: 0,
    bytes: received * 142,
    drops: { tx_full: 0 },
  };
  stats.subscribers = [{ ip: '10.0.0.34', port: 9001, ...account }];
  return stats;
}

/** A group with nobody in it. */
export function emptyFleet(): FleetStatus {
  return {
    ...{ group: 'g', revision: 1, members: [], subscribers: 0, free_shards: 256, unowned: 0 },
    ...{ unserved: 0, no_room: 0, moving: 0 },
    ...{ feeds: [], filters: [], pins: [], faults: [], fault_count: 0 },
  };
}
