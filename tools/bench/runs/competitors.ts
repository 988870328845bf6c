/**
 * Everything that can be measured, and how each is started: on the same link, on the same core, for
 * the same subscribers.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Client, connect } from '../../../src/control/client.js';
import type { Stats, SubscriberRow } from '../../../src/domain/statistics.js';
import type { Collected, Engine } from './engine.js';
import { atEnd, ROOT, Running, sleep } from './process.js';
import {
  built,
  FEED_PORT,
  REPLICATOR_IP,
  SUBSCRIBER_PORT,
  subscriberIp,
  type World,
} from './world.js';

const LIVE_MS = 20_000;
const TRANSMIT_MS = 60_000;
/** Below the control channel's limit of requests a second. */
const ADDS_A_SECOND = 1800;

export interface Setup {
  readonly world: World;
  readonly subscribers: number;
  readonly size: number;
  /** Absent: fantail spins, as for latency and fan-out. */
  readonly mayIdle?: boolean;
  readonly workers?: number;
  /** So many different modules, the subscribers dealt out to them; absent: all on the built-in. */
  readonly filters?: number;
}

/** One that runs and is ready for packets. */
export interface Contender {
  readonly command: string;
  readonly mode: string;
  /** Where fantail takes orders, and the process that does; null for the others. */
  readonly control: string | null;
  readonly supervisor: number | null;
  /** All its processes. */
  pids(): number[];
  /** fantail's counters; null for the others. */
  stats(): Promise<Stats | null>;
  stop(): Promise<void>;
}

export interface Competitor {
  readonly name: string;
  readonly subscribersMax: number;
  /**
   * Makes its own packets instead of copying those of the source: only its output can be measured.
   */
  readonly transmits: boolean;
  start(setup: Setup): Promise<Contender>;
}

/** A free port of the loopback interface, free at least a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === 'object' && address !== null ? address.port : 0),
      );
    });
  });
}

// ---- fantail, driven by its command line and its control channel and nothing else ----

interface FantailOptions {
  readonly layout: 'inline' | 'split';
  readonly mode: 'copy' | 'socket';
  /** The rewrite in C++ in place of the WebAssembly filter: see native-filter.ts. */
  readonly nativeFilter?: boolean;
  readonly bulk?: boolean;
}

let fantails = 0;

function cpusOf({ world, workers = 1 }: Setup, layout: 'inline' | 'split'): string {
  const { source, others } = world.cores;
  // Two processes of split that must share a core hand it over; two workers need one each, if need
  // be the source's.
  const cores = workers > 1 ? [...others, source] : others;
  return cores.slice(0, layout === 'split' ? workers + 1 : workers).join();
}

async function startFantail(setup: Setup, options: FantailOptions): Promise<Contender> {
  const { world, mayIdle = false, workers = 1 } = setup;
  const control = `127.0.0.1:${await freePort()}`;
  const queues = Array.from({ length: workers }, (_, queue) => queue).join();
  const flags = [
    ...[
      '--netns',
      world.replicator,
      '--control',
      control,
      '--mode',
      options.mode,
      '--layout',
      options.layout,
    ],
    ...['--cpus', cpusOf(setup, options.layout), '--workers', String(workers), '--queues', queues],
    ...(mayIdle ? [] : ['--busy-poll']),
    ...(options.bulk ? ['--transmit', 'bulk'] : []),
  ];
  const marker = `FANTAIL_BENCH_RUN=${process.pid}x${fantails++}`;
  const [variable = '', value = ''] = marker.split('=');
  const preload = {
    NODE_OPTIONS: `--import=${join(ROOT, 'dist', 'tools', 'bench', 'specials', 'native-filter.js')}`,
  };
  const environment = { [variable]: value, ...(options.nativeFilter ? preload : {}) };
  const main = join(ROOT, 'build', 'programs', 'main.js');
  const running = new Running(
    process.execPath,
    [main, 'up', 'rep0', REPLICATOR_IP, String(FEED_PORT), ...flags],
    { environment },
  );
  // Its data path outlives its supervisor on purpose, so the supervisor's end is not enough.
  const endAll = atEnd(() => {
    for (const pid of markedProcesses(marker)) process.kill(pid, 'SIGKILL');
  });
  const end = async () => {
    await running.stop();
    endAll();
  };
  try {
    await running.until('ready');
    return await prepared(setup, { ...options, control, running, end, marker });
  } catch (error) {
    await end(); // or it would be in the way of all that come after it
    throw error;
  }
}

