/**
 * `fantail fleet demo`: an etcd, a group of three members and nine subscribers on a virtual bridge,
 * and a live view of who serves whom, while keys kill members and take etcd away.
 *
 * Opens in order: scene, etcd, members, feed and subscribers; shows one view a second until Ctrl-C,
 * a signal or --seconds; closes in reverse, whatever happened. Called by cli/.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf } from '../../domain/errors.js';
import type { Fleet, FleetStatus } from '../../domain/fleet.js';
import { monotonicMs } from '../../domain/process/clock.js';
import { Closers } from '../../domain/process/closers.js';
import { together } from '../../domain/process/together.js';
import { lastLook } from '../last-look.js';
import { Screen } from '../screen.js';
import { Signals } from '../signals.js';
import { KeyPresses } from './keys.js';
import type { CrowdTell } from './messages.js';
import { Crowd, EtcdProcess, freePort, MemberProcess } from './processes.js';
import { FEED, type FleetScene, openFleetScene } from './scene.js';
import { FLEET_SHEET, type FleetView, type MemberView } from './table.js';

/** Flags of `fantail fleet demo`; cli/ has checked each. */
export interface FleetDemoFlags {
  readonly rate: number;
  /** Undefined: until somebody ends it. */
  readonly seconds?: number;
  readonly json?: boolean;
}

const VIEW_MS = 1000;
/** Of etcd, which may be away. */
const STATUS_MS_MAX = 800;
const SERVED_MS_MAX = 30_000;
const POLL_MS = 100;

interface Running {
  readonly flags: FleetDemoFlags;
  readonly scene: FleetScene;
  readonly screen: Screen<FleetView>;
  readonly etcd: EtcdProcess;
  readonly group: Fleet;
  readonly members: readonly MemberProcess[];
  readonly crowd: Crowd;
  readonly beganMs: number;
}

type Look = Extract<CrowdTell, { tell: 'look' }>;

/** What a view needs of the one before it. */
interface Before {
  readonly atMs: number;
  readonly sent: number;
  readonly received: readonly number[];
}

async function statusOf({ etcd, group }: Running): Promise<FleetStatus | null> {
  if (!etcd.isRunning) return null;
  const late = sleep(STATUS_MS_MAX, null, { ref: false });
  return await Promise.race([group.status().catch(() => null), late]);
}

function memberView(member: MemberProcess, status: FleetStatus | null): MemberView {
  const { name } = member.place;
  const row = status?.members.find((each) => each.member === name);
  const isThere = row !== undefined || status === null;
  const running = row?.is_draining ? 'draining' : isThere ? 'serving' : 'starting';
  const shards = status === null ? null : (row?.shards ?? 0);
  return { name, state: member.isRunning ? running : 'dead', control: member.control, shards };
}

async function viewOf(
  running: Running,
  look: Look,
  before: Before,
  isFinal: boolean,
): Promise<FleetView> {
  const { scene, etcd, members, beganMs } = running;
  const status = await statusOf(running);
  const seconds = Math.max((look.atMs - before.atMs) / 1000, 0.001);
  return {
    seconds: Math.round((look.atMs - beganMs) / 1000),
    isFinal,
    fleet: etcd.fleet,
    isEtcdThere: etcd.isRunning,
    feed: { rate: (look.sent - before.sent) / seconds, sent: look.sent, refused: look.refused },
    members: members.map((member) => memberView(member, status)),
    names: new Map(members.map(({ place }) => [place.ip, place.name])),
    subscribers: look.subscribers.map((row, index) => ({
      ...(scene.subscribers[index] ?? FEED), // as many as it was given
      ...row,
      rate: (row.received - (before.received[index] ?? 0)) / seconds,
    })),
  };
}

/** One view a second until the demo is to end, then a last one with everything in it. */
async function watch(running: Running, ending: Promise<void>): Promise<void> {
  const { flags, screen, crowd, beganMs } = running;
  const seconds = flags.seconds ?? Number.POSITIVE_INFINITY;
  let before: Before = { atMs: beganMs, sent: 0, received: [] };
  let isEnding = false;
  const noteEnd = ending.then(() => {
    isEnding = true;
  });
  for (let turn = 1; turn <= seconds && !isEnding; turn++) {
    const untilMs = beganMs + turn * VIEW_MS - monotonicMs();
    await Promise.race([sleep(Math.max(untilMs, 0), null, { ref: false }), noteEnd]);
    if (isEnding || turn === seconds) break;
    const look = await crowd.look();
    if (look === null) continue;
    screen.show(await viewOf(running, look, before, false));
    const received = look.subscribers.map((row) => row.received);
    before = { atMs: look.atMs, sent: look.sent, received };
  }
  crowd.stop();
  const last = await lastLook(
    () => crowd.look(),
    (look) => look?.subscribers.map(({ received }) => received),
    (look) => look?.subscribers.every(({ missed }) => missed === 0) ?? false,
  );
  if (last === null) throw new Failure('feed and subscribers of the demo do not answer');
  screen.show(await viewOf(running, last, before, true));
}

