/**
 * The data path over a real link: AF_XDP in copy mode on one end of a veth pair, feed and
 * subscribers on the other. What a subscriber must get, in both layouts, on one queue and on two;
 * see also socket-path.test.ts.
 */

import { availableParallelism } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import { type Link, MTU_MAX, NEIGHBOURS, NOBODY_IP } from '../rig/link.js';
import { eventually, sleep } from '../rig/program.js';
import { MAIN, Replicator } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  LAYOUTS,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  LISTEN_PORT,
  replicatedRoute,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('path');
const RATE = 20_000;
const SECONDS = 1;
/**
 * One feed is long: what comes with time, as counters that wrap or frames that leak, is seen there.
 */
const LONG_SECONDS = 4;
/**
 * Split shares cores on a small machine: to 16 it is lossless up to some 235,000 copies/s on two
 * (README).
 */
const sharesCores = (layout: string) => layout === 'split' && availableParallelism() < 4;
/** IPv4 and UDP headers. */
const HEADERS_SIZE = 28;

const copyMode = (layout: string, ...more: string[]) => [
  '--mode',
  'copy',
  '--layout',
  layout,
  ...more,
];

for (const layout of LAYOUTS)
  for (const queues of [1, 2]) {
    const name = `3 subscribers, then 16, get each packet once, in order and right: ${layout}, queues: ${queues}`;
    networkTest(test, name, { queues }, async (link) => {
      const flags = copyMode(layout, '--workers', String(queues));
      await withReplicator({ link, flags }, async (replicator) => {
        for (const subscribers of [3, 16]) {
          const destinations = subscribersOf(subscribers);
          await replicator.subscribe(destinations);
          const isLong = layout === 'inline' && queues === 1 && subscribers === 16;
          const rate = sharesCores(layout) && subscribers > 3 ? RATE / 2 : RATE;
          const count = rate * (isLong ? LONG_SECONDS : SECONDS);
          const sunk = await transfer(replicator, {
            subscribers: destinations,
            rate,
            count,
            flows: queues,
            otherTraffic: true,
          });
          await assertLossless(replicator, sunk);
          const [{ unsummed, received } = { unsummed: 0, received: 1 }] = sunk.subscribers;
          assert.is(unsummed, received, 'UDP checksums are 0 by default');
        }
        assertMeasured(await replicator.stats(), layout);
      });
    });
  }

/** The counters name what runs, and every stage of the path has been timed. */
function assertMeasured(stats: Stats, layout: string): void {
  assert.equal([stats.mode, stats.layout], ['copy', layout]);
  for (const { timed } of stats.workers) {
    const { commit, filter, gather, kick, receive, write } = timed.stages_ns;
    assert.ok(timed.bursts > 0 && timed.copies >= timed.bursts, JSON.stringify(timed));
    for (const ns of [commit, filter, gather, kick, write])
      assert.ok((ns ?? 0) > 0, JSON.stringify(timed));
    if (layout === 'inline') assert.ok((receive ?? 0) > 0, JSON.stringify(timed));
  }
  assert.is(stats.receivers.length, layout === 'split' ? 1 : 0);
  assert.ok(stats.receivers.every(({ timed }) => timed.frames > 0 && timed.receive_ns > 0));
}

