/** The face of wire/engine.cpp: source and sink at the far end of the link. */
import { Running } from './process.js';
import { built, type World } from './world.js';

/** Nanoseconds at p50, p90, p99, p99.9, p99.99 and the maximum. */
export type Percentiles = readonly [number, number, number, number, number, number];
export const PERCENTILES = ['p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'] as const;

export interface Sent {
  readonly sent: number;
  readonly start_ns: number;
  readonly end_ns: number;
  /** Frames that the link refused, and which were sent again. */
  readonly refused: number;
  /** How late each packet was at the socket. */
  readonly late_ns: Percentiles;
  /** Time that the source's core was somewhere else: in all, and at once. */
  readonly stolen_ns: number;
  readonly stolen_ns_max: number;
  /** Time that the watched process, which never sleeps, was not given. */
  readonly taken_ns: number;
}

export interface Flooded {
  readonly sent: number;
  readonly start_ns: number;
  readonly end_ns: number;
}

export interface SubscriberSeen {
  readonly received: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupt: number;
  readonly latency_ns: Percentiles;
}

/** Sums over all subscribers, and each of them where that was asked for. */
export interface Collected extends SubscriberSeen {
  /** Wrong length or IPv4 checksum. */
  readonly malformed: number;
  /** To nobody's address. */
  readonly unexpected: number;
  /** Of an earlier run. */
  readonly stale: number;
  /**
   * The highest sequence before which one was missing; the number of packets if the last ones never
   * came.
   */
  readonly last_gap: number;
  readonly first_ns: number;
  readonly last_ns: number;
  /** Packets all of whose copies came, and the time from the first copy of one to its last. */
  readonly windows: number;
  readonly window_ns: Percentiles;
  readonly subscribers: readonly SubscriberSeen[];
}

export interface CollectOptions {
  readonly expect: number;
  readonly quietMs: number;
  readonly limitMs: number;
  readonly detail: boolean;
}

/** Beside the time that a command itself says it takes. */
const GRACE_MS = 20_000;

export class Engine {
  private constructor(private readonly running: Running) {}

  static async start(world: World, seed: number): Promise<Engine> {
    const running = new Running(
      built('engine'),
      [
        ...['--interface', 'net0', '--object', built('wire.bpf.o'), '--seed', String(seed)],
        ...['--source-mac', world.netMac, '--target-mac', world.replicatorMac],
        ...['--cpu', String(world.cores.source)],
      ],
      { namespace: world.net },
    );
    await running.until('ready');
    return new Engine(running);
  }

  /**
   * Forgets everything and counts for those subscribers from now on. The result is the number of
   * the run.
   */
  async begin(subscribers: number, size: number, queues: number): Promise<number> {
    const { run } = (await this.ask(
      `begin subscribers=${subscribers} size=${size} queues=${queues}`,
    )) as {
      run: number;
    };
    return run;
  }

  /** `watch`: the pid of a process that spins, or 0. */
  async send(rate: number, count: number, watch = 0): Promise<Sent> {
    return (await this.ask(
      `send rate=${rate} count=${count} watch=${watch}`,
      (count / rate) * 5000,
    )) as Sent;
  }

  async flood(ms: number): Promise<Flooded> {
    return (await this.ask(`flood ms=${ms}`, ms)) as Flooded;
  }

  async collect({ expect, quietMs, limitMs, detail }: CollectOptions): Promise<Collected> {
    const line = `collect expect=${expect} quiet_ms=${quietMs} limit_ms=${limitMs} detail=${detail ? 1 : 0}`;
    return (await this.ask(line, limitMs)) as Collected;
  }

  stop(): Promise<void> {
    return this.running.stop();
  }

  /** Our own program, built with this one: its JSON is of the type that each caller names. */
  private async ask(line: string, takesMs = 0): Promise<unknown> {
    this.running.write(line);
    return JSON.parse(await this.running.next(takesMs + GRACE_MS));
  }
}
