/**
 * `fantail demo`: a feed, a replicator and three subscribers on a virtual link, and a live view of
 * what arrives.
 *
 * Opens in order: scene (namespaces and link), listeners and feed at the far end, a replicator on
 * plain sockets for some seconds (comparison.ts), then the replicator itself; shows one view a
 * second until Ctrl-C, a signal or --seconds; closes in reverse, whatever happened. The scene is
 * closed once more, synchronously, as the process exits. Called by cli/.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fantail } from '../api/fantail.js';
import type { Endpoint } from '../domain/endpoint.js';
import { Failure, messageOf } from '../domain/errors.js';
import { monotonicMs } from '../domain/process/clock.js';
import { Closers } from '../domain/process/closers.js';
import { together } from '../domain/process/together.js';
import type { Mode, Stats } from '../domain/statistics.js';
import { COMPARED_MS, type Comparison, comparePlainSockets, notCompared } from './comparison.js';
import { type BusyPoll, CoreWaits, decideBusyPoll, lookAtCores } from './cores.js';
import { Feed, Listener } from './helpers.js';
import { lastLook } from './last-look.js';
import type { FeedReport, Snapshot } from './messages.js';
import { openScene, type Scene } from './scene.js';
import { Screen } from './screen.js';
import { Serving, type ServingOptions, SUBSCRIBED_COUNT } from './serving.js';
import { Signals } from './signals.js';
import { SHEET, type SubscriberView, type View } from './table.js';

/** Flags of `fantail demo`; cli/ has checked each. */
export interface DemoFlags {
  readonly layout: 'auto' | 'inline' | 'split';
  /** Undefined: what the scene allows. */
  readonly mode?: 'auto' | Mode;
  /** Undefined: where cores are free. */
  readonly busyPoll?: boolean;
  /** Whether plain sockets are measured first. */
  readonly compare: boolean;
  readonly rate: number;
  /** Undefined: until somebody ends it. */
  readonly seconds?: number;
  readonly json?: boolean;
}

const VIEW_MS = 1000;
/** A packet that was sent this long ago should have arrived: views count up to there. */
const SETTLE_MS = 200;

/** Why the demo ends: by wish (null) or with a sentence. */
type Ending = { readonly failure: string | null };

interface Running {
  readonly flags: DemoFlags;
  readonly scene: Scene;
  readonly screen: Screen<View>;
  readonly serving: Serving;
  readonly busyPoll: BusyPoll;
  readonly comparison: Comparison;
  readonly waits: CoreWaits;
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
  const { listeners, scene, serving, busyPoll, comparison } = running;
  const { control } = serving;
  const [stats, ...accounts] = await Promise.all([
    askStats(serving.fantail),
    ...listeners.map((listener) => listener.snapshot(report.sent - 1)),
  ]);
  const seconds = Math.max((report.atMs - before.atMs) / 1000, 0.001);
  const subscribers = listeners.map((listener, index): SubscriberView => {
    const account = accounts[index] ?? null;
    const state = subscriberState(listener.endpoint, stats, account);
    const rate = Math.max((account?.received ?? 0) - (before.received[index] ?? 0), 0) / seconds;
    // What passed while it was not subscribed is no loss: its account begins anew when it is added
    // again.
    if (state === 'removed' && rate === 0) void listener.restart(null).catch(() => undefined);
    const sockets = comparison.latencies[index] ?? null;
    return { ...listener.endpoint, state, rate, account, sockets };
  });
  const feed = {
    rate: (report.sent - before.sent) / seconds,
    sent: report.sent,
    refused: report.refused,
  };
  const elapsed = (monotonicMs() - running.beganMs) / 1000;
  const coreWait = running.waits.look((stats?.workers ?? []).map(({ pid }) => pid));
  const how = { scene, control, busyPoll, comparison, coreWait };
  return { seconds: Math.round(elapsed), isFinal, ...how, stats, feed, subscribers };
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
  screen.show(await whenComplete(() => look(running, last, before, true)));
}

/** The last view, once each subscriber has all, or nothing more has come for a while. */
async function whenComplete(lookAgain: () => Promise<View>): Promise<View> {
  const receivedOf = ({ subscribers }: View) =>
    subscribers.slice(0, SUBSCRIBED_COUNT).map(({ account }) => account?.received ?? null);
  const isComplete = (view: View) => receivedOf(view).every((count) => count === view.feed.sent);
  return await lastLook(lookAgain, receivedOf, isComplete);
}

