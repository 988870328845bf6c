/**
 * What is not the feed stays the kernel's: frames of every other kind pass, each counted under the
 * name of why, and no frame of the feed draws an ICMP error, even where it is not replicated.
 *
 * needs: a link
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import {
  assertLossless,
  LAYOUTS,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import {
  faultsOf,
  LISTEN_PORT,
  replicatedRoute,
  startEcho,
  startFeed,
  startProbe,
  startSink,
} from '../rig/wire.js';

const test = suite('passthrough');
/** So few that a ring takes them all, however late whoever reads it is. */
const COUNT = 2000;
const RATE = 10_000;
/** One malformed frame behind every hundredth good one. */
const EVERY = 100;

/**
 * What wire-feed can spoil, and the counter in which each must end: of the XDP program, or of the
 * receiver. Those that a socket would have received are received.
 */
const RECEIVED = ['ip-options'];
const XDP_NAMES = {
  vlan: 'vlan',
  'ip-options': 'ip_options',
  fragment: 'fragment',
  short: 'short',
  'not-udp': 'not_udp',
  'not-ipv4': 'not_ipv4',
  'other-port': 'other',
  'udp-length': 'udp_length',
} as const;
const RECEIVER_NAMES = {
  'ip-length': 'invalid_ip_length',
  'ip-checksum': 'invalid_checksum',
  'udp-checksum': 'invalid_udp_checksum',
} as const;

for (const layout of LAYOUTS)
  networkTest(
    test,
    `bad and foreign frames are counted by name and cost no good one: ${layout}`,
    { queues: 1 },
    async (link) => {
      const flags = ['--mode', 'copy', '--layout', layout];
      await withReplicator({ link, flags }, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        const route = replicatedRoute(link);
        for (const [extra, name] of [
          ...Object.entries(XDP_NAMES),
          ...Object.entries(RECEIVER_NAMES),
        ]) {
          const before = await replicator.stats();
          const sink = await startSink(route, { subscribers, expect: COUNT, lingerMs: 50 });
          await startFeed(route, { rate: RATE, count: COUNT, extra, extraEvery: EVERY }).result();
          // The kernel may well answer a protocol or port of nobody with ICMP: that is its own
          // affair.
          const again = RECEIVED.includes(extra) ? COUNT / EVERY : 0; // each is one sent before
          const faults = subscribers.map(({ ip, port }) => `${ip}:${port}: duplicated ${again}`);
          const found = faultsOf({ ...(await sink.within(10_000)), icmp_errors: 0 }, COUNT);
          // what comes by the kernel may overtake the packet that it repeats: between the two ways
          // there is no order
          const unordered = found.filter((fault) => again === 0 || !/: reordered \d+$/.test(fault));
          assert.equal(unordered, again === 0 ? [] : faults, extra);
          const counted = async () => {
            const { feed, xdp } = await replicator.stats();
            const [was, is] = name.startsWith('invalid')
              ? [before.feed.drops, feed.drops]
              : [before.xdp, xdp];
            return (is[name] ?? 0) - (was[name] ?? 0);
          };
          await eventually(`${extra} counts as ${name}`, async () => {
            return (await counted()) >= COUNT / EVERY;
          });
          // ARP and the like may come along in the names that mean "not for us".
          if (name !== 'not_ipv4' && name !== 'not_udp')
            assert.is(await counted(), COUNT / EVERY, `${extra} as ${name}`);
        }
        await replicator.check();
      });
    },
  );

networkTest(test, 'a feed without subscribers draws no ICMP error', { queues: 1 }, async (link) => {
  await withReplicator({ link, flags: ['--mode', 'copy'] }, async (replicator) => {
    const sunk = await transfer(replicator, {
      subscribers: [],
      watched: subscribersOf(1),
      rate: RATE,
      count: COUNT,
    });
    assert.is(sunk.icmp_errors, 0);
    assert.is((await replicator.stats()).feed.received, COUNT);
  });
});

networkTest(
  test,
  'a feed on a queue that nobody serves comes by the kernel and draws no ICMP error',
  { queues: 2 },
  async (link) => {
    await withReplicator(
      { link, flags: ['--mode', 'copy', '--queues', '0'] },
      async (replicator) => {
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        const route = replicatedRoute(link);
        const sink = await startSink(route, { subscribers, expect: COUNT });
        await startFeed(route, { rate: RATE, count: COUNT, queue: 1 }).result();
        assert.equal(faultsOf(await sink.within(10_000), COUNT), []);
        const stats = await replicator.stats();
        assert.equal([stats.feed.received, stats.feed.slow_path], [COUNT, COUNT]);
        // What is of no feed on that queue passes, whatever its name.
        assert.is(
          (stats.xdp.other ?? 0) + (stats.xdp.no_socket ?? 0),
          0,
          'a queue that is not served is not counted here',
        );
      },
    );
  },
);

networkTest(
  test,
  'ping, UDP and TCP pass both ways on every queue while idle',
  { queues: 2 },
  async (link) => {
    await withReplicator({ link, flags: ['--mode', 'copy'] }, async (replicator) => {
      const endpoint = `${REPLICATOR_IP}:${LISTEN_PORT + 1}`;
      const echo = await startEcho(link, 'replicator', endpoint);
      const answered = await startProbe(link, 'net', {
        endpoint,
        count: 100,
        intervalMs: 1,
      }).result();
      assert.equal(answered, { ping: 100, udp: 100, tcp: 100 });
      echo.close();
      const sunk = await transfer(replicator, {
        subscribers: [],
        watched: subscribersOf(1),
        rate: RATE,
        count: COUNT,
      });
      await assertLossless(replicator, { ...sunk, subscribers: [] });
    });
  },
);

test.run();
