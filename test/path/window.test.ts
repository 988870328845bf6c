/**
 * The delivery window that a worker tells, against the kernel's own stamps of the copies where they
 * arrive: it is never shorter than what is between the first copy's stamp and the last's, and never
 * longer than the kick that sent them.
 *
 * needs: a link
 * takes: 30 s
 */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { WorkerRow } from '../../src/domain/statistics.js';
import { limits } from '../../src/memory/layout.js';
import { FEED_IP, HOSTS, type Link, REPLICATOR_IP } from '../rig/link.js';
import { ROOT } from '../rig/program.js';
import type { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, withReplicator } from '../rig/scenario.js';
import { type Destination, LISTEN_PORT, Tool } from '../rig/wire.js';

const test = suite('delivery window');
/** Packets, one at a time, so that each is a burst; the first of so many is timed. */
const TIMED = 8;
const COUNT = TIMED * limits.TIMED_EVERY;
const WAIT_MS = 120_000;

/** As many on each host. */
function destinationsOf(count: number): Destination[] {
  return Array.from({ length: count }, (_, index) => ({
    ip: HOSTS[index % HOSTS.length] ?? '',
    port: 9101 + Math.floor(index / HOSTS.length),
  }));
}

/** By the stamps of their copies: of the packets that the worker has timed, from the shortest. */
async function stampedWindows(link: Link, subscribers: readonly Destination[]): Promise<number[]> {
  const program = link.start('net', join(ROOT, 'native/build/wire-window'), [
    ...['--source', FEED_IP, '--target', `${REPLICATOR_IP}:${LISTEN_PORT}`],
    ...['--count', String(COUNT)],
    ...subscribers.flatMap(({ ip, port }) => ['--subscriber', `${ip}:${port}`]),
  ]);
  const { windows_ns } = await new Tool<{ windows_ns: number[] }>(program).result(WAIT_MS);
  return windows_ns.filter((_, i) => i % limits.TIMED_EVERY === 0).sort((a, b) => a - b);
}

async function workerOf(replicator: Replicator): Promise<WorkerRow> {
  await replicator.settled();
  const [worker] = (await replicator.stats()).workers;
  assert.ok(worker !== undefined);
  return worker;
}

for (const [name, flags] of RUNS)
  for (const subscribers of [2, 256])
    networkTest(
      test,
      `no window is shorter than by the stamps of ${subscribers} subscribers: ${name}`,
      { queues: 1 },
      async (link) => {
        await withReplicator({ link, flags }, async (replicator) => {
          const destinations = destinationsOf(subscribers);
          await replicator.subscribe(destinations);
          const stamped = await stampedWindows(link, destinations);
          const { bursts, timed, window_ns: window, kick_ns: kick } = await workerOf(replicator);
          assert.equal([bursts, timed.bursts, stamped.length], [COUNT, TIMED, TIMED]);
          const told = JSON.stringify({ window, kick, stamped });
          // of eight the median is the fourth, and both other percentiles are the longest
          for (const [share, place] of [
            ['p50', TIMED / 2 - 1],
            ['p99', TIMED - 1],
          ] as const) {
            assert.ok(window[share] >= (stamped[place] ?? 0), `${share} of ${told}`);
            assert.ok(window[share] <= kick[share], `${share} of ${told}`);
          }
          assert.ok((stamped[0] ?? 0) > 0, told);
          const metrics = await (await fetch(`http://${replicator.control}/metrics`)).text();
          const counted = /^fantail_delivery_window_seconds_count\{worker="0"\} (\d+)$/m.exec(
            metrics,
          );
          assert.is(Number(counted?.[1]), TIMED);
        });
      },
    );

networkTest(
  test,
  'in bulk each timed burst has a window, no longer than its kick',
  { queues: 1, netGro: true },
  async (link) => {
    const flags = copyMode('inline', '--transmit', 'bulk', '--cpus', '0');
    await withReplicator({ link, flags }, async (replicator) => {
      const destinations = destinationsOf(256);
      await replicator.subscribe(destinations);
      await stampedWindows(link, destinations);
      const { transmit, window_ns: window, kick_ns: kick } = await workerOf(replicator);
      const told = JSON.stringify({ window, kick });
      assert.is(transmit.path, 'bulk');
      assert.ok(window.p50 > 0 && window.p50 <= kick.p50 && window.p99 <= kick.p99, told);
    });
  },
);

networkTest(
  test,
  'two workers that send copies of the same packets each tell their own window',
  { queues: 2 },
  async (link) => {
    const flags = copyMode('inline', '--workers', '2');
    await withReplicator({ link, flags }, async (replicator) => {
      const destinations = destinationsOf(128);
      await replicator.subscribe(destinations);
      await stampedWindows(link, destinations);
      await replicator.settled();
      const { workers } = await replicator.stats();
      assert.is(workers.length, 2);
      for (const { timed, window_ns: window, kick_ns: kick } of workers) {
        assert.is(timed.copies, (timed.bursts * destinations.length) / 2);
        assert.ok(window.p50 > 0 && window.p50 <= kick.p50 && window.p99 <= kick.p99);
      }
    });
  },
);

networkTest(test, 'one subscriber has no delivery window', { queues: 1 }, async (link) => {
  await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
    const destinations = destinationsOf(1);
    await replicator.subscribe(destinations);
    await stampedWindows(link, destinations);
    const { timed, window_ns, kick_ns } = await workerOf(replicator);
    assert.is(timed.bursts, TIMED);
    assert.equal(window_ns, { p50: 0, p99: 0, p999: 0 });
    assert.ok(kick_ns.p50 > 0);
  });
});

test.run();