interface Started extends FantailOptions {
  readonly control: string;
  readonly running: Running;
  readonly marker: string;
  readonly end: () => Promise<void>;
}

/** With its subscribers and filters. */
async function prepared(setup: Setup, started: Started): Promise<Contender> {
  const { control, running, marker, end, nativeFilter } = started;
  const client = await connect({ control: `ws://${control}` });
  await subscribe(client, setup.subscribers);
  if (setup.filters !== undefined) await dealFilters(client, setup.subscribers, setup.filters);
  // the server's own type
  const stats = async () => (await ask(client, { op: 'stats' })) as unknown as Stats;
  const { mode } = await stats();
  return {
    command: nativeFilter
      ? `NODE_OPTIONS=--import=dist/tools/bench/specials/native-filter.js ${running.command}`
      : running.command,
    mode,
    control: `ws://${control}`,
    supervisor: running.pid,
    pids: () => markedProcesses(marker),
    stats,
    stop: async () => {
      client.close();
      await end();
    },
  };
}

async function ask(
  client: Client,
  request: Parameters<Client['ask']>[0],
): Promise<Record<string, unknown>> {
  const { body } = await client.ask(request);
  if (!body.ok)
    throw new Error(`${JSON.stringify(request)}: ${body.error.code} ${body.error.message}`);
  return { ...body };
}

/** BUSY: a worker is slow to follow, and what was asked is done as soon as it does. */
async function change(client: Client, request: Parameters<Client['ask']>[0]): Promise<void> {
  const { text, body } = await client.ask(request);
  if (!body.ok && body.error.code !== 'BUSY') throw new Error(text);
}

/** Adds them all, in order, and waits until each is sent to directly. */
async function subscribe(client: Client, count: number): Promise<void> {
  const start = Date.now();
  const answers: Promise<unknown>[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 100 === 99) await sleep(Math.max(0, (i / ADDS_A_SECOND) * 1000 - (Date.now() - start)));
    answers.push(change(client, { op: 'add', ip: subscriberIp(i), port: SUBSCRIBER_PORT }));
  }
  await Promise.all(answers);
  for (const deadline = Date.now() + LIVE_MS; ; await sleep(10)) {
    // the server's own type
    const rows = (await ask(client, { op: 'list' })).subscribers as SubscriberRow[];
    if (rows.filter(({ state }) => state === 'live').length === count) return;
    if (Date.now() > deadline)
      throw new Error(`${count} subscribers are not live within ${LIVE_MS} ms`);
  }
}

/** Copies of the built-in filter, each a module of its own with a memory of its own. */
async function dealFilters(client: Client, subscribers: number, filters: number): Promise<void> {
  const module = readFileSync(join(ROOT, 'build', 'filters', 'rewrite.wasm')).toString('base64');
  for (let i = 0; i < filters; i++)
    await ask(client, { op: 'filter.load', name: `copy-${i}`, module });
  for (let i = 0; i < subscribers; i++) {
    const to = { ip: subscriberIp(i), port: SUBSCRIBER_PORT };
    await change(client, { op: 'filter.use', name: `copy-${i % filters}`, ...to });
  }
}

/**
 * Processes that carry the mark in their environment: all that one `fantail up` has started, and
 * itself.
 */
function markedProcesses(marker: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(marker);
      } catch {
        return false; // it has ended, or is not ours to read
      }
    })
    .map(Number);
}

// ---- Peers ----

async function startPeer(setup: Setup, name: string, more: readonly string[]): Promise<Contender> {
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
  return peer(running, name === 'bounce' ? 'copy' : name === 'clone' ? 'tc' : 'socket');
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
  fantail('fantail inline bulk', { layout: 'inline', mode: 'copy', bulk: true }),
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
