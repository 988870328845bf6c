/**
 * Everything that can be measured, and how each is started: on the same link, on the same core, for
 * the same subscribers.
 */
import { join } from 'node:path';
import type { Competitor, Contender, Setup } from './contender.js';
import type { Collected, Engine } from './engine.js';
import { type FantailOptions, startFantail } from './fantail.js';
import { ROOT, Running } from './process.js';
import { built, FEED_PORT, REPLICATOR_IP, SUBSCRIBER_PORT, subscriberIp } from './world.js';

const TRANSMIT_MS = 60_000;

// ---- Peers ----

/** Programs of peers/, and how each is fed. */
const MODES = { bounce: 'copy', bulk: 'copy', clone: 'tc', relay: 'socket' };

async function startPeer(
  setup: Setup,
  name: keyof typeof MODES,
  more: readonly string[],
): Promise<Contender> {
  const { world, subscribers, size } = setup;
  const running = new Running(
    built(name),
    [
      ...['--interface', 'rep0', '--source-mac', world.replicatorMac, '--target-mac', world.netMac],
      ...['--subscribers', String(subscribers), '--size', String(size)],
      ...['--cpu', String(world.cores.others[0] ?? 0), ...more],
    ],
    { namespace: world.replicator },
  );
  await running.until('ready');
  return peer(running, MODES[name]);
}

function peer(running: Running, mode: string): Contender {
  return {
    command: running.command,
    mode,
    control: null,
    supervisor: null,
    pids: () => [running.pid],
    stats: () => Promise.resolve(null),
    stop: () => running.stop(),
  };
}

async function startDgram({ world, subscribers }: Setup): Promise<Contender> {
  const program = join(ROOT, 'dist', 'tools', 'bench', 'peers', 'dgram.js');
  const addresses = Array.from({ length: subscribers }, (_, i) => subscriberIp(i));
  const words = [
    process.execPath,
    program,
    REPLICATOR_IP,
    FEED_PORT,
    SUBSCRIBER_PORT,
    ...addresses,
  ];
  const cpu = String(world.cores.others[0] ?? 0);
  const running = new Running('taskset', ['-c', cpu, ...words.map(String)], {
    namespace: world.replicator,
  });
  await running.until('ready');
  return peer(running, 'socket');
}

export interface Transmitted {
  /** Copies. */
  readonly sent: number;
  readonly seconds: number;
}

/** The default of peers/afxdp.hpp; a packet to all subscribers must fit. */
const TRANSMIT_RING = 256;

export interface TransmitOptions {
  /** Packets, each to every subscriber. */
  readonly count: number;
  readonly seed: number;
  /** Of peers/afxdp.hpp. */
  readonly flags?: readonly string[];
}

/** Runs raw transmit to its end, as run `run` of the sink. */
export async function transmit(
  { world, subscribers, size }: Setup,
  { run, count, seed, flags = [] }: TransmitOptions & { readonly run: number },
): Promise<Transmitted & { command: string }> {
  const running = new Running(
    built('transmit'),
    [
      ...['--interface', 'rep0', '--source-mac', world.replicatorMac, '--target-mac', world.netMac],
      ...['--subscribers', String(subscribers), '--size', String(size), '--seed', String(seed)],
      ...[
        '--cpu',
        String(world.cores.others[0] ?? 0),
        '--run',
        String(run),
        '--count',
        String(count),
      ],
      ...(subscribers > TRANSMIT_RING
        ? ['--tx-ring', String(2 ** Math.ceil(Math.log2(subscribers)))]
        : []),
      ...flags,
    ],
    { namespace: world.replicator },
  );
  await running.until('ready');
  // printed by our own program
  const result = JSON.parse(await running.next(TRANSMIT_MS)) as Transmitted;
  await running.stop();
  return { ...result, command: running.command };
}

/** The same, and what the sink saw of it. */
export async function transmitFor(
  engine: Engine,
  setup: Setup,
  options: TransmitOptions,
): Promise<{ readonly seen: Collected; readonly output: number; readonly command: string }> {
  const run = await engine.begin(setup.subscribers, setup.size, setup.world.queues);
  const done = await transmit(setup, { ...options, run });
  const seen = await engine.collect({
    expect: options.count,
    quietMs: 60,
    limitMs: 1000,
    detail: false,
  });
  return { seen, output: done.sent / done.seconds, command: done.command };
}

/** `flags`: of peers/afxdp.hpp. */
export const startBounce = (setup: Setup, flags: readonly string[] = []) =>
  startPeer(setup, 'bounce', ['--object', built('redirect.bpf.o'), ...flags]);

const fantail = (name: string, options: FantailOptions): Competitor => ({
  name,
  subscribersMax: 1024,
  transmits: false,
  start: (setup) => startFantail(setup, options),
});

const PEER_SUBSCRIBERS_MAX = 64;

export const competitors = [
  fantail('fantail inline', { layout: 'inline', mode: 'copy' }),
  fantail('fantail split', { layout: 'split', mode: 'copy' }),
  fantail('fantail socket inline', { layout: 'inline', mode: 'socket' }),
  fantail('fantail socket split', { layout: 'split', mode: 'socket' }),
  fantail('fantail inline bulk', { layout: 'inline', mode: 'copy', transmit: 'bulk' }),
  fantail('fantail inline auto', { layout: 'inline', mode: 'copy', transmit: 'auto' }),
  fantail('fantail C++ filter', { layout: 'inline', mode: 'copy', nativeFilter: true }),
  {
    name: 'raw AF_XDP bounce',
    subscribersMax: 1,
    transmits: false,
    start: (setup) => startBounce(setup),
  },
  {
    name: 'raw AF_XDP transmit',
    subscribersMax: 1024,
    transmits: true,
    start: () => Promise.reject(new Error('it is run by transmit()')),
  },
  {
    name: 'raw bulk relay',
    subscribersMax: 1024,
    transmits: false,
    start: (setup) => startPeer(setup, 'bulk', ['--object', built('bulk.bpf.o')]),
  },
  {
    name: 'tc clone',
    subscribersMax: PEER_SUBSCRIBERS_MAX,
    transmits: false,
    start: (setup) => startPeer(setup, 'clone', ['--object', built('clone.bpf.o')]),
  },
  {
    name: 'mmsg relay',
    subscribersMax: PEER_SUBSCRIBERS_MAX,
    transmits: false,
    start: (setup) => startPeer(setup, 'relay', []),
  },
  {
    name: 'node relay',
    subscribersMax: PEER_SUBSCRIBERS_MAX,
    transmits: false,
    start: startDgram,
  },
] as const satisfies readonly Competitor[];

export type CompetitorName = (typeof competitors)[number]['name'];

export function competitorOf(name: CompetitorName): Competitor {
  const found = competitors.find((each) => each.name === name);
  if (found === undefined) throw new Error(`there is no competitor ${name}`);
  return found;
}
