/**
 * A replicator as programs have it: each operation of the control channel as a method, its events
 * as an async iterator. `import { connect } from 'fantail'` gives one; the commands of the CLI are
 * built on it.
 */
import { type Client, connectClient } from '../control/client.js';
import type { Answer, Question } from '../control/operations.js';
import type { ToldChange } from '../domain/change.js';
import type { ConfigurationAnswer, ReloadAnswer } from '../domain/configuration.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { FleetStatus, FleetSubscriberRow } from '../domain/fleet.js';
import type { WatchEvent } from '../domain/replicator.js';
import type { FeedRow, FilterInfo, FilterRow, Stats, SubscriberRow } from '../domain/statistics.js';
import { EventQueue } from './events.js';

/** Where the control port is, and how to be let in. */
export interface ConnectOptions {
  /** ws://host:port, or wss://host:port; ws://127.0.0.1:12345 without. */
  control?: string;
  /** What the replicator's --token-file holds, or the path of a file with it. */
  token?: string;
  tokenFile?: string;
  /** Path of a certificate (PEM) that signs the replicator's. */
  tlsCa?: string;
  /** Called with each reply as it came, a JSON object, before a refusal of it is thrown. */
  onReply?: (text: string) => void;
}

/** How a subscriber is added. */
export interface AddOptions {
  /** Names, or `all` alone. Without: as they were, and the first feed for a new subscriber. */
  feeds?: readonly string[];
  /** Seconds that it stays, or as long as this connection; without: until it is removed. */
  lease?: number | 'session';
}

/** A feed to receive. */
export interface FeedToAdd extends Endpoint {
  readonly name: string;
  /** The one host that it is taken from; any without. */
  readonly source?: string | null;
}

/**
 * Connects. Throws a Failure with a sentence that says what to do where nobody answers, or one that
 * is no fantail, or the token is refused.
 */
export function connect(options: ConnectOptions = {}): Promise<Fantail> {
  return Fantail.open(options);
}

/**
 * One connection. A method that is refused throws a FantailError, whose `code` is of a closed set;
 * all throw a Failure once the connection has ended. Requests are answered in their order.
 */
export class Fantail {
  /** Feeds that are replicated. */
  readonly feeds = {
    list: async (): Promise<FeedRow[]> => (await this.ask({ op: 'feed.list' })).feeds,
    add: ({ source, ...feed }: FeedToAdd): Promise<{ existing: boolean }> =>
      this.ask({ op: 'feed.add', ...feed, ...(source ? { source } : {}) }),
    remove: (name: string): Promise<{ removed: boolean }> => this.ask({ op: 'feed.remove', name }),
  };

  /** WebAssembly filters. */
  readonly filters = {
    list: async (): Promise<FilterRow[]> => (await this.ask({ op: 'filter.list' })).filters,
    info: async (name: string): Promise<FilterInfo> =>
      (await this.ask({ op: 'filter.info', name })).filter,
    /** Checked before it goes live: FILTER_REJECTED says which rule and where. */
    load: async (name: string, module: Uint8Array): Promise<FilterInfo> => {
      const text = `base64:${Buffer.from(module).toString('base64')}`;
      return (await this.ask({ op: 'filter.load', name, module: text })).filter;
    },
    /**
     * For one subscriber, or for all and those to come; how many it answers for. `param`: of the
     * filter, text or `hex:` and digits.
     */
    use: async (
      name: string,
      { to, param }: { to?: Endpoint | null; param?: string } = {},
    ): Promise<number> => {
      const whom = to ? { ip: to.ip, port: to.port } : {};
      const more = param === undefined ? {} : { param };
      return (await this.ask({ op: 'filter.use', name, ...whom, ...more })).subscribers;
    },
    unload: async (name: string): Promise<void> => {
      await this.ask({ op: 'filter.unload', name });
    },
  };

  /** The group that it is a member of, beyond one machine. */
  readonly fleet = {
    status: (): Promise<FleetStatus> => this.ask({ op: 'fleet.status' }),
    list: async (): Promise<FleetSubscriberRow[]> =>
      (await this.ask({ op: 'fleet.list' })).subscribers,
    /** What is not said stays as it is; main, and the group's default filter, for a new one. */
    add: (
      { ip, port }: Endpoint,
      how: { feeds?: readonly string[]; filter?: string; param?: string } = {},
    ): Promise<{ existing: boolean }> => {
      const { feeds, ...more } = how;
      const chosen = feeds === undefined ? {} : { feeds: [...feeds] };
      return this.ask({ op: 'fleet.add', ip, port, ...chosen, ...more });
    },
    remove: ({ ip, port }: Endpoint): Promise<{ removed: boolean }> =>
      this.ask({ op: 'fleet.remove', ip, port }),
    pause: ({ ip, port }: Endpoint): Promise<{ changed: boolean }> =>
      this.ask({ op: 'fleet.pause', ip, port }),
    resume: ({ ip, port }: Endpoint): Promise<{ changed: boolean }> =>
      this.ask({ op: 'fleet.resume', ip, port }),
    /** Its shard, with all in it, to that member, or back to whose it is by weight. */
    move: (
      { ip, port }: Endpoint,
      member?: string,
    ): Promise<{ shard: number; subscribers: number }> =>
      this.ask({ op: 'fleet.move', ip, port, ...(member === undefined ? {} : { member }) }),
    /** It hands all over to others, and ends. */
    drain: (member: string): Promise<{ draining: boolean }> =>
      this.ask({ op: 'fleet.drain', member }),
    feedAdd: ({ source, ...feed }: FeedToAdd): Promise<{ existing: boolean }> =>
      this.ask({ op: 'fleet.feed.add', ...feed, ...(source ? { source } : {}) }),
    feedRemove: (name: string): Promise<{ removed: boolean }> =>
      this.ask({ op: 'fleet.feed.remove', name }),
    filterLoad: (name: string, module: Uint8Array): Promise<{ sha256: string }> => {
      const text = `base64:${Buffer.from(module).toString('base64')}`;
      return this.ask({ op: 'fleet.filter.load', name, module: text });
    },
    /** For one subscriber, or for all that name none. */
    filterUse: async (
      name: string,
      { to, param }: { to?: Endpoint | null; param?: string } = {},
    ): Promise<void> => {
      const whom = to ? { ip: to.ip, port: to.port } : {};
      const more = param === undefined ? {} : { param };
      await this.ask({ op: 'fleet.filter.use', name, ...whom, ...more });
    },
    filterUnload: async (name: string): Promise<void> => {
      await this.ask({ op: 'fleet.filter.unload', name });
    },
  };

