/** fantail as a contender: driven by its command line and its control channel and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Client, connectClient } from '../../../src/control/client.js';
import type { Stats, SubscriberRow } from '../../../src/domain/statistics.js';
import type { Contender, Setup } from './contender.js';
import { atEnd, ROOT, Running, sleep } from './process.js';
import {
  FEED_PORT,
  feedPort,
  REPLICATOR_IP,
  SUBSCRIBER_PORT,
  subscriberIp,
  UNMEASURED_PORT,
} from './world.js';

const LIVE_MS = 20_000;
/** Below the control channel's limit of requests a second. */
const ADDS_A_SECOND = 1800;

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

export interface FantailOptions {
  readonly layout: 'inline' | 'split';
  readonly mode: 'copy' | 'socket';
  /** The rewrite in C++ in place of the WebAssembly filter: see native-filter.ts. */
  readonly nativeFilter?: boolean;
  /** Absent: the ring. */
  readonly transmit?: 'bulk' | 'auto';
}

let fantails = 0;

/** Feeds beside the first, from 1. */
const otherFeeds = ({ feeds = 1 }: Setup) => Array.from({ length: feeds - 1 }, (_, i) => i + 1);
const feedName = (feed: number) => `feed-${feed}`;

function cpusOf({ world, workers = 1 }: Setup, layout: 'inline' | 'split'): string {
  const { source, others } = world.cores;
  // Two processes of split that must share a core hand it over; two workers need one each, if need
  // be the source's.
  const cores = workers > 1 ? [...others, source] : others;
  return cores.slice(0, layout === 'split' ? workers + 1 : workers).join();
}

export async function startFantail(setup: Setup, options: FantailOptions): Promise<Contender> {
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
    ...(options.transmit === undefined ? [] : ['--transmit', options.transmit]),
    ...otherFeeds(setup).flatMap((feed) => [
      '--feed',
      `${feedName(feed)}=${REPLICATOR_IP}:${feedPort(feed)}`,
    ]),
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
  const client = await connectClient({ control: `ws://${control}` });
  await subscribe(client, setup);
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

/** The request that adds subscriber `index`, those of the first feed first. */
function addition(index: number, { subscribers }: Setup): Parameters<Client['ask']>[0] {
  const feed = Math.floor(index / subscribers);
  const ip = subscriberIp(index);
  return feed === 0
    ? { op: 'add', ip, port: SUBSCRIBER_PORT }
    : { op: 'add', ip, port: UNMEASURED_PORT, feeds: [feedName(feed)] };
}

/** Adds them all, in order, and waits until each is sent to directly. */
async function subscribe(client: Client, setup: Setup): Promise<void> {
  const count = setup.subscribers * (setup.feeds ?? 1);
  const start = Date.now();
  const answers: Promise<unknown>[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 100 === 99) await sleep(Math.max(0, (i / ADDS_A_SECOND) * 1000 - (Date.now() - start)));
    answers.push(change(client, addition(i, setup)));
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
