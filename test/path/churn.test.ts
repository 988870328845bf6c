/**
 * Subscribers that come and go a hundred times a second under traffic: those that stay lose
 * nothing, those that come get one unbroken stretch of the feed, and at any time received = sent +
 * in_flight + the sum of drops.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { accountFaults, isLater } from '../rig/channel.js';
import { HOSTS, type Link } from '../rig/link.js';
import { Noise } from '../rig/noise.js';
import { sleep } from '../rig/program.js';
import { type Replicator, replicatorProcesses } from '../rig/replicator.js';
import {
  assertReceived,
  hasFed,
  LAYOUTS,
  networkTest,
  subscribersOf,
  withReplicator,
} from '../rig/scenario.js';
import { type Destination, replicatedRoute, type Seen, startFeed, startSink } from '../rig/wire.js';

const test = suite('churn');
const RATE = 20_000;
/** Additions a second, and as many removals, as far as the machine keeps pace. */
const CHURN_RATE = 100;
const TURNS = 250;
/** Of one run: so many that whatever is used up by each would be used up. */
const TURNS_LONG = 500;
const ENDLESS_SECONDS = 300;
/**
 * How many of those that come and go are there at a time, about; with the stable ones, 160,000
 * copies a second.
 */
const PRESENT = 5;
const FIRST_PORT = 20_000;
/** Between two samples; odd, so that it falls into every phase of adding and removing. */
const SAMPLE_MS = 13;

/** Each of these comes once; every fourth is one of a few that come again and again. */
const comesAgain = (turn: number): boolean => turn % 4 === 0;

/** Where who comes in that turn is. */
function at(turn: number): Destination {
  // Those that come again have their turn only after they have gone: more of them than are present
  // at a time.
  const offset = comesAgain(turn) ? turn % (4 * 2 * PRESENT) : turn + 1000;
  return { ip: HOSTS[turn % HOSTS.length] ?? '', port: FIRST_PORT + offset };
}

/**
 * Adds, and removes who came PRESENT turns before, at CHURN_RATE; in the end all have gone. How
 * often the answer was BUSY: it took longer than 100 ms, and was applied later.
 */
async function churn(replicator: Replicator, turns: number): Promise<number> {
  const start = Date.now();
  let busy = 0;
  const answered = async (change: Promise<unknown>) => {
    try {
      await change;
    } catch (error) {
      if (!isLater(error)) throw error;
      busy++;
    }
  };
  for (let turn = 0; turn < turns; turn++) {
    const due = start + (turn * 1000) / CHURN_RATE;
    if (Date.now() < due) await sleep(due - Date.now());
    const gone =
      turn < PRESENT ? [] : [answered(replicator.ask({ op: 'remove', ...at(turn - PRESENT) }))];
    await Promise.all([answered(replicator.ask({ op: 'add', ...at(turn) })), ...gone]);
  }
  for (let turn = turns - PRESENT; turn < turns; turn++)
    await answered(replicator.ask({ op: 'remove', ...at(turn) }));
  return busy;
}

/** Copies that a subscriber was counted to have been sent, as last seen while it was there. */
type Served = Map<string, number>;

/**
 * Samples until told to stop; who was served while it was present, and how many samples saw some
 * of the comers.
 */
async function sample(replicator: Replicator, stopped: () => boolean) {
  const served: Served = new Map();
  let samples = 0;
  while (!stopped()) {
    const stats = await replicator.stats();
    assert.equal(accountFaults(stats), [], 'received = sent + in_flight + drops');
    if (stats.subscribers.length > 3) samples++;
    for (const { ip, port, sent } of stats.subscribers) served.set(`${ip}:${port}`, sent);
    await sleep(SAMPLE_MS);
  }
  return { served, samples };
}

