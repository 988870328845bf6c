/**
 * `fantail demo`: a feed, a replicator and three subscribers on a virtual link, and a live view of
 * what arrives.
 *
 * Opens in order: scene (namespaces and link), listeners and feed at the far end, replicator,
 * control channel; shows one view a second until Ctrl-C, a signal or --seconds; closes in reverse,
 * whatever happened. The scene is closed once more, synchronously, as the process exits. Called by
 * cli/.
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Fantail } from '../api/fantail.js';
import { CONTROL_PORT } from '../control/constants.js';
import type { Endpoint } from '../domain/endpoint.js';
import { Failure, messageOf } from '../domain/errors.js';
import { monotonicMs } from '../domain/process/clock.js';
import { Closers } from '../domain/process/closers.js';
import type { Mode, Stats } from '../domain/statistics.js';
import { Feed, Listener, ReplicatorProcess } from './helpers.js';
import type { FeedReport, Snapshot } from './messages.js';
import { openScene, type Scene } from './scene.js';
import { Screen, type SubscriberView, type View } from './table.js';

/** Flags of `fantail demo`; cli/ has checked each. */
export interface DemoFlags {
  readonly layout: 'auto' | 'inline' | 'split';
  /** Undefined: what the scene allows. */
  readonly mode?: 'auto' | Mode;
  readonly rate: number;
  /** Undefined: until somebody ends it. */
  readonly seconds?: number;
  readonly json?: boolean;
}

const CONTROL_PORTS_TRIED_MAX = 100;
const STARTS_MAX = 5;
/** Listeners that the demo subscribes by itself; the one after them is left to the user. */
const SUBSCRIBED_COUNT = 3;
const VIEW_MS = 1000;
/** A packet that was sent this long ago should have arrived: views count up to there. */
const SETTLE_MS = 200;
const NEIGHBOURS_MS_MAX = 2000;