for (const layout of LAYOUTS) {
  const largest = MTU_MAX - HEADERS_SIZE;
  networkTest(
    test,
    `payloads from 0 to the largest pass, longer ones count as too_big: ${layout}`,
    { queues: 1, mtu: MTU_MAX, netMtu: MTU_MAX + 4 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const all = subscribersOf(3);
        // One subscriber: the frame itself is sent on; three: it is copied.
        for (const subscribers of [all.slice(0, 1), all]) {
          await replicator.subscribe(subscribers);
          const before = await replicator.stats();
          // A veth end takes four bytes more than its MTU, for a VLAN tag: the last four sizes are
          // too long to go on.
          const sizes = `0-${largest + 4}`;
          const route = replicatedRoute(link);
          const sink = await startSink(route, { subscribers, sizes, expect: largest + 1 });
          await startFeed(route, {
            rate: 5000,
            count: largest + 5,
            sizes,
            checksum: 'unfilled',
          }).result();
          assert.equal(faultsOf(await sink.within(10_000), largest + 1), []);
          const { subscribers: after } = await replicator.stats();
          for (const row of after) {
            const already = before.subscribers.find(
              ({ ip, port }) => ip === row.ip && port === row.port,
            );
            const dropped = Object.entries(row.drops).filter(([, drops]) => drops > 0);
            assert.is(row.drops.too_big, (already?.drops.too_big ?? 0) + 4, JSON.stringify(row));
            assert.is(dropped.length, 1, `only too_big: ${JSON.stringify(row)}`);
          }
        }
        await replicator.check();
      });
    },
  );

  networkTest(
    test,
    `--udp-checksum full sends right checksums, whatever came in: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator(
        { link, flags: copyMode(layout, '--udp-checksum', 'full') },
        async (replicator) => {
          const subscribers = subscribersOf(3);
          await replicator.subscribe(subscribers);
          // odd and even, and short enough for every kind of header to come along
          const sizes = '0-99';
          for (const how of [{ checksum: 'unfilled' }, { checksum: 'full' }, { socket: true }]) {
            const sunk = await transfer(replicator, {
              subscribers,
              rate: 5000,
              count: 2000,
              sizes,
              ...(how as object),
            });
            await assertReceived(replicator, sunk);
            for (const { unsummed, ip, port } of sunk.subscribers)
              assert.is(
                unsummed,
                0,
                `${ip}:${port} got ${unsummed} packets without a UDP checksum`,
              );
          }
        },
      );
    },
  );

  networkTest(
    test,
    `--order fixed serves the first subscriber first, rotate all in turn: ${layout}`,
    { queues: 1 },
    async (link) => {
      for (const order of ['fixed', 'rotate']) {
        await withReplicator(
          { link, flags: copyMode(layout, '--order', order) },
          async (replicator) => {
            const subscribers = subscribersOf(3);
            await replicator.subscribe(subscribers);
            const count = 6000;
            const sunk = await transfer(replicator, { subscribers, rate: RATE, count });
            await assertLossless(replicator, sunk);
            const shares = sunk.subscribers.map(({ first }) => first / count);
            const wanted = order === 'fixed' ? [1, 0, 0] : [1 / 3, 1 / 3, 1 / 3];
            const error = Math.max(...shares.map((share, i) => Math.abs(share - (wanted[i] ?? 0))));
            // what is dropped on a loud machine is first nowhere
            const exact = order === 'fixed' ? 0 : 0.02;
            assert.ok(error <= (sunk.isLoud ? 0.2 : exact), `${order}: ${shares}`);
          },
        );
      }
    },
  );

  networkTest(
    test,
    `a dead neighbour costs nobody else a packet, and counts as no_neighbour: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const living = subscribersOf(3);
        await replicator.subscribe(living);
        await replicator.add({ ip: NOBODY_IP, port: 9101 });
        const isDead = ({ ip }: { readonly ip: string }) => ip === NOBODY_IP;
        const row = async () => (await replicator.list()).find(isDead);
        const account = async () => (await replicator.stats()).subscribers.find(isDead);
        const dropped = async () => (await account())?.drops.no_neighbour ?? 0;
        const sunk = await transfer(replicator, {
          subscribers: living,
          rate: RATE,
          count: RATE,
          meanwhile: async () => {
            // the kernel is asked to reach it for three seconds before
            await eventually('it is given up', async () => (await row())?.state === 'unresolved');
            const before = await dropped();
            await eventually('all is dropped', async () => (await dropped()) > before + RATE / 2);
          },
        });
        await assertReceived(replicator, sunk);
        assert.is((await account())?.received, (await replicator.stats()).feed.received);
        assert.is((await row())?.mac, null);
        await replicator.check();
      });
    },
  );

  networkTest(
    test,
    `a neighbour that comes to life is sent to, and then directly: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const late = { ip: NOBODY_IP, port: 9101 };
        await replicator.add(late);
        await sleep(200);
        link.ip('net', 'addr', 'add', `${NOBODY_IP}/24`, 'dev', 'net0');
        await replicator.subscribe([late]);
        const sunk = await transfer(replicator, { subscribers: [late], rate: RATE, count: 2000 });
        await assertReceived(replicator, sunk);
      });
    },
  );

  networkTest(
    test,
    `a subscriber off the subnet gets frames for its gateway: ${layout}`,
    { queues: 1 },
    async (link) => {
      const [gateway] = NEIGHBOURS;
      assert.ok(gateway);
      link.ip('replicator', 'route', 'add', '10.78.0.0/24', 'via', gateway.ip);
      const far = { ip: '10.78.0.5', port: 9101, mac: gateway.mac };
      const flags = copyMode(layout, '--allow', '10.77.0.0/24', '--allow', '10.78.0.0/24');
      await withReplicator({ link, flags }, async (replicator) => {
        const subscribers = [...subscribersOf(2), far];
        await replicator.subscribe(subscribers);
        const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 4000 });
        await assertLossless(replicator, sunk);
      });
    },
  );
}

// ---- Processes that die ----

/** Traffic comes back with nothing twice, out of order or wrong; what the outage lost is lost. */
async function survives(
  link: Link,
  layout: string,
  kill: (replicator: Replicator) => Promise<void>,
): Promise<void> {
  await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
    const subscribers = subscribersOf(3);
    await replicator.subscribe(subscribers);
    let sentBefore = 0;
    const sentLeast = async () => {
      const rows = (await replicator.stats()).subscribers;
      return Math.min(...rows.map(({ sent }) => sent));
    };
    const sunk = await transfer(replicator, {
      subscribers: [],
      watched: subscribers,
      rate: RATE,
      count: RATE,
      meanwhile: async () => {
        await eventually('traffic flows', async () => (await sentLeast()) > RATE / 4);
        await kill(replicator);
        sentBefore = await sentLeast();
        await eventually(
          'traffic is back',
          async () => (await sentLeast()) > sentBefore + RATE / 4,
        );
      },
    });
    for (const seen of sunk.subscribers) {
      const { ip, port, received, duplicated, reordered, corrupt, bad_checksum, bad_header } = seen;
      const wrong = [duplicated, reordered, corrupt, bad_checksum, bad_header];
      assert.equal(wrong, [0, 0, 0, 0, 0], `${ip}:${port} ${JSON.stringify(seen)}`);
      assert.ok(received > RATE / 2, `${ip}:${port} received ${received} of ${sunk.sent}`);
    }
    // A second run, now that all is well again: nothing may be missing.
    const again = await transfer(replicator, { subscribers, rate: RATE, count: 4000 });
    await assertReceived(replicator, again);
    await replicator.check();
  });
}

for (const layout of LAYOUTS) {
  networkTest(
    test,
    `a worker that is killed is replaced and traffic comes back: ${layout}`,
    { queues: 1 },
    async (link) => {
      await survives(link, layout, async (replicator) => {
        const pid = (await replicator.stats()).workers[0]?.pid ?? 0;
        assert.ok(pid > 1);
        process.kill(pid, 'SIGKILL');
        await eventually('the worker is replaced', async () => {
          const [worker] = (await replicator.stats()).workers;
          return worker !== undefined && worker.pid !== pid && worker.restarts === 1;
        });
      });
    },
  );

  for (const [how, signal] of [
    ['killed', 'SIGKILL'],
    ['stopped', 'SIGSTOP'],
  ] as const)
    networkTest(
      test,
      `a receiver that is ${how} is replaced and traffic comes back: ${layout}`,
      { queues: 1 },
      async (link) => {
        await survives(link, layout, async (replicator) => {
          const { pid } = replicator.receiver();
          process.kill(pid, signal);
          await eventually('the receiver is replaced', () => {
            return replicator
              .processes()
              .some((one) => /fantail-rx/.test(one.command) && one.pid !== pid);
          });
        });
      },
    );

  for (const [how, end] of [
    ['SIGTERM', (replicator: Replicator) => replicator.stop('SIGTERM')],
    ['SIGINT', (replicator: Replicator) => replicator.stop('SIGINT')],
    ['Ctrl-C in a terminal', (replicator: Replicator) => replicator.interrupt()],
  ] as const)
    networkTest(
      test,
      `${how} under traffic ends with status 0 and leaves nothing behind: ${layout}`,
      { queues: 2 },
      async (link) => {
        const replicator = await Replicator.start({
          link,
          flags: copyMode(layout, '--workers', '2'),
        });
        try {
          assert.is.not(link.xdpProgram(), null);
          await replicator.subscribe(subscribersOf(3));
          const feed = startFeed(replicatedRoute(link), { rate: RATE, count: RATE * 300 });
          await eventually('traffic flows', async () => {
            return (await replicator.stats()).feed.received > 1000;
          });
          assert.equal(await end(replicator), { status: 0, signal: null }, replicator.told());
          assert.equal(await replicator.residue(), []);
          await feed.stop();
        } finally {
          replicator.close();
        }
      },
    );
}

// ---- The control channel as users have it ----

networkTest(
  test,
  'wscat adds a subscriber, typed and in JSON, that then receives',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline'), inside: true }, async (replicator) => {
      const [typed, json] = subscribersOf(3) as [Destination, Destination];
      await replicator.wscat(`add ${typed.ip} ${typed.port}`, /^ok /m);
      const request = { id: 1, op: 'add', ip: json.ip, port: json.port };
      await replicator.wscat(JSON.stringify(request), /\{"id":1,"ok":true/);
      await replicator.wscat('list', new RegExp(`${typed.ip}.*${typed.port}`));
      await eventually('both are live', async () => {
        return (await replicator.list()).filter(({ state }) => state === 'live').length === 2;
      });
      const sunk = await transfer(replicator, {
        subscribers: [typed, json],
        rate: RATE,
        count: 4000,
      });
      await assertLossless(replicator, sunk);
    });
  },
);

networkTest(
  test,
  'the commands of the CLI drive it: add, list, stats, remove, send',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline'), inside: true }, async (replicator) => {
      const [one, other] = subscribersOf(2) as [Destination, Destination];
      await replicator.cli('add', one.ip, String(one.port));
      await replicator.cli('add', other.ip, String(other.port));
      await replicator.cli('remove', other.ip, String(other.port));
      assert.match(await replicator.cli('list'), new RegExp(`${one.ip}\\s+${one.port}`));
      const send = link.start('net', process.execPath, [
        MAIN,
        'send',
        '10.77.0.1',
        String(LISTEN_PORT),
        '50',
      ]);
      assert.is((await send.wait()).status, 0, send.told());
      await eventually('50 packets were sent on', async () => {
        const { subscribers } = await replicator.stats();
        return subscribers.length === 1 && subscribers[0]?.sent === 50;
      });
      assert.match(await replicator.cli('stats'), /50/);
      await replicator.cli('stats', '--check');
    });
  },
);

test.run();
