/**
 * The latencies of the last seconds forget: after packets that a stopped worker left waiting they
 * are those of quick ones again, while those since the start remember.
 *
 * needs: a link
 * takes: 15 s
 */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { WorkerRow } from '../../src/domain/statistics.js';
import { eventually, sleep } from '../rig/program.js';
import { kill, type Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';

const test = suite('recent latencies of a run');
/** Packets that wait for a worker, and how long each of them does at least. */
const SLOW = 400;
const HELD_MS = 200;
const HELD_NS = HELD_MS * 1e6;
/** Fewer than 99 for each slow one, so that p99 since the start is of a slow one. */
const QUICK_MAX = 20_000;
const NOTHING = { p50: 0, p99: 0, p999: 0 };

async function workerOf(replicator: Replicator): Promise<WorkerRow> {
  const [worker] = (await replicator.stats()).workers;
  assert.ok(worker !== undefined);
  return worker;
}

/** fantail-rx stamps packets and hands them over, and the worker is stopped. */
async function leaveWaiting(replicator: Replicator): Promise<void> {
  const { feed } = await replicator.stats();
  const { pid } = await workerOf(replicator);
  process.kill(pid, 'SIGSTOP');
  try {
    await eventually('the worker is stopped', () =>
      /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
    );
    await startFeed(replicatedRoute(replicator.link), { rate: 4000, count: SLOW }).result();
    await eventually('all packets wait', async () => {
      return (await replicator.stats()).feed.received === feed.received + SLOW;
    });
    await sleep(HELD_MS);
  } finally {
    kill(pid, 'SIGCONT'); // it may have been replaced, for standing still
  }
}

networkTest(
  test,
  'they are slow while packets waited, quick soon after, and nothing when none come',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('split') }, async (replicator) => {
      await replicator.subscribe(subscribersOf(2));
      await eventually('they tell of the packets that waited', async () => {
        await leaveWaiting(replicator);
        await replicator.settled();
        return (await workerOf(replicator)).recent.inside_ns.p50 >= HELD_NS;
      });
      assert.ok((await workerOf(replicator)).inside_ns.p50 >= HELD_NS);

      const quick = startFeed(replicatedRoute(link), { rate: 200, count: QUICK_MAX });
      await eventually('they are of quick packets alone', async () => {
        const { recent, inside_ns: all } = await workerOf(replicator);
        assert.ok(all.p99 >= HELD_NS, 'since the start they remember');
        const { p50, p99 } = recent.inside_ns;
        return p50 > 0 && p99 < HELD_NS && recent.window_ns.p50 > 0 && recent.kick_ns.p50 > 0;
      });
      await quick.stop();

      await eventually('they are of nothing', async () => {
        const { recent } = await workerOf(replicator);
        return Object.values(recent).every(({ p999 }) => p999 === 0);
      });
      const { recent, inside_ns } = await workerOf(replicator);
      assert.equal(recent, { inside_ns: NOTHING, kick_ns: NOTHING, window_ns: NOTHING });
      assert.ok(inside_ns.p99 >= HELD_NS);
    });
  },
);

test.run();