/** What a key does; each has ended before the next begins. */
class Keys {
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly running: Running) {}

  press(key: string): void {
    this.queue = this.queue
      .then(() => this.act(key))
      .catch((error) => this.running.screen.note(messageOf(error)));
  }

  private async act(key: string): Promise<void> {
    const { etcd, members, group, screen } = this.running;
    const number = '0123456789'.indexOf(key);
    if (number === 0) {
      screen.note(etcd.isRunning ? 'etcd is taken away' : 'etcd is brought back');
      await (etcd.isRunning ? etcd.stop() : etcd.start());
      return;
    }
    const member = members[(number - 1) % members.length];
    if (number < 0 || number > 2 * members.length || member === undefined) return;
    const { name } = member.place;
    if (number > members.length) {
      screen.note(`${name} is told to drain`);
      await group.drain(name);
    } else if (member.isRunning) {
      screen.note(`${name} is killed (-9), all of it`);
      await member.kill();
    } else {
      screen.note(`${name} is started`);
      await member.start();
    }
  }
}

/** Subscribes all, and waits until each is served. */
async function subscribe(running: Running): Promise<void> {
  const { scene, group } = running;
  for (const endpoint of scene.subscribers) await group.add(endpoint, {});
  const deadline = monotonicMs() + SERVED_MS_MAX;
  for (let isServed = false; !isServed; ) {
    const { free_shards, moving } = await group.status();
    isServed = free_shards === 0 && moving === 0;
    if (!isServed && monotonicMs() > deadline)
      throw new Failure(`the group does not serve all within ${SERVED_MS_MAX / 1000} s`);
    await sleep(POLL_MS);
  }
}

/** Opens everything in order; what was opened is in `opened` even if the next thing fails. */
async function open(
  flags: FleetDemoFlags,
  opened: Closers,
  openGroup: OpenGroup,
): Promise<Running> {
  const screen = new Screen(process.stdout, flags.json === true, FLEET_SHEET);
  const etcd = opened.keep(await EtcdProcess.open());
  process.once('exit', () => etcd.closeNow());
  const scene = opened.keep(openFleetScene());
  process.once('exit', () => scene.close());
  const members: MemberProcess[] = [];
  for (const place of scene.members) {
    const note = (line: string) => screen.note(line);
    members.push(new MemberProcess(place, await freePort(), etcd.fleet, note));
  }
  opened.add(async () => {
    await together(members.map((member) => member.close()));
  });
  process.once('exit', () => {
    for (const member of members) member.closeNow();
  });
  await together(members.map((member) => member.start()));
  const { feedIp: sourceIp, subscribers } = scene;
  const options = { feed: FEED, sourceIp, rate: flags.rate, subscribers };
  const crowd = opened.keep(await Crowd.start(scene.hub, options));
  const { group } = opened.keep(openGroup(etcd.fleet));
  return { flags, scene, screen, etcd, group, members, crowd, beganMs: monotonicMs() };
}

/** Opens a group by what `--fleet` takes. */
export type OpenGroup = (fleet: string) => { readonly group: Fleet; close(): void };

/** Runs the demo until it is ended; throws Failure. */
export async function fleetDemo(flags: FleetDemoFlags, openGroup: OpenGroup): Promise<void> {
  if (process.geteuid?.() !== 0)
    throw new Failure('the demo of a group makes network namespaces, which needs root');
  const faults: unknown[] = [];
  const opened = new Closers((error) => faults.push(error));
  const signals = opened.keep(new Signals());
  try {
    const running = await open(flags, opened, openGroup);
    await subscribe(running);
    const keys = new Keys(running);
    opened.keep(new KeyPresses((key) => keys.press(key), signals.interrupt));
    running.crowd.begin();
    await watch({ ...running, beganMs: monotonicMs() }, signals.signalled);
  } catch (thrown) {
    if (thrown instanceof Failure) throw thrown;
    throw new Failure(`the demo could not run: ${messageOf(thrown)}`);
  } finally {
    await opened.close();
  }
  if (faults.length > 0) throw faults[0];
}
