/**
 * Socket mode, as root over a link and without any privilege over loopback: the same subscribers,
 * filter and accounts over plain UDP sockets. At rates that leave a busy machine time;
 * socket-path.test.ts has the others.
 *
 * needs: a link
 * takes: 60 s
 */

import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Link, NOBODY_IP } from '../rig/link.js';
import { eventually, ROOT } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  LAYOUTS,
  networkTest,
  replaceWorker,
  servedAgain,
  socketMode,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import {
  type Destination,
  LISTEN_PORT,
  type Route,
  replicatedRoute,
  startFeed,
} from '../rig/wire.js';

const test = suite('socket mode');
const RATE = 2000;
const COUNT = 1000;
const LOOPBACK = '127.0.0.1';

/** Feed, replicator and subscribers all on `lo` of the replicator's namespace. */
function loopbackRoute(link: Link): Route {
  const nothing = '00:00:00:00:00:00';
  return {
    start: (_, command, args) => link.start('replicator', command, args),
    feedInterface: 'lo',
    sinkInterface: 'lo',
    feedIp: LOOPBACK,
    targetMac: nothing,
    targetIp: LOOPBACK,
    sourceMacs: [nothing],
    sourceIp: LOOPBACK,
    sourcePort: LISTEN_PORT,
  };
}

function localSubscribers(count: number): Destination[] {
  // Any address of 127/8 is this host's.
  return Array.from({ length: count }, (_, index) => ({
    ip: `127.0.0.${2 + (index % 3)}`,
    port: 9101 + index,
  }));
}

for (const layout of LAYOUTS) {
  networkTest(test, `without privileges, over loopback: ${layout}`, { queues: 1 }, async (link) => {
    const options = {
      link,
      interface: 'lo',
      listenIp: LOOPBACK,
      unprivileged: true,
      flags: socketMode(layout),
    };
    await withReplicator(options, async (replicator) => {
      for (const { subscribers, rate } of [
        { subscribers: 3, rate: RATE },
        { subscribers: 16, rate: 1000 },
      ]) {
        const destinations = localSubscribers(subscribers);
        await replicator.subscribe(destinations);
        const sunk = await transfer(replicator, {
          route: loopbackRoute(link),
          subscribers: destinations,
          rate,
          count: rate,
          socket: true,
        });
        await assertLossless(replicator, sunk);
      }
    });
  });

  networkTest(
    test,
    `payloads from 0 to the largest of the MTU: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: socketMode(layout) }, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        const sunk = await transfer(replicator, {
          subscribers,
          rate: RATE,
          count: 1473,
          sizes: '0-1472',
          checksum: 'full',
        });
        await assertLossless(replicator, sunk);
      });
    },
  );

  networkTest(
    test,
    `a dead neighbour costs nobody else a packet: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: socketMode(layout) }, async (replicator) => {
        const living = subscribersOf(3);
        await replicator.subscribe(living);
        await replicator.add({ ip: NOBODY_IP, port: 9101 });
        const count = COUNT;
        const sunk = await transfer(replicator, { subscribers: living, rate: RATE, count });
        await assertReceived(replicator, sunk);
        await replicator.check();
      });
    },
  );

  networkTest(
    test,
    `a worker that is killed is replaced and traffic comes back: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: socketMode(layout) }, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        await replaceWorker(replicator);
        await servedAgain(replicator, subscribers);
        const sunk = await transfer(replicator, { subscribers, rate: RATE, count: COUNT });
        await assertReceived(replicator, sunk);
        await replicator.check();
      });
    },
  );
}

networkTest(
  test,
  '--mode auto without privileges runs in socket mode, with one warning that names the cure',
  { queues: 1 },
  async (link) => {
    const options = { link, unprivileged: true };
    await withReplicator(options, async (replicator) => {
      const stats = await replicator.stats();
      assert.is(stats.mode, 'socket');
      assert.ok(stats.fallbacks.length > 0, 'the reason is kept in the counters');
      const warnings = replicator.program.stderr.split('\n').filter((line) => /\bwarn/i.test(line));
      assert.is(warnings.length, 1, replicator.told());
      assert.match(warnings[0] ?? '', /CAP_|root|sudo/);
    });
  },
);

networkTest(
  test,
  '--mode auto on a kernel without AF_XDP runs in socket mode, says why, and replicates',
  { queues: 1 },
  async (link) => {
    const environment = { LD_PRELOAD: join(ROOT, 'native', 'build', 'no-af-xdp.so') };
    await withReplicator({ link, environment }, async (replicator) => {
      const { mode, fallbacks } = await replicator.stats();
      assert.is(mode, 'socket');
      assert.equal(
        fallbacks.map((each) => each.mode),
        ['zerocopy', 'copy', 'skb'],
      );
      for (const { reason } of fallbacks) assert.match(reason, /AF_XDP socket: .*not supported/);
      const subscribers = subscribersOf(3);
      await replicator.subscribe(subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: COUNT });
      await assertReceived(replicator, sunk);
      await replicator.check();
    });
  },
);

networkTest(
  test,
  'Ctrl-C under traffic ends with status 0 and leaves nothing behind',
  { queues: 1 },
  async (link) => {
    const replicator = await Replicator.start({ link, flags: socketMode('inline') });
    try {
      await replicator.subscribe(subscribersOf(3));
      const feed = startFeed(replicatedRoute(link), { rate: RATE, count: RATE * 300 });
      await eventually('traffic flows', async () => {
        return (await replicator.stats()).feed.received > 1000;
      });
      assert.equal(await replicator.interrupt(), { status: 0, signal: null }, replicator.told());
      assert.equal(await replicator.residue(), []);
      await feed.stop();
    } finally {
      replicator.close();
    }
  },
);

test.run();
