/**
 * Several launchers on queues of one interface, side by side: each has its feed, its subscribers
 * and its control port; they share one XDP program, and the last one to leave takes it away.
 *
 * needs: a link
 * takes: 80 s
 */
// time limit: 120 s

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FEED_IP, GROUP, type Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, sleep } from '../rig/program.js';
import { Replicator, residueOf, startUp } from '../rig/replicator.js';
import { LAYOUTS, networkTest, subscribersOf } from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  LISTEN_PORT,
  replicatedRoute,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('launchers');
const RATE = 4000;
const COUNT = 1000;
const LATER_PORT = 9300;

const flagsOf = (layout: string, queue: number) => [
  '--mode',
  'copy',
  '--layout',
  layout,
  '--queues',
  String(queue),
];

/** A feed on `queue` reaches these subscribers, whole, and nobody else. */
async function assertServed(
  link: Link,
  queue: number,
  subscribers: readonly Destination[],
): Promise<void> {
  const route = replicatedRoute(link);
  const sink = await startSink(route, { subscribers, expect: COUNT });
  await startFeed(route, { rate: RATE, count: COUNT, queue }).result();
  assert.equal(
    faultsOf(await sink.within(2000), COUNT),
    [],
    `queue ${queue}; ${link.drops().join()}`,
  );
}

async function assertGone(replicator: Replicator): Promise<void> {
  assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
}

/** Runs `work` with a list to which it adds what it starts; all of it is ended in the end. */
async function withLaunchers(work: (started: Replicator[]) => Promise<void>): Promise<void> {
  const started: Replicator[] = [];
  try {
    await work(started);
  } catch (error) {
    if (error instanceof Error)
      error.message += started.map((one) => `\n--- ${one.told()}`).join('');
    throw error;
  } finally {
    for (const one of started) one.close();
  }
}

for (const layout of LAYOUTS) {
  networkTest(
    test,
    `two launchers serve a queue each, at once, and the last takes XDP away: ${layout}`,
    { queues: 2 },
    async (link) => {
      await withLaunchers(async (started) => {
        const first = await Replicator.start({ link, flags: flagsOf(layout, 0) });
        started.push(first);
        const second = await Replicator.start({ link, flags: flagsOf(layout, 1) });
        started.push(second);
        const all = subscribersOf(6);
        const [mine, theirs] = [all.slice(0, 3), all.slice(3)];
        await first.subscribe(mine);
        await second.subscribe(theirs);
        const route = replicatedRoute(link);
        const sink = await startSink(route, { subscribers: all, expect: COUNT });
        const feeds = [0, 1].map((queue) =>
          startFeed(route, { rate: RATE / 2, count: COUNT, queue, sourcePort: 7000 + queue }),
        );
        await Promise.all(feeds.map((feed) => feed.result()));
        assert.equal(faultsOf(await sink.within(2000), COUNT), [], link.drops().join());
        for (const one of [first, second]) {
          assert.is((await one.stats()).feed.received, COUNT);
          await one.cli('stats', '--check');
        }
        await assertGone(first);
        assert.is.not(link.xdpProgram(), null, 'the second one still needs it');
        await assertServed(link, 1, theirs);
        await assertGone(second);
        assert.equal(await second.residue(), []);
      });
    },
  );

  networkTest(
    test,
    `whichever leaves, those that stay serve on and later ones can join: ${layout}`,
    { queues: 2 },
    async (link) => {
      await withLaunchers(async (started) => {
        const up = async (queue: number) => {
          const one = await Replicator.start({ link, flags: flagsOf(layout, queue) });
          started.push(one);
          await one.subscribe(subscribersOf(6).slice(queue * 3, queue * 3 + 3));
          return one;
        };
        const first = await up(0);
        const second = await up(1);
        await assertGone(first); // it held the name: the second takes it over
        const third = await up(0);
        await assertServed(link, 0, subscribersOf(6).slice(0, 3));
        await assertGone(second);
        await assertServed(link, 0, subscribersOf(6).slice(0, 3));
        await assertGone(third);
        assert.equal(await third.residue(), []);
      });
    },
  );
}

/** A flow of its own, of packets with IP options. */
const UNUSUAL = { count: 100, flow: 1, unusualEvery: 1 };

