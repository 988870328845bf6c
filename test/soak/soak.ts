/**
 * Two feeds, and a seeded script that kills -9 whatever runs, or does what else happens to a
 * replicator in its life. What is asked is that every copy ends under one name, and of kills alone
 * that none is lost, none is sent twice, and none reaches who did not choose its feed.
 */
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import { differences } from '../../src/replicator/conservation.js';
import { load, stock } from '../filters/loading.js';
import { received } from '../rig/channel.js';
import { sleep } from '../rig/program.js';
import { Replicator, residueOf } from '../rig/replicator.js';
import { assertReceived, subscribersOf, type Transferred } from '../rig/scenario.js';
import { replicatedRoute } from '../rig/wire.js';
import type { Ledger } from './ledger.js';
import { SECOND, type Sent, Traffic } from './traffic.js';
import { OTHER_MAC, PAUSE_MS_MAX, type SoakOptions, startOptions, World } from './world.js';

export interface Soaked {
  readonly ledger: Ledger;
  /** Of both feeds. */
  readonly transferred: Transferred;
  readonly sent: readonly Sent[];
  readonly last: Stats;
  /** The one that runs now; the caller ends it. */
  readonly replicator: Replicator;
  /** Every supervisor that there was. */
  readonly all: readonly Replicator[];
  readonly adopters: World['adopters'];
}

const PROGRESS_MS = 500;

/** How much of so many seconds is over, which end then. */
const shareOf = (end: number, seconds: number) => 1 - (end - Date.now()) / 1000 / seconds;

/** Of the subscribers every other one takes both feeds, the rest main alone. */
const takesBoth = (index: number) => index % 2 === 1;

export async function soak(options: SoakOptions): Promise<Soaked> {
  const { link, rate, random, seconds } = options;
  const world = new World(options, await Replicator.start(startOptions(options)));
  const subscribers = subscribersOf(options.subscribers);
  if (options.events) await load(world.replicator, 'marked', stock('dscp-ttl'));
  await world.replicator.subscribe(subscribers);
  for (const { ip, port } of subscribers.filter((_, index) => takesBoth(index)))
    await world.replicator.change({ op: 'add', ip, port, feeds: ['main', SECOND.name] });
  const before = await world.replicator.stats();
  // a MAC that changes is followed: copies may come from either
  const sourceMacs = [link.replicatorMac, ...(options.events ? [OTHER_MAC] : [])];
  const traffic = await Traffic.start({
    route: { ...replicatedRoute(link), sourceMacs },
    subscribers,
    extras: options.events ? world.comers : [],
    rate,
    seconds,
  });
  const end = Date.now() + seconds * 1000;
  let told = Date.now();
  try {
    while (Date.now() < end && world.ledger.kills.length < options.kills) {
      await sleep(random.below(PAUSE_MS_MAX));
      await world.next();
      if (Date.now() - told < PROGRESS_MS) continue;
      told = Date.now();
      const { kills } = world.ledger;
      const inside = world.ledger.insideOf('commit') + world.ledger.insideOf('call');
      const note = `${kills.length} kills, ${inside} in a commit or call`;
      options.onProgress?.(Math.max(shareOf(end, seconds), kills.length / options.kills), note);
    }
    await world.bothStandBy();
    const sent = await traffic.end();
    const total = sent.reduce((sum, { all }) => sum + all, 0);
    const { last } = await world.replicator.settled(
      (now) => received(now) >= received(before) + total,
    );
    const sunk = await traffic.seen();
    return {
      ledger: world.ledger,
      // what the killed have used would pass for others' use of the machine
      transferred: { ...sunk, sent: total, before, isLoud: false },
      sent,
      last,
      replicator: world.replicator,
      all: world.all,
      adopters: world.adopters,
    };
  } catch (error) {
    if (error instanceof Error)
      error.message += world.all.map((each) => `\n--- ${each.told()}`).join('');
    for (const each of world.all) each.close();
    traffic.close();
    throw error;
  }
}

/**
 * Every copy ended under one name, none was sent twice or wrong, and of kills alone none was lost;
 * then ends it, and demands that nothing is left of any of its supervisors.
 */
export async function assertWell(soaked: Soaked): Promise<void> {
  const { ledger, transferred, sent, last, replicator, all, adopters } = soaked;
  const text = ledger.text({ sent: transferred.sent, sunk: transferred, last });
  assert.equal(differences(transferred.before, last), [], text);
  for (const { duplicated, corrupt, bad_header } of transferred.subscribers)
    assert.equal([duplicated, corrupt, bad_header], [0, 0, 0], text);
  if (ledger.events.size === 0) {
    const [main] = sent;
    const rows = (both: boolean) =>
      transferred.subscribers.filter((_, index) => takesBoth(index) === both);
    await assertReceived(replicator, transferred, rows(true));
    await assertReceived(replicator, { ...transferred, sent: main?.all ?? 0 }, rows(false));
    const slow = last.feeds.map(({ slow_path }) => slow_path);
    assert.equal(
      slow,
      sent.map((each) => each.slow),
      text,
    );
  }
  assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
  for (const each of all) assert.equal(await each.residue(), []);
  for (const { program, marker } of adopters)
    assert.equal(residueOf(replicator.link, program, marker), []);
}
