/**
 * Subscribers that come and go a hundred times a second under traffic: those that stay lose
 * nothing, those that come get one unbroken stretch of the feed, and at any time received = sent +
 * in_flight + the sum of drops.
 */
// time limit: 120 s

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HOSTS } from '../rig/link.js';
import { sleep } from '../rig/program.js';
import { accountFaults, type Replicator } from '../rig/replicator.js';
import { LAYOUTS, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  replicatedRoute,
  type Seen,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('churn');
const RATE = 20_000;
const SECONDS = 4;
/** Additions a second, and as many removals. */
const CHURN_RATE = 100;
/**
 * How many of those that come and go are there at a time, about; with the stable ones, 160,000
 * copies a second.
 */
const PRESENT = 5;
const FIRST_PORT = 20_000;
/** Between two samples; odd, so that it falls into every phase of adding and removing. */
const SAMPLE_MS = 13;

/** Each of these comes once; every fourth is one of a few that come again and again. */
function comer(turn: number): Destination & { again: boolean } {
  const again = turn % 4 === 0;
  const ip = HOSTS[turn % HOSTS.length] ?? '';
  // Those that come again have their turn only after they have gone: more of them than are present
  // at a time.
  return { ip, port: FIRST_PORT + (again ? turn % (4 * 2 * PRESENT) : turn + 1000), again };
}

/**
 * An answer, or BUSY: on a machine that is busy itself a change may take longer than 100 ms, and is
 * applied later.
 */
async function answered(change: Promise<unknown>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!/: BUSY /.test(String(error))) throw error;
  }
}

/** Adds, and removes who came PRESENT turns before, at CHURN_RATE; in the end all have gone. */
async function churn(replicator: Replicator, turns: number): Promise<void> {
  const start = Date.now();
  for (let turn = 0; turn < turns; turn++) {
    const due = start + (turn * 1000) / CHURN_RATE;
    if (Date.now() < due) await sleep(due - Date.now());
    const gone = turn < PRESENT ? [] : [answered(replicator.remove(comer(turn - PRESENT)))];
    await Promise.all([answered(replicator.add(comer(turn))), ...gone]);
    const seconds = (Date.now() - start) / 1000;
    assert.ok(
      seconds < turn / CHURN_RATE + 2,
      `turn ${turn} after ${seconds} s: add and remove are too slow`,
    );
  }
  for (let turn = turns - PRESENT; turn < turns; turn++)
    await answered(replicator.remove(comer(turn)));
}

/**
 * Samples until told to stop; the number of samples that were taken while some of the comers were
 * present.
 */
async function sample(replicator: Replicator, stopped: () => boolean): Promise<number> {
  let samples = 0;
  while (!stopped()) {
    const stats = await replicator.stats();
    assert.equal(accountFaults(stats), [], 'received = sent + in_flight + drops');
    if (stats.subscribers.length > 3) samples++;
    await sleep(SAMPLE_MS);
  }
  return samples;
}

function assertUnbroken(seen: Seen, again: boolean): void {
  const { duplicated, reordered, corrupt, bad_checksum, bad_header } = seen;
  const who = `${seen.ip}:${seen.port} ${JSON.stringify(seen)}`;
  assert.equal([duplicated, reordered, corrupt, bad_checksum, bad_header], [0, 0, 0, 0, 0], who);
  if (again) return;
  assert.is(seen.lost, 0, `a gap between its first packet and its last: ${who}`);
  assert.ok(
    seen.received > 0,
    `it was there for ${PRESENT / CHURN_RATE} s and got nothing: ${who}`,
  );
}

for (const layout of LAYOUTS)
  for (const queues of [1, 2])
    networkTest(
      test,
      `100 a second come and go, nobody else notices: ${layout}, queues: ${queues}`,
      { queues },
      async (link) => {
        const flags = ['--mode', 'copy', '--layout', layout, '--workers', String(queues)];
        await withReplicator({ link, flags }, async (replicator) => {
          const stable = subscribersOf(3);
          await replicator.subscribe(stable);
          // Every host's MAC is known before, so that a comer is sent to directly from its first
          // packet on.
          const scouts = HOSTS.map((ip) => ({ ip, port: FIRST_PORT - 1 }));
          await replicator.subscribe(scouts);
          for (const scout of scouts) await replicator.remove(scout);
          const turns = CHURN_RATE * SECONDS;
          const comers = Array.from({ length: turns }, (_, turn) => comer(turn));
          const byName = new Map(comers.map((one) => [`${one.ip}:${one.port}`, one]));
          const route = replicatedRoute(link);
          const each = (RATE * (SECONDS + 1)) / queues;
          const extras = [...byName.values()];
          const sink = await startSink(route, {
            subscribers: stable,
            extras,
            expect: each,
            flows: queues,
          });
          const feeds = Array.from({ length: queues }, (_, flow) => {
            return startFeed(route, {
              rate: RATE / queues,
              count: each,
              flow,
              ...(queues > 1 ? { queue: flow } : {}),
            });
          });
          let done = false;
          const sampled = sample(replicator, () => done);
          // awaited below; a replicator that dies is told of by whoever notices first
          sampled.catch(() => {});
          await churn(replicator, turns);
          await Promise.all(feeds.map((feed) => feed.result()));
          done = true;
          assert.ok((await sampled) > SECONDS * 10, 'enough samples');
          const sunk = await sink.within(2000);
          const [stay, went] = [sunk.subscribers.slice(0, 3), sunk.subscribers.slice(3)];
          assert.equal(
            faultsOf({ ...sunk, subscribers: stay }, each * queues),
            [],
            link.drops().join(),
          );
          for (const seen of went)
            assertUnbroken(seen, byName.get(`${seen.ip}:${seen.port}`)?.again ?? false);
          await replicator.cli('stats', '--check');
          assert.is((await replicator.list()).length, 3);
        });
      },
    );

test.run();