/** The feed of both launchers: how each is started with it, or is told of it. */
const FEEDS = [
  ['of an address', { listenIp: REPLICATOR_IP }, null],
  ['of a group', { listenIp: GROUP.ip }, null],
  ['of a group added later', { listenIp: REPLICATOR_IP }, `${GROUP.ip}:${LATER_PORT}`],
] as const;

for (const [name, listen, later] of FEEDS)
  networkTest(
    test,
    `what only the kernel can read reaches the launcher of the queue that it came on, and no other: ${name}`,
    { queues: 2 },
    async (link) => {
      await withLaunchers(async (started) => {
        const all = subscribersOf(6);
        const groups = [all.slice(0, 3), all.slice(3)];
        for (const queue of [0, 1]) {
          const one = await Replicator.start({ link, ...listen, flags: flagsOf('inline', queue) });
          started.push(one);
          if (later !== null) await one.cli('feed', 'add', 'later', later);
          for (const { ip, port } of groups[queue] ?? [])
            await one.change({ op: 'add', ip, port, feeds: [later === null ? 'main' : 'later'] });
          await one.subscribe(groups[queue] ?? []);
        }
        const [first, second] = started as [Replicator, Replicator];
        const port = later === null ? LISTEN_PORT : LATER_PORT;
        const isGroup = name !== 'of an address';
        const target = isGroup ? { targetIp: GROUP.ip, targetMac: GROUP.mac } : {};
        const route = { ...replicatedRoute(link), ...target, sourcePort: port };
        const assertBoth = async (queue: number) => {
          const subscribers = groups[queue] ?? [];
          const sink = await startSink(route, { subscribers, flows: 2 });
          const common = { queue, sourcePort: 7000 + queue, port };
          // each keeps its order; between AF_XDP and the kernel there is none
          await Promise.all([
            startFeed(route, { ...common, rate: RATE, count: COUNT }).result(),
            startFeed(route, { ...common, rate: RATE / 10, ...UNUSUAL }).result(),
          ]);
          await sleep(500);
          assert.equal(faultsOf(await sink.stop(), COUNT + UNUSUAL.count), [], `queue ${queue}`);
        };
        await assertBoth(0);
        await assertBoth(1);
        const slow = async () => {
          const seen = await Promise.all(started.map((one) => one.stats()));
          return seen.map(({ feeds }) => {
            const { received, slow_path, socket_lost } = feeds.at(-1) ?? {};
            return [received, slow_path, socket_lost];
          });
        };
        assert.equal(await slow(), [
          [COUNT + UNUSUAL.count, UNUSUAL.count, 0],
          [COUNT + UNUSUAL.count, UNUSUAL.count, 0],
        ]);
        await assertGone(first); // its socket has left the group, and its place there
        await assertBoth(1);
        await second.check();
        await assertGone(second);
        assert.equal(await second.residue(), []);
      });
    },
  );

networkTest(
  test,
  'of a group that two launchers take from different hosts, each gets its own, whatever the queue',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      for (const [queue, source] of [FEED_IP, '10.77.0.9'].entries()) {
        const one = await Replicator.start({ link, flags: flagsOf('inline', queue) });
        started.push(one);
        await one.cli('feed', 'add', 'later', `${GROUP.ip}:${LATER_PORT}@${source}`);
      }
      const route = { ...replicatedRoute(link), targetIp: GROUP.ip, targetMac: GROUP.mac };
      // of the first one's source, and the card hashes it to the second one's queue
      const flow = { queue: 1, sourcePort: 7101, port: LATER_PORT };
      await startFeed(route, { ...flow, rate: RATE / 10, count: 100, unusualEvery: 1 }).result();
      await sleep(500);
      const seen = await Promise.all(started.map((one) => one.stats()));
      assert.equal(
        seen.map(({ feeds }) => feeds.at(-1)?.slow_path),
        [100, 0],
      );
      for (const one of started) await assertGone(one);
    });
  },
);