  private isWatching = false;

  // private, so that what programs import says nothing of the channel below
  private constructor(
    private readonly client: Client,
    private readonly onReply?: (text: string) => void,
  ) {}

  /** What `connect` does. */
  static async open({ onReply, ...flags }: ConnectOptions): Promise<Fantail> {
    return new Fantail(await connectClient(flags), onReply);
  }

  /** `existing`: it was there, and has the feeds and lease that are asked for now. */
  add({ ip, port }: Endpoint, { feeds, lease }: AddOptions = {}): Promise<{ existing: boolean }> {
    const more = {
      ...(feeds === undefined ? {} : { feeds: [...feeds] }),
      ...(lease === undefined ? {} : { lease }),
    };
    return this.ask({ op: 'add', ip, port, ...more });
  }

  remove({ ip, port }: Endpoint): Promise<{ removed: boolean }> {
    return this.ask({ op: 'remove', ip, port });
  }

  /** Owed nothing from now on; it keeps its place, feeds and filter. */
  pause({ ip, port }: Endpoint): Promise<{ changed: boolean }> {
    return this.ask({ op: 'pause', ip, port });
  }

  resume({ ip, port }: Endpoint): Promise<{ changed: boolean }> {
    return this.ask({ op: 'resume', ip, port });
  }

  async list(): Promise<SubscriberRow[]> {
    return (await this.ask({ op: 'list' })).subscribers;
  }

  /** `queues`: with those of each queue beside the driver's own (`driver`). */
  stats({ queues = false }: { queues?: boolean } = {}): Promise<Stats> {
    return this.ask({ op: 'stats', ...(queues ? { queues } : {}) });
  }

  /** How it was told to be, and by whom. */
  configuration(): Promise<ConfigurationAnswer> {
    return this.ask({ op: 'config' });
  }

  /** Has it read its configuration file again, and apply what can be applied. */
  reload(): Promise<ReloadAnswer> {
    return this.ask({ op: 'reload' });
  }

  /** The last changes that anybody asked for, the oldest first, and how each was answered. */
  async changes(count?: number): Promise<ToldChange[]> {
    const most = count === undefined ? {} : { count };
    return (await this.ask({ op: 'changes', ...most })).changes;
  }

  /**
   * The statistics every so many seconds, and gaps as they are found, until `signal` says stop or
   * the loop is left; throws a Failure when the replicator closes the connection. One at a time. Of
   * statistics that are not taken in time only the newest wait, since counters are sums.
   */
  async *watch(
    seconds = 1,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<WatchEvent, void, void> {
    if (this.isWatching)
      throw new Error('this connection is watched already: leave that loop, or connect again');
    if (signal?.aborted) return;
    this.isWatching = true;
    const events = new EventQueue();
    const unfollow = this.client.follow(events);
    let stop = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = () => {
        events.stop();
        resolve();
      };
    });
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await Promise.race([this.ask({ op: 'watch', seconds }), stopped]);
      yield* events.taken();
    } finally {
      signal?.removeEventListener('abort', stop);
      unfollow();
      this.isWatching = false;
      // its answer is waited for by nobody: what is asked next comes after it anyway
      void this.client.ask({ op: 'unwatch' }).catch(() => {});
    }
  }

  /** Resolves when `signal` says stop, rejects with a Failure when the replicator closes it. */
  untilEnd(signal: AbortSignal): Promise<void> {
    return this.client.untilEnd(signal);
  }

  /** Ends the connection and, with it, leases on it. */
  close(): void {
    this.client.close();
  }

  private async ask<Asked extends Question>(question: Asked): Promise<Answer<Asked['op']>> {
    const reply = await this.client.ask(question);
    this.onReply?.(reply.text);
    const { id: _, ok: __, ...answer } = { id: 0, ok: true, ...this.client.orThrow(reply) };
    return answer as unknown as Answer<Asked['op']>; // without the two that are of the channel
  }
}
