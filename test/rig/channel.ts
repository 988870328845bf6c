/**
 * An open control channel of a replicator under test: asked over one connection for as long as the
 * replicator lives, so that a question costs no new process. Accounts are looked at here too, since
 * they are asked for here.
 */
import { connectClient, orThrow, type Reply } from '../../src/control/client.js';
import type { Question } from '../../src/control/operations.js';
import { AppliedLater } from '../../src/domain/errors.js';
import type { FeedRow, Stats, SubscriberRow } from '../../src/domain/statistics.js';
import { accountDifference, differences, isSettled } from '../../src/replicator/conservation.js';
import { eventually, Program, sleep } from './program.js';
import type { Destination } from './wire.js';

/** Until all that was received is sent or counted; a machine that is busy takes its time. */
const SETTLE_MS_MAX = 10_000;
/** Between two looks; frames wait no longer than that in a queue of the kernel. */
const LOOK_MS = 50;
/** On a machine that is busy a queue of the kernel may wait for a core. */
const LOST_MS = 1000;
/** Of 100 ms each. */
const CHANGE_TRIES_MAX = 100;

/**
 * On a machine that is busy a worker may take longer than 100 ms to follow. The answer is BUSY
 * then, with these words, and what was asked is done all the same.
 */
export const LATER = new AppliedLater().message;
export const isLater = (told: unknown): boolean => String(told).includes(LATER);

/** Asks over the control channel, from where it can be reached. */
export interface Asker {
  ask(request: Question): Promise<Reply>;
  close(): void;
}

/** `control` is ip:port. In a namespace a program of the rig asks: see agent.ts. */
export async function openAsker(
  control: string,
  namespace?: string,
  tokenFile?: string,
): Promise<Asker> {
  const url = `ws://${control}`;
  if (namespace === undefined)
    return connectClient({ control: url, ...(tokenFile === undefined ? {} : { tokenFile }) });
  const args = ['dist/test/rig/agent.js', url, ...(tokenFile === undefined ? [] : [tokenFile])];
  const program = new Program(process.execPath, args, { namespace });
  await program.line(/^ready$/m);
  const asked: ((reply: Reply) => void)[] = [];
  // as it came
  program.onLine((text) => asked.shift()?.({ text, body: JSON.parse(text) as Reply['body'] }));
  return {
    ask: (request) =>
      new Promise((resolve) => {
        asked.push(resolve);
        program.write(JSON.stringify(request));
      }),
    close: () => program.close(),
  };
}

export class Channel {
  constructor(protected readonly asker: Asker) {}

  /** The reply if it is ok; else it throws the server's own error, whose text ends in its code. */
  async ask(question: Question): Promise<Record<string, unknown>> {
    return { ...orThrow(await this.asker.ask(question)) };
  }

  /** As ask(), until all workers have followed; what was BUSY for another reason is asked again. */
  async change(question: Question): Promise<Record<string, unknown>> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.ask(question);
      } catch (error) {
        if (isLater(error)) break;
        if (!/\(BUSY\)$/.test(String(error)) || tries === CHANGE_TRIES_MAX) throw error;
      }
    }
    await this.followed();
    return { ok: true };
  }

  /** Until all workers have: whoever adds a feed that is there is answered when they have. */
  async followed(): Promise<void> {
    const [feed] = (await this.ask({ op: 'feed.list' })).feeds as FeedRow[]; // the server's own type
    if (feed === undefined) return;
    const { name, ip, port, source } = feed;
    const question: Question = {
      op: 'feed.add',
      name,
      ip,
      port,
      ...(source === null ? {} : { source }),
    };
    for (let tries = 1; ; tries++) {
      try {
        await this.ask(question);
        return;
      } catch (error) {
        if (!isLater(error) || tries === CHANGE_TRIES_MAX) throw error;
      }
    }
  }

  async add({ ip, port }: Destination): Promise<void> {
    await this.change({ op: 'add', ip, port });
  }

  async remove({ ip, port }: Destination): Promise<void> {
    await this.change({ op: 'remove', ip, port });
  }

  async stats(): Promise<Stats> {
    return (await this.ask({ op: 'stats' })) as unknown as Stats; // the server's own type
  }

  async list(): Promise<SubscriberRow[]> {
    return (await this.ask({ op: 'list' })).subscribers as SubscriberRow[]; // likewise
  }

  /** Adds them all, and waits until each is sent to directly. */
  async subscribe(destinations: readonly Destination[]): Promise<void> {
    for (const destination of destinations) await this.add(destination);
    const wanted = new Set(destinations.map(({ ip, port }) => `${ip}:${port}`));
    await eventually(`${wanted.size} subscribers are live`, async () => {
      const live = (await this.list()).filter(({ state }) => state === 'live');
      return live.filter(({ ip, port }) => wanted.has(`${ip}:${port}`)).length === wanted.size;
    });
  }

  /**
   * Asks until no copy is in flight, nothing that XDP redirected is unaccounted for, and nothing
   * more comes: the first sample and the last. `wanted`: packets of all feeds by then, as counted
   * from the start; those that are missing are taken for lost once none has come for LOST_MS.
   */
  async settled(wanted = 0): Promise<{ first: Stats; last: Stats }> {
    const end = Date.now() + SETTLE_MS_MAX;
    const first = await this.stats();
    let [before, last, came_ms] = [first, first, Date.now()];
    const isOver = () => {
      const isQuiet = received(before) === received(last);
      if (!isQuiet) came_ms = Date.now();
      const isAll = received(last) >= wanted || Date.now() - came_ms > LOST_MS;
      return isQuiet && isAll && isSettled(last);
    };
    do {
      await sleep(LOOK_MS);
      [before, last] = [last, await this.stats()];
    } while (!isOver() && Date.now() < end);
    return { first, last };
  }

  /** What `stats --check` says: every packet and copy is accounted for. */
  async check(): Promise<void> {
    const { first, last } = await this.settled();
    const found = differences(first, last);
    if (found.length > 0) throw new Error(found.join('\n'));
  }
}

/** Of all feeds that are there. */
export const received = ({ feeds }: Stats) => feeds.reduce((sum, feed) => sum + feed.received, 0);

/** Accounts that do not add up in one sample, which must hold at any time. */
export const accountFaults = (stats: Stats): string[] =>
  stats.subscribers.flatMap(accountDifference);

/** Samples the counters again and again until stopped; keeps what did not add up. */
export class Sampler {
  readonly faults: string[] = [];
  samples = 0;
  private running = true;
  private readonly done: Promise<void>;

  constructor(channel: Channel, periodMs: number) {
    this.done = this.sample(channel, periodMs);
    this.done.catch(() => {}); // stop() tells
  }

  /** Ends the sampling; fails if a sample could not be had. */
  async stop(): Promise<void> {
    this.running = false;
    await this.done;
  }

  private async sample(channel: Channel, periodMs: number): Promise<void> {
    while (this.running) {
      this.faults.push(...accountFaults(await channel.stats()));
      this.samples++;
      await sleep(periodMs);
    }
  }
}