networkTest(
  test,
  'of a group, too, what only the kernel can read reaches who is left when a launcher was killed whole',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      for (const queue of [0, 1])
        started.push(
          await Replicator.start({ link, listenIp: GROUP.ip, flags: flagsOf('inline', queue) }),
        );
      const [first, second] = started as [Replicator, Replicator];
      await second.subscribe(subscribersOf(3));
      first.close();
      await eventually('the first is gone', () => first.processes().length === 0);
      await sleep(500); // who ends is without memory before its descriptors are closed
      const route = { ...replicatedRoute(link), targetIp: GROUP.ip, targetMac: GROUP.mac };
      const sink = await startSink(route, { subscribers: subscribersOf(3) });
      // a flow that nobody knows, on the queue of nobody
      const common = { queue: 0, sourcePort: 7100, rate: RATE / 10 };
      await startFeed(route, { ...common, count: 100, unusualEvery: 1 }).result();
      await sleep(500);
      assert.equal(faultsOf(await sink.stop(), 100), []);
      await assertGone(second);
    });
  },
);

networkTest(
  test,
  'one launcher sends in bulk and the other by its ring, over one program',
  { queues: 2, netGro: true },
  async (link) => {
    await withLaunchers(async (started) => {
      for (const [queue, way] of ['bulk', 'ring'].entries()) {
        const flags = [...flagsOf('inline', queue), '--transmit', way];
        const one = await Replicator.start({ link, flags });
        started.push(one);
        await one.subscribe(subscribersOf(6).slice(queue * 3, queue * 3 + 3));
      }
      const [first, second] = started as [Replicator, Replicator];
      await assertServed(link, 0, subscribersOf(6).slice(0, 3));
      await assertServed(link, 1, subscribersOf(6).slice(3));
      const framesOf = async (one: Replicator) => (await one.stats()).workers[0]?.transmit.frames;
      assert.equal([await framesOf(first), await framesOf(second)], [3 * COUNT, 0]);
      await assertGone(first);
      await assertServed(link, 1, subscribersOf(6).slice(3));
      await assertGone(second);
      assert.equal(await second.residue(), []);
    });
  },
);

networkTest(
  test,
  'two launchers of a user who is not root serve a queue each, over one program',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      const capabilities = ['net_admin', 'net_raw', 'bpf', 'perfmon', 'ipc_lock'];
      for (const queue of [0, 1]) {
        const flags = flagsOf('inline', queue);
        const one = await Replicator.start({ link, unprivileged: true, capabilities, flags });
        started.push(one);
        await one.subscribe(subscribersOf(6).slice(queue * 3, queue * 3 + 3));
      }
      const [first, second] = started as [Replicator, Replicator];
      await assertServed(link, 0, subscribersOf(6).slice(0, 3));
      await assertServed(link, 1, subscribersOf(6).slice(3));
      await assertGone(first);
      await assertServed(link, 1, subscribersOf(6).slice(3));
      await assertGone(second);
      assert.equal(await second.residue(), []);
    });
  },
);

networkTest(
  test,
  'the second launcher takes the next free control port, and prints it',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      for (const queue of [0, 1])
        started.push(
          await Replicator.start({ link, inside: true, flags: flagsOf('inline', queue) }),
        );
      const [first, second] = started;
      assert.is(first?.control, '127.0.0.1:12345');
      assert.is(second?.control, '127.0.0.1:12346');
      for (const one of started) assert.is((await one.stats()).queues.length, 1);
      for (const one of started) await assertGone(one);
      assert.equal(await second?.residue(), []);
    });
  },
);

networkTest(
  test,
  'a queue that another launcher serves is refused in one line, and goes on being served',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      const first = await Replicator.start({ link, flags: flagsOf('inline', 0) });
      started.push(first);
      await first.subscribe(subscribersOf(3));
      const { program, marker } = await startUp({ link, flags: flagsOf('inline', 0) });
      assert.is((await program.wait()).status, 1, program.told());
      assert.match(program.stderr, /queue 0/);
      assert.equal(
        residueOf(link, program, marker).filter((one) => one.startsWith('process')),
        [],
      );
      await assertServed(link, 0, subscribersOf(3));
      await assertGone(first);
    });
  },
);

networkTest(
  test,
  'two launchers that start and stop at the same moment do not disturb each other',
  { queues: 2 },
  async (link) => {
    await withLaunchers(async (started) => {
      for (let round = 0; round < 3; round++) {
        const both = await Promise.all(
          [0, 1].map((queue) => Replicator.start({ link, flags: flagsOf('inline', queue) })),
        );
        started.push(...both);
        await sleep(50 * round);
        await Promise.all(both.map(assertGone));
        const [one] = both;
        assert.equal(await one?.residue(), []);
      }
    });
  },
);

test.run();
