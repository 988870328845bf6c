/**
 * The TypeScript face of wire-served: who served whom, and when. See test/wire/wire_served.cpp.
 */
import { join } from 'node:path';
import { Program, ROOT } from '../program.js';
import type { Host } from './bridge.js';

/** The longest that a timer can be set to: 24 days. */
const FOR_EVER_MS = 0x7fffffff;

/** Who waits for the answer to an order. */
interface Asked {
  readonly resolve: (look: Look) => void;
  readonly reject: (why: unknown) => void;
}

/** Sequences of one sender to one subscriber, each following the one before it. */
export interface Run {
  readonly subscriber: number;
  /** Its address. */
  readonly sender: string;
  readonly first: number;
  readonly last: number;
  /** CLOCK_MONOTONIC. */
  readonly first_ns: number;
  readonly last_ns: number;
  /** The longest time between two of it. */
  readonly gap_ns: number;
}

export interface Look {
  readonly now_ns: number;
  readonly ring_drops: number;
  readonly unexpected: number;
  readonly corrupt: number;
  readonly forgotten: number;
  readonly runs: readonly Run[];
}

export interface ServedOptions {
  readonly host: Host;
  /** Ports at each of the host's addresses: all of them are subscribers. */
  readonly ports: { readonly first: number; readonly count: number };
  /** The feed's: copies come from it. */
  readonly feedPort: number;
  readonly size: number;
}

export class Served {
  /** In the order of their numbers. */
  readonly subscribers: readonly { readonly ip: string; readonly port: number }[];
  private readonly asked: Asked[] = [];
  /** Why it has ended, which nobody asks it to while it is asked. */
  private gone: unknown = null;

  private constructor(
    private readonly program: Program,
    { host, ports }: ServedOptions,
  ) {
    const offsets = Array.from({ length: ports.count }, (_, index) => index);
    this.subscribers = host.ips.flatMap((ip) =>
      offsets.map((offset) => ({ ip, port: ports.first + offset })),
    );
    const end = (why: unknown) => {
      this.gone = why;
      for (const { reject } of this.asked.splice(0)) reject(why);
    };
    program.wait(FOR_EVER_MS).then(() => end(new Error(program.told())), end);
    program.onLine((line) => this.asked.shift()?.resolve(lookOf(line)));
  }

  static async start(options: ServedOptions): Promise<Served> {
    const { host, ports, feedPort, size } = options;
    const range = `${ports.first}-${ports.first + ports.count - 1}`;
    const args = ['--interface', host.interface, '--port', feedPort, '--size', size].map(String);
    for (const ip of host.ips) args.push('--subscriber', `${ip}:${range}`);
    const tool = join(ROOT, 'native', 'build', 'wire-served');
    const program = new Program(tool, args, { namespace: host.namespace });
    await program.line(/^ready$/m);
    return new Served(program, options);
  }

  /** What came until now. */
  look(): Promise<Look> {
    return this.ask('look');
  }

  /** The same, and all is forgotten. */
  reset(): Promise<Look> {
    return this.ask('reset');
  }

  close(): void {
    this.program.close();
  }

  private ask(order: 'look' | 'reset'): Promise<Look> {
    return new Promise((resolve, reject) => {
      if (this.gone !== null) return reject(this.gone);
      this.asked.push({ resolve, reject });
      this.program.write(order);
    });
  }
}

type Row = [number, string, number, number, number, number, number];

/** Of a line that our own tool has printed. */
function lookOf(line: string): Look {
  const { runs, ...told } = JSON.parse(line) as Omit<Look, 'runs'> & { readonly runs: Row[] };
  return {
    ...told,
    runs: runs.map(([subscriber, sender, first, last, first_ns, last_ns, gap_ns]) => ({
      ...{ subscriber, sender, first, last, first_ns, last_ns, gap_ns },
    })),
  };
}
