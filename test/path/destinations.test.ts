/**
 * Whom the data path sends to, in copy mode over a real link: payloads of every size, checksums,
 * neighbours that are dead, come to life or are gateways, a full table, and subscribers that came
 * by wscat or the CLI. At rates that leave a busy machine time; path.test.ts has the others.
 *
 * needs: a link
 * takes: 80 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filterFile } from '../../src/domain/installation.js';
import { limits } from '../../src/memory/layout.js';
import { FEED_IP, MTU_MAX, NEIGHBOURS, NOBODY_IP } from '../rig/link.js';
import { Noise } from '../rig/noise.js';
import { eventually, MAIN, sleep } from '../rig/program.js';
import { type Replicator, replicatorProcesses } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  copyMode,
  LAYOUTS,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import {
  type Destination,
  FEED_PORT,
  faultsOf,
  LISTEN_PORT,
  replicatedRoute,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('destinations');
const RATE = 4000;
/** While something is waited for: the worker sleeps between two packets. */
const SLOW = 500;
/** IPv4 and UDP headers. */
const HEADERS_SIZE = 28;

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
            rate: RATE,
            count: largest + 5,
            sizes,
            checksum: 'full', // a kernel refuses a long one that is not filled in
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
              rate: RATE,
              count: 1000,
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
          rate: SLOW,
          count: SLOW,
          meanwhile: async () => {
            // the kernel is asked to reach it for three seconds before
            await eventually('it is given up', async () => (await row())?.state === 'unresolved');
            const before = await dropped();
            await eventually('all is dropped', async () => (await dropped()) > before + SLOW / 2);
          },
        });
        await assertReceived(replicator, sunk);
        assert.is((await account())?.received, (await replicator.stats()).feed.received);
        assert.is((await row())?.mac, null);
        await replicator.check();
      });
    },
  );

  for (const filter of ['rewrite', 'keep-source'])
    networkTest(
      test,
      `copies of ${filter} that wait for a neighbour leave as if sent directly: ${layout}`,
      { queues: 1 },
      async (link) => {
        const flags = copyMode(layout, '--filter', filterFile(`${filter}.wasm`));
        await withReplicator({ link, flags }, (replicator) => awaited(replicator, filter));
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
        const sunk = await transfer(replicator, { subscribers: [late], rate: RATE, count: 1000 });
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
        const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 1000 });
        await assertLossless(replicator, sunk);
      });
    },
  );
}

networkTest(
  test,
  'a table that is full takes another as soon as one has gone, and each is served',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const [first, second] = subscribersOf(2) as [Destination, Destination];
      await replicator.subscribe([first, second]);
      const others = Array.from({ length: limits.SUBSCRIBERS_MAX - 2 }, (_, index) => ({
        ip: first.ip,
        port: 20_000 + index,
      }));
      while (others.length > 0)
        // below the limit of 2000 requests a second
        await Promise.all([
          sleep(60),
          ...others.splice(0, 100).map((each) => replicator.add(each)),
        ]);
      await replicator
        .add({ ip: first.ip, port: 30_000 })
        .then(() => assert.unreachable())
        .catch((error) => assert.match(String(error), /TABLE_FULL/));
      for (let port = 30_000; port < 30_020; port++) {
        await replicator.remove({ ip: first.ip, port: port - 10_000 });
        await replicator.add({ ip: first.ip, port });
      }
      assert.is((await replicator.list()).length, limits.SUBSCRIBERS_MAX);
      await startFeed(replicatedRoute(link), { rate: 10, count: 5 }).result();
      await replicator.check();
    });
  },
);

/**
 * The kernel keeps the first copies of a neighbour that is not there yet, and sends them with the
 * same headers as those that follow; nothing is lost or reordered, and no ICMP error comes.
 */
async function awaited(replicator: Replicator, filter: string): Promise<void> {
  const { link } = replicator;
  const late = { ip: NOBODY_IP, port: 9101 };
  const count = SLOW / 2;
  const noise = new Noise(replicatorProcesses);
  const own = replicatedRoute(link);
  const from = filter === 'rewrite' ? {} : { sourceIp: FEED_IP, sourcePort: FEED_PORT };
  const sink = await startSink({ ...own, ...from }, { subscribers: [late], expect: count });
  const row = async () => (await replicator.stats()).subscribers[0];
  const state = async () => (await replicator.list())[0]?.state;
  await replicator.add(late);
  const feed = startFeed(own, { rate: SLOW / 5, count });
  await eventually('copies wait in the kernel', async () => ((await row())?.sent ?? 0) >= 50);
  assert.is(await state(), 'kernel');
  link.ip('net', 'addr', 'add', `${NOBODY_IP}/24`, 'dev', 'net0');
  await feed.result();
  const sunk = await sink.within(10_000);
  const isLoud = noise.isLoud();
  noise.end();
  // what waited lies in the backlog of one core, which others may keep from its work, while what
  // comes directly goes by another's
  const faults = faultsOf(sunk, count).filter((fault) => !isLoud || !/reordered/.test(fault));
  assert.equal(faults, []);
  const [seen] = sunk.subscribers;
  assert.equal([seen?.unsummed, seen?.identified, seen?.tos], [count, 0, { '0': count }]);
  assert.is(await state(), 'live');
  await replicator.check();
  // Ethernet, IP and UDP headers, and what the feed sends
  assert.is((await row())?.bytes, count * (14 + HEADERS_SIZE + 200));
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
        count: 1000,
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
