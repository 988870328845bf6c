/**
 * An open control channel of a replicator under test: asked over one connection for as long as the
 * replicator lives, so that a question costs no new process. Accounts are looked at here too, since
 * they are asked for here.
 */
import { connectClient, orThrow, type Reply } from '../../src/control/client.js';
import type { Question } from '../../src/control/operations.js';
import { AppliedLater } from '../../src/domain/errors.js';
import type { Stats, SubscriberRow } from '../../src/domain/statistics.js';
import { accountDifference, differences, isSettled } from '../../src/replicator/conservation.js';
import { eventually, Program, sleep } from './program.js';
import type { Destination } from './wire.js';

/** Until all that was received is sent or counted; a machine that is busy takes its time. */
const SETTLE_MS_MAX = 10_000;
/** Between two looks; frames wait no longer than that in a queue of the kernel. */
const LOOK_MS = 50;
/** On a machine that is busy a queue of the kernel may wait for a core. */
const LOST_MS = 1000;

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

  /** As ask(), until all workers have followed: whether it was answered before they had. */
  async change(question: Question): Promise<'ok' | 'BUSY'> {
    try {
      await this.ask(question);
      return 'ok';
    } catch (error) {
      if (!isLater(error)) throw error;
      await this.followed(question);
      return 'BUSY';
    }
  }

  /**
   * Until all workers have followed what was asked: whoever adds a feed that is there is answered
   * when they have. (The XDP program knows one that was added once it is asked for again.)
   */
  async followed(asked?: Question): Promise<void> {
    const again = asked?.op === 'feed.add' ? asked : await this.mainAgain();
    await eventually('all workers follow', async () => {
      try {
        await this.ask(again);
        return true;
      } catch (error) {
        if (!isLater(error)) throw error;
        return false;
      }
    });
  }

  private async mainAgain(): Promise<Question> {
    const { name, ip, port, source } = (await this.stats()).feed;
    return { op: 'feed.add', name, ip, port, ...(source === null ? {} : { source }) };
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
   * more comes: the first sample and the last. `hasAll`: what was sent has come; what is missing is
   * taken for lost once nothing has come for LOST_MS.
   */
  async settled(
    hasAll: (stats: Stats) => boolean = () => true,
  ): Promise<{ first: Stats; last: Stats }> {
    const end = Date.now() + SETTLE_MS_MAX;
    const first = await this.stats();
    let [before, last, came_ms] = [first, first, Date.now()];
    const isOver = () => {
      if (received(before) !== received(last)) return false;
      return isSettled(last) && (hasAll(last) || Date.now() - came_ms > LOST_MS);
    };
    do {
      await sleep(LOOK_MS);
      [before, last] = [last, await this.stats()];
      if (received(before) !== received(last)) came_ms = Date.now();
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
