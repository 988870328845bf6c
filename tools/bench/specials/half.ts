/**
 * The transmitting half alone: a packet is stamped and sent, and the sink sees how long that took.
 * By a plain AF_XDP socket, by fantail's bulk transmit in calls, and by a pump, which has the core
 * that the source of a whole run would have.
 */
import type { Collected } from '../runs/engine.js';
import type { Field } from '../runs/measure.js';
import { Running } from '../runs/process.js';
import { SIZE, type Special } from '../runs/special.js';
import { built } from '../runs/world.js';

const WAYS = ['ring', 'calls', 'pump'] as const;
/** Copies of a packet, and packets a second. */
const LOADS = [
  { copies: 1, rate: 20_000 },
  { copies: 16, rate: 20_000 },
  { copies: 64, rate: 5000 },
] as const;
const PACKETS_MIN = 40;

interface Sending {
  readonly way: (typeof WAYS)[number];
  readonly copies: number;
  readonly rate: number;
  readonly ms: number;
}

async function send(
  { world, engine, seed }: Field,
  { way, copies, rate, ms }: Sending,
): Promise<{ readonly seen: Collected; readonly command: string }> {
  const count = Math.max(PACKETS_MIN, Math.ceil((rate * ms) / 1000));
  const run = await engine.begin(copies, SIZE, world.queues);
  const { source, others } = world.cores;
  const words = {
    interface: 'rep0',
    'source-mac': world.replicatorMac,
    'target-mac': world.netMac,
    subscribers: copies,
    size: SIZE,
    seed,
    cpu: others[0] ?? 0,
    by: way,
    'pump-cpu': source,
    run,
    count,
    rate,
  };
  const flags = Object.entries(words).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const running = new Running(built('half'), flags, { namespace: world.replicator });
  await running.until('ready');
  await running.next(10 * ms + 10_000);
  await running.stop();
  const seen = await engine.collect({ expect: count, quietMs: 60, limitMs: 1000, detail: false });
  return { seen, command: running.command };
}

export const half: Special = {
  id: 'transmitting half',
  title: 'stamp to sink, without reception: AF_XDP socket, bulk by calls, bulk by a pump',
  rounds: 5,
  async run(field, { windowMs }) {
    const values: Record<string, number> = {};
    let last = '';
    for (const { copies, rate } of LOADS)
      for (const way of WAYS) {
        const { seen, command } = await send(field, { way, copies, rate, ms: windowMs });
        const name = `${way}_${copies}`;
        values[`${name}_p50_us`] = (seen.latency_ns[0] ?? Number.NaN) / 1000;
        values[`${name}_p99_us`] = (seen.latency_ns[2] ?? Number.NaN) / 1000;
        if (copies > 1) values[`${name}_window_us`] = (seen.window_ns[0] ?? Number.NaN) / 1000;
        values[`${name}_lost`] = seen.lost + seen.duplicated + seen.reordered + seen.corrupt;
        last = command;
      }
    return { command: last, mode: 'copy', values };
  },
};
