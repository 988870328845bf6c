/**
 * The fence: past a moment that stands in shared memory the workers serve nobody, whether their
 * supervisor runs, stands still or is gone; once it has moved on they serve again. Nothing is lost
 * on the way there, nothing comes twice, and nothing of meanwhile comes later.
 *
 * needs: a link
 * takes: 20 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import type { Arena } from '../../src/memory/arena.js';
import { arenaOf } from '../rig/arena.js';
import type { Link } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import {
  copyMode,
  networkTest,
  replaceWorker,
  socketMode,
  subscribersOf,
  withReplicator,
} from '../rig/scenario.js';
import { replicatedRoute, startFeed, startSink } from '../rig/wire.js';

const test = suite('fence');
const RATE = 2000;
const MS = 1_000_000n;
/** From setting the fence to its moment. */
const AHEAD = 300n * MS;
const FAR_OFF = 3_600_000n * MS;
const SUBSCRIBERS = subscribersOf(4);
/** That a fenced worker takes before one believes that it serves nobody. */
const PACKETS = RATE / 5;

const RUNS = [
  ['copy, inline', copyMode('inline', '--workers', '1')],
  ['copy, split', copyMode('split', '--workers', '1')],
  ['socket, inline', socketMode('inline', '--workers', '1')],
] as const;

const now = () => process.hrtime.bigint();
const packetsOf = (arena: Arena) => arena.u64(arena.worker(0, 'packets'));
const fencedOf = (arena: Arena) => arena.u64(arena.worker(0, 'fenced_packets'));
/** Of all rows, as the worker counts them. */
const receivedOf = (arena: Arena) =>
  SUBSCRIBERS.map((_, row) => arena.u64(arena.counters(row, 'received')));

/** Lets the worker take a good many packets more. */
async function whilePacketsCome(arena: Arena): Promise<void> {
  const before = packetsOf(arena);
  await eventually('packets are taken', () => packetsOf(arena) > before + BigInt(PACKETS));
}

/** The worker takes packets, and neither owes nor sends any of them to anybody. */
async function servesNobody(link: Link, arena: Arena): Promise<void> {
  // submitted before the fence, by a pump that waits for its core still
  await eventually('what was on its way has left', () =>
    SUBSCRIBERS.every((_, row) => arena.inFlight(row) === 0n),
  );
  const [owed, fenced] = [receivedOf(arena), fencedOf(arena)];
  // one that it is told of, since two sinks cannot have an address; what goes to others it counts
  const watched = SUBSCRIBERS.filter(({ mac }) => mac !== undefined);
  const sink = await startSink(replicatedRoute(link), { subscribers: [], extras: watched });
  await whilePacketsCome(arena);
  const { subscribers, unexpected } = await sink.stop();
  assert.equal([...subscribers.map(({ received }) => received), unexpected], [0, 0]);
  assert.equal(receivedOf(arena), owed, 'nobody is owed anything');
  assert.ok(fencedOf(arena) - fenced >= PACKETS, 'and that is counted');
}

/** From a fence ahead until the worker has found it passed; not before its moment. */
async function fenceOff(arena: Arena): Promise<void> {
  const moment = now() + AHEAD;
  arena.serveUntil(moment);
  const [served, fenced] = [receivedOf(arena), fencedOf(arena)];
  await whilePacketsCome(arena);
  if (now() < moment) {
    assert.is(fencedOf(arena), fenced, 'before its moment it changes nothing');
    assert.ok(receivedOf(arena).every((count, row) => count > (served[row] ?? 0n)));
  }
  await eventually('the fence has passed', () => arena.isFenced(0));
  assert.ok(now() >= moment);
}

async function serveAgain(arena: Arena): Promise<void> {
  const owed = receivedOf(arena);
  arena.serveUntil(now() + FAR_OFF);
  await eventually('everybody is served', () =>
    receivedOf(arena).every((count, row) => count > (owed[row] ?? 0n) + BigInt(PACKETS)),
  );
  assert.not(arena.isFenced(0));
}

/**
 * Each packet is counted once: as owed to everybody, as one that a fenced worker took, or as one
 * refused since its ring was full while it was fenced (else that is a drop).
 */
function assertEachCounted(arena: Arena, { feed, workers, subscribers }: Stats): void {
  const [worker] = workers;
  const refused = arena.count(arena.receiver(0, 'backlog'));
  for (const { received, drops } of subscribers) {
    const owedToNobody = (worker?.fenced_packets ?? 0) + refused - (drops.backlog ?? 0);
    assert.is(received + owedToNobody, feed.received);
  }
}

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `past the fence nobody is served, though the supervisor stands still: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags }, async (replicator) => {
        await replicator.subscribe(SUBSCRIBERS);
        const arena = arenaOf(replicator.receiver().pid);
        const route = replicatedRoute(link);
        const sink = await startSink(route, { subscribers: SUBSCRIBERS });
        const feed = startFeed(route, { rate: RATE, count: RATE * 300 });
        await whilePacketsCome(arena);
        process.kill(replicator.program.pid, 'SIGSTOP');
        await fenceOff(arena);
        await servesNobody(link, arena);
        process.kill(replicator.program.pid, 'SIGCONT');
        await servesNobody(link, arena);
        assert.is((await replicator.stats()).workers[0]?.fenced, true);
        await replaceWorker(replicator);
        await servesNobody(link, arena);
        await serveAgain(arena);
        const { sent } = await feed.stop();
        const { last } = await replicator.settled(({ feed: now }) => now.received >= sent);
        const sunk = await sink.stop();
        assert.is(last.workers[0]?.fenced, false);
        assertEachCounted(arena, last);
        const told = JSON.stringify([sunk, last, link.drops()], null, 1);
        for (const [index, seen] of sunk.subscribers.entries()) {
          const { duplicated, reordered, corrupt, bad_header, bad_checksum } = seen;
          assert.equal([duplicated, reordered, corrupt, bad_header, bad_checksum], [0, 0, 0, 0, 0]);
          if (sunk.ring_drops > 0 || link.drops().length > 0) continue;
          assert.is(seen.received, last.subscribers[index]?.sent, told);
        }
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'a fence stands when its supervisor is killed, and under the next one until it moves on: in bulk',
  { queues: 1, netGro: true },
  async (link) => {
    // the second core is the pump's
    const flags = copyMode('inline', '--workers', '1', '--transmit', 'bulk', '--cpus', '0,1');
    const first = await Replicator.start({ link, flags });
    try {
      await first.subscribe(SUBSCRIBERS);
      const arena = arenaOf(first.receiver().pid);
      const feed = startFeed(replicatedRoute(link), { rate: RATE, count: RATE * 300 });
      await whilePacketsCome(arena);
      arena.serveUntil(now() + FAR_OFF);
      process.kill(first.program.pid, 'SIGKILL');
      await first.program.wait();
      await fenceOff(arena);
      await servesNobody(link, arena);
      const fence = arena.servesUntil();
      await withReplicator({ link, flags }, async (second) => {
        assert.match(second.told(), /adopted=/);
        assert.is((await second.stats()).workers[0]?.transmit.pumped, true);
        assert.is(arena.servesUntil(), fence);
        await servesNobody(link, arena);
        await serveAgain(arena);
        const { sent } = await feed.stop();
        const { last } = await second.settled(({ feed: now }) => now.received >= sent);
        assertEachCounted(arena, last);
        await second.check();
      });
    } finally {
      first.close();
    }
  },
);

test.run();