/** Why plain sockets are not compared with; null: they are. */
function lackOfComparison({ compare, mode }: DemoFlags, { kind }: Scene): string | null {
  if (!compare) return '--no-compare';
  return kind === 'loopback' || mode === 'socket' ? 'what is shown are plain sockets' : null;
}

async function compare(
  flags: DemoFlags,
  compared: Parameters<typeof comparePlainSockets>[0] & { readonly screen: Screen<View> },
): Promise<Comparison> {
  const lack = lackOfComparison(flags, compared.options.scene);
  if (lack !== null) return notCompared(lack);
  const { screen } = compared;
  screen.note(`first plain UDP sockets (--mode socket), for ${COMPARED_MS / 1000} s`);
  const comparison = await comparePlainSockets(compared);
  if (comparison.lack !== null) screen.note(`plain UDP sockets: ${comparison.lack}`);
  return comparison;
}

/** Feed and listeners; what was opened is in `opened` even if the next thing fails. */
async function openFarEnd(scene: Scene, rate: number, opened: Closers) {
  const starting = [
    Feed.start(scene, rate).then((feed) => opened.keep(feed)),
    together(
      scene.listeners.map((at) => Listener.start(scene, at).then((one) => opened.keep(one))),
    ),
  ] as const;
  // Nothing is closed before all have settled, or a late one would stay open.
  await Promise.allSettled(starting);
  const [feed, listeners] = await Promise.all(starting);
  return { feed, listeners };
}

/** Opens everything in order; null: it is to end before all is open. */
async function open(
  flags: DemoFlags,
  opened: Closers,
  signalled: Promise<void>,
): Promise<Running | null> {
  let isEarly = false;
  void signalled.then(() => {
    isEarly = true;
  });
  const isToEnd = () => isEarly; // assigned in a callback, which the compiler does not see
  const screen = new Screen(process.stdout, flags.json === true, SHEET);
  const busyPoll = decideBusyPoll(flags.busyPoll, flags.layout, await lookAtCores());
  const scene = opened.keep(await openScene());
  process.once('exit', () => scene.close());
  if (scene.kind === 'loopback') {
    screen.note(
      `no virtual link (${scene.reason}): showing socket mode over loopback; AF_XDP needs a link, and root to make one`,
    );
  }
  // Over loopback AF_XDP has nothing to offer, and without root it is not to be had.
  const options: ServingOptions = {
    scene,
    mode: flags.mode ?? (scene.kind === 'loopback' ? 'socket' : undefined),
    layout: flags.layout,
    busyPoll: busyPoll.isOn,
    onLine: (line) => screen.note(`replicator: ${line}`),
  };
  const { feed, listeners } = await openFarEnd(scene, flags.rate, opened);
  if (isToEnd()) return null;
  const comparison = await compare(flags, { options, feed, listeners, ending: signalled, screen });
  if (isToEnd()) return null;
  const serving = opened.keep(await Serving.start(options));
  await serving.subscribe(listeners);
  if (isToEnd()) return null;
  feed.begin();
  const how = { flags, scene, screen, busyPoll, comparison, waits: new CoreWaits() };
  return { ...how, serving, listeners, feed, beganMs: monotonicMs() };
}

/** Runs the demo until it is ended; throws Failure. */
export async function demo(flags: DemoFlags): Promise<void> {
  const faults: unknown[] = [];
  const opened = new Closers((error) => faults.push(error));
  const { signalled } = opened.keep(new Signals());
  try {
    const running = await open(flags, opened, signalled);
    if (running === null) return;
    const died = running.serving.ended.then((how) => ({
      failure: `the replicator ended by itself (${how})`,
    }));
    const wished = signalled.then(() => ({ failure: null }));
    await watch(running, Promise.race([wished, died]));
  } catch (thrown) {
    if (thrown instanceof Failure) throw thrown;
    throw new Failure(`the demo could not run: ${messageOf(thrown)}`);
  } finally {
    await opened.close();
  }
  if (faults.length > 0) throw faults[0];
}
