/**
 * What goes through a replicator in a soak: two feeds, of each an ordinary flow and one that only
 * the kernel can judge, so that it goes the slow path; and the sink of all copies.
 */
import {
  type Destination,
  LISTEN_PORT,
  type Route,
  type Sunk,
  startFeed,
  startSink,
} from '../rig/wire.js';

/** The second feed. */
export const SECOND = { name: 'second', port: 9100 } as const;

/** Beside so many packets one goes the slow path, of a flow of its own: both keep their order. */
const PACKETS_A_SLOW_ONE = 50;

/** Packets of one feed. */
export interface Sent {
  readonly all: number;
  /** Of these, those that could only go the slow path. */
  readonly slow: number;
}

export interface TrafficOptions {
  readonly route: Route;
  readonly subscribers: readonly Destination[];
  readonly extras: readonly Destination[];
  /** Packets a second, of both feeds together. */
  readonly rate: number;
  /** It ends by itself long after so many. */
  readonly seconds: number;
}

export class Traffic {
  private constructor(
    private readonly sink: Awaited<ReturnType<typeof startSink>>,
    /** By feed: the ordinary flow and the other. */
    private readonly feeds: readonly (readonly ReturnType<typeof startFeed>[])[],
  ) {}

  static async start({ route, rate, seconds, ...sunk }: TrafficOptions): Promise<Traffic> {
    const both = { ...route, secondPort: SECOND.port };
    const sink = await startSink(both, { ...sunk, flows: 4 });
    const each = rate / 2;
    const rates = [each, each / PACKETS_A_SLOW_ONE].map(Math.ceil);
    const feeds = [LISTEN_PORT, SECOND.port].map((port, feed) =>
      rates.map((flowRate, flow) =>
        startFeed(route, {
          rate: flowRate,
          count: flowRate * (seconds + 3600),
          port,
          flow: 2 * feed + flow,
          ...(flow === 1 ? { unusualEvery: 1 } : {}),
        }),
      ),
    );
    return new Traffic(sink, feeds);
  }

  /** Sends no more: what was sent of each feed. */
  async end(): Promise<Sent[]> {
    return await Promise.all(
      this.feeds.map(async (flows) => {
        const [{ sent: plain } = { sent: 0 }, { sent: slow } = { sent: 0 }] = await Promise.all(
          flows.map((flow) => flow.stop()),
        );
        return { all: plain + slow, slow };
      }),
    );
  }

  seen(): Promise<Sunk> {
    return this.sink.stop();
  }

  /** Whatever state it is in. */
  close(): void {
    for (const { program } of [...this.feeds.flat(), this.sink]) program.close();
  }
}