/** `mayMiss`: it was away in between, or the machine was loud and what was dropped is counted. */
function assertUnbroken(seen: Seen, mayMiss: boolean, served: Served | null): void {
  const { duplicated, reordered, corrupt, bad_checksum, bad_header } = seen;
  const who = `${seen.ip}:${seen.port} ${JSON.stringify(seen)}`;
  assert.equal([duplicated, reordered, corrupt, bad_checksum, bad_header], [0, 0, 0, 0, 0], who);
  const least = served?.get(`${seen.ip}:${seen.port}`) ?? 0;
  assert.ok(seen.received >= least, `it was sent ${least} by the counters: ${who}`);
  if (mayMiss) return;
  assert.is(seen.lost, 0, `a gap between its first packet and its last: ${who}`);
}

async function comeAndGo(link: Link, replicator: Replicator, queues: number, turns: number) {
  const stable = subscribersOf(3);
  await replicator.subscribe(stable);
  // Every host's MAC is known before, so that a comer is sent to directly from its first packet on.
  const scouts = HOSTS.map((ip) => ({ ip, port: FIRST_PORT - 1 }));
  await replicator.subscribe(scouts);
  for (const scout of scouts) await replicator.remove(scout);
  const comers = Array.from({ length: turns }, (_, turn) => ({
    ...at(turn),
    again: comesAgain(turn),
  }));
  const byName = new Map(comers.map((one) => [`${one.ip}:${one.port}`, one]));
  const before = await replicator.stats();
  const tools: { readonly pid: number }[] = [];
  const noise = new Noise(() => [...replicatorProcesses(), ...tools]);
  const route = replicatedRoute(link);
  const extras = [...byName.values()];
  const sink = await startSink(route, { subscribers: stable, extras, flows: queues });
  const feeds = Array.from({ length: queues }, (_, flow) => {
    const count = (RATE / queues) * ENDLESS_SECONDS;
    return startFeed(route, { rate: RATE / queues, count, flow, queue: flow });
  });
  tools.push(sink.program, ...feeds.map(({ program }) => program));
  let done = false;
  const sampled = sample(replicator, () => done);
  // awaited below; a replicator that dies is told of by whoever notices first
  sampled.catch(() => {});
  const busy = await churn(replicator, turns);
  const fed = await Promise.all(feeds.map((feed) => feed.stop()));
  done = true;
  const { served, samples } = await sampled;
  const sent = fed.reduce((total, one) => total + one.sent, 0);
  await replicator.settled(hasFed(before, sent));
  const sunk = await sink.stop();
  assert.ok(samples > turns / 20, `enough samples: ${samples}`);
  const [stay, went] = [sunk.subscribers.slice(0, 3), sunk.subscribers.slice(3)];
  const isLoud = noise.isLoud();
  noise.end();
  await assertReceived(replicator, { ...sunk, sent, before, isLoud }, stay);
  // On a loud machine the link or the sink may lose what was sent, and say so.
  const isLost = isLoud && (sunk.ring_drops > 0 || link.drops().length > 0);
  for (const seen of went) {
    const again = byName.get(`${seen.ip}:${seen.port}`)?.again === true;
    assertUnbroken(seen, isLoud || again, isLost ? null : served);
  }
  console.log(`     ${busy} of ${2 * turns} changes took longer than 100 ms`);
  if (!isLoud) assert.ok(busy <= turns / 10, `${busy} of ${2 * turns} answers are BUSY`);
  const got = went.filter(({ received }) => received > 0).length;
  assert.ok(
    got > (isLoud ? 0 : went.length / 2),
    `${got} of ${went.length} got something in their 50 ms`,
  );
  await replicator.check();
  assert.is((await replicator.list()).length, 3);
}

for (const layout of LAYOUTS)
  for (const queues of [1, 2])
    networkTest(
      test,
      `100 a second come and go, nobody else notices: ${layout}, queues: ${queues}`,
      { queues },
      async (link) => {
        const flags = ['--mode', 'copy', '--layout', layout, '--workers', String(queues)];
        const turns = layout === 'split' && queues === 2 ? TURNS_LONG : TURNS;
        await withReplicator({ link, flags }, (replicator) =>
          comeAndGo(link, replicator, queues, turns),
        );
      },
    );

test.run();