function isFreePort(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** The first TCP port of the loopback that is free, from the default control port on. */
async function freeControlPort(): Promise<number> {
  for (let port = CONTROL_PORT; port < CONTROL_PORT + CONTROL_PORTS_TRIED_MAX; port++)
    if (await isFreePort(port)) return port;
  throw new Failure(
    `no TCP port from ${CONTROL_PORT} on is free on 127.0.0.1; end what holds them`,
  );
}

/** Why the demo ends: by wish (null) or with a sentence. */
type Ending = { readonly failure: string | null };

interface Running {
  readonly flags: DemoFlags;
  readonly scene: Scene;
  readonly screen: Screen;
  readonly control: string;
  readonly fantail: Fantail;
  readonly listeners: readonly Listener[];
  readonly feed: Feed;
  readonly beganMs: number;
}

/** What a view needs of the one before it. */
interface Before {
  readonly atMs: number;
  readonly sent: number;
  readonly received: readonly number[];
}

async function subscribe(fantail: Fantail, listeners: readonly Listener[]): Promise<void> {
  for (const { endpoint } of listeners) await fantail.add(endpoint);
  // The feed begins when the MAC address of each is known, so that none owes its first packets to
  // the kernel's help.
  const deadline = performance.now() + NEIGHBOURS_MS_MAX;
  while (performance.now() < deadline) {
    const subscribers = await fantail.list();
    if (subscribers.every((row) => row.state === 'live')) return;
    await sleep(50);
  }
}

/** The replicator's account; null if it does not answer, which the view says. */
async function askStats(fantail: Fantail): Promise<Stats | null> {
  const late = sleep(VIEW_MS, null, { ref: false });
  return await Promise.race([fantail.stats().catch(() => null), late]);
}

function subscriberState(
  { ip, port }: Endpoint,
  stats: Stats | null,
  account: Snapshot | null,
): SubscriberView['state'] {
  if (account === null) return 'silent';
  const isServed = stats?.subscribers.some((row) => row.ip === ip && row.port === port) ?? true;
  if (account.received === 0) return 'waiting';
  return isServed ? 'receiving' : 'removed';
}

/** Collects one view: everybody is asked about the packets up to the same one. */
async function look(
  running: Running,
  report: FeedReport,
  before: Before,
  isFinal: boolean,
): Promise<View> {
  const { listeners, scene, control, fantail } = running;
  const [stats, ...accounts] = await Promise.all([
    askStats(fantail),
    ...listeners.map((listener) => listener.snapshot(report.sent - 1)),
  ]);
  const seconds = Math.max((report.atMs - before.atMs) / 1000, 0.001);
  const subscribers = listeners.map((listener, index): SubscriberView => {
    const account = accounts[index] ?? null;
    const state = subscriberState(listener.endpoint, stats, account);
    const rate = Math.max((account?.received ?? 0) - (before.received[index] ?? 0), 0) / seconds;
    // What passed while it was not subscribed is no loss: its account begins anew when it is added
    // again.
    if (state === 'removed' && rate === 0) listener.restart(null);
    return { ...listener.endpoint, state, rate, account };
  });
  const feed = {
    rate: (report.sent - before.sent) / seconds,
    sent: report.sent,
    refused: report.refused,
  };
  const elapsed = (monotonicMs() - running.beganMs) / 1000;
  return { seconds: Math.round(elapsed), isFinal, scene, control, stats, feed, subscribers };
}

/** The newest report that is old enough for its packets to have arrived. */
function settledReport(feed: Feed): FeedReport | undefined {
  const oldEnough = monotonicMs() - SETTLE_MS;
  return feed.reports.findLast((report) => report.atMs <= oldEnough);
}

/** One view a second until the demo is to end, then a last one with everything in it. */
async function watch(running: Running, ending: Promise<Ending>): Promise<void> {
  const { flags, feed, screen } = running;
  const seconds = flags.seconds ?? Number.POSITIVE_INFINITY;
  let before: Before = { atMs: running.beganMs, sent: 0, received: [] };
  let ended: Ending | null = null;
  const noteEnd = ending.then((why) => {
    ended = why;
  });
  for (let turn = 1; turn <= seconds; turn++) {
    const untilMs = running.beganMs + turn * VIEW_MS - monotonicMs();
    await Promise.race([sleep(Math.max(untilMs, 0), null, { ref: false }), noteEnd]);
    if (ended !== null || turn === seconds) break;
    const report = settledReport(feed);
    if (report === undefined || report.atMs <= before.atMs) continue;
    const view = await look(running, report, before, false);
    if (ended !== null) break;
    screen.show(view);
    const received = view.subscribers.map((row) => row.account?.received ?? 0);
    before = { atMs: report.atMs, sent: report.sent, received };
  }
  const why = ended as Ending | null; // assigned in a callback, which the compiler does not see
  if (why !== null && why.failure !== null) throw new Failure(why.failure);
  const last = await feed.stop();
  if (last === null) throw new Failure('the feed of the demo has ended; run the demo again');
  await sleep(SETTLE_MS);
  screen.show(await look(running, last, before, true));
}

/** All of them, or the first failure once none is under way any more. */
async function whole<Thing>(things: readonly Promise<Thing>[]): Promise<Thing[]> {
  await Promise.allSettled(things);
  return await Promise.all(things);
}

/**
 * Resolves at the first signal; later ones are part of the same wish (npm and the terminal both
 * send them).
 */
function onSignal(): { readonly signalled: Promise<Ending>; close(): void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  let handle: () => void = () => undefined;
  const signalled = new Promise<Ending>((resolve) => {
    handle = () => resolve({ failure: null });
  });
  for (const signal of signals) process.on(signal, handle);
  const close = () => {
    for (const signal of signals) process.off(signal, handle);
  };
  return { signalled, close };
}

/**
 * Starts it on the first free control port; another demo may take that first, and then the next one
 * is tried.
 */
async function startReplicator(
  flags: DemoFlags,
  scene: Scene,
  screen: Screen,
): Promise<ReplicatorProcess> {
  const { mode, layout } = flags;
  const onLine = (line: string) => screen.note(`replicator: ${line}`);
  for (let tries = 1; ; tries++) {
    const controlPort = await freeControlPort();
    try {
      return await ReplicatorProcess.start({ scene, controlPort, mode, layout, onLine });
    } catch (thrown) {
      if (tries === STARTS_MAX || (await isFreePort(controlPort))) throw thrown;
    }
  }
}

/** Opens everything in order; what was opened is in `opened` even if the next thing fails. */
async function open(
  flags: DemoFlags,
  opened: Closers,
  ending: Promise<Ending>[],
): Promise<Running | null> {
  const screen = new Screen(process.stdout, flags.json === true);
  const scene = opened.keep(await openScene());
  process.once('exit', () => scene.close());
  if (scene.kind === 'loopback') {
    screen.note(
      `no virtual link (${scene.reason}): showing socket mode over loopback; AF_XDP needs root`,
    );
  }
  const starting = [
    startReplicator(flags, scene, screen).then((replicator) => opened.keep(replicator)),
    Feed.start(scene, flags.rate).then((feed) => opened.keep(feed)),
    whole(scene.listeners.map((at) => Listener.start(scene, at).then((one) => opened.keep(one)))),
  ] as const;
  // Nothing is closed before all have settled, or a late one would stay open; hence also a signal
  // waits here.
  const settled = Promise.allSettled(starting);
  const isEarly = await Promise.race([
    Promise.race(ending).then(() => true),
    settled.then(() => false),
  ]);
  await settled;
  const [replicator, feed, listeners] = await Promise.all(starting);
  if (isEarly) return null;
  process.once('exit', () => replicator.closeNow());
  ending.push(
    replicator.ended.then((how) => ({ failure: `the replicator ended by itself (${how})` })),
  );
  const control = `ws://127.0.0.1:${replicator.controlPort}`;
  const fantail = opened.keep(await connect({ control }));
  const subscribed = listeners.slice(0, SUBSCRIBED_COUNT);
  await subscribe(fantail, subscribed);
  for (const listener of subscribed) listener.restart(0);
  feed.begin();
  return { flags, scene, screen, control, fantail, listeners, feed, beganMs: monotonicMs() };
}

/** Runs the demo until it is ended; throws Failure. */
export async function demo(flags: DemoFlags): Promise<void> {
  const faults: unknown[] = [];
  const opened = new Closers((error) => faults.push(error));
  const signals = opened.keep(onSignal());
  const ending = [signals.signalled];
  try {
    const running = await open(flags, opened, ending);
    if (running !== null) await watch(running, Promise.race(ending));
  } catch (thrown) {
    if (thrown instanceof Failure) throw thrown;
    throw new Failure(`the demo could not run: ${messageOf(thrown)}`);
  } finally {
    await opened.close();
  }
  if (faults.length > 0) throw faults[0];
}
