/**
 * The wire tools against each other, without a replicator: what the sink passes is right, and each
 * way in which a replicator could go wrong is seen. Every test of the data path stands on this.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FEED_IP, Link, MTU_MAX, REPLICATOR_IP } from '../rig/link.js';
import { lackForNetwork, run } from '../rig/program.js';
import { networkTest } from '../rig/scenario.js';
import {
  FEED_PORT,
  type FeedOptions,
  faultsOf,
  LISTEN_PORT,
  type Route,
  type SinkOptions,
  type Sunk,
  startEcho,
  startFeed,
  startForeignXdp,
  startProbe,
  startSink,
} from '../rig/wire.js';

const test = suite('wire tools');
const DESTINATION = { ip: REPLICATOR_IP, port: LISTEN_PORT };

/** Feed on net0, sink on rep0, nothing between them but the link. */
function directRoute(link: Link): Route {
  return {
    start: (side, command, args) =>
      link.start(side === 'feed' ? 'net' : 'replicator', command, args),
    feedInterface: 'net0',
    sinkInterface: 'rep0',
    feedIp: FEED_IP,
    targetMac: link.replicatorMac,
    targetIp: REPLICATOR_IP,
    sourceMacs: [link.netMac],
    sourceIp: FEED_IP,
    sourcePort: FEED_PORT,
  };
}

async function transfer(
  link: Link,
  feed: FeedOptions,
  sink: Partial<SinkOptions> = {},
): Promise<Sunk> {
  const route = directRoute(link);
  const sizes = feed.sizes === undefined ? {} : { sizes: feed.sizes };
  const tool = await startSink(route, {
    subscribers: [DESTINATION],
    expect: feed.count,
    ...sizes,
    ...sink,
  });
  const fed = await startFeed(route, feed).result();
  assert.is(fed.sent, feed.count);
  return tool.within(300);
}

networkTest(
  test,
  'feed and sink keep pace with 200,000 packets a second',
  { queues: 1 },
  async (link) => {
    const sunk = await transfer(link, { rate: 200_000, count: 200_000 });
    assert.equal(faultsOf(sunk, 200_000), []);
  },
);

test('what still runs on a link ends with it, as in a test that has failed', async () => {
  const lack = lackForNetwork();
  if (lack !== null) {
    console.log(`skip: ${lack}`);
    return;
  }
  const link = new Link({ queues: 1 });
  const { program } = await startSink(directRoute(link), { subscribers: [DESTINATION] });
  link.close();
  assert.is((await program.wait()).signal, 'SIGKILL');
});

networkTest(
  test,
  'every payload size passes, from 0 to the largest',
  { queues: 1, mtu: MTU_MAX },
  async (link) => {
    const sizes = `0-${MTU_MAX - 28}`;
    const count = MTU_MAX - 27;
    const sunk = await transfer(link, { rate: 10_000, count, sizes, checksum: 'full' });
    assert.equal(faultsOf(sunk, count), []);
  },
);

networkTest(
  test,
  'a datagram of an ordinary socket passes, with its checksum left unfilled',
  { queues: 1 },
  async (link) => {
    const sunk = await transfer(link, { rate: 10_000, count: 1000, socket: true });
    assert.equal(faultsOf(sunk, 1000), []);
  },
);

/** Of 1000 packets every hundredth is spoilt; the sink must say so under this name and no other. */
const FAULTS: Readonly<Record<string, Partial<Record<keyof Sunk['subscribers'][0], number>>>> = {
  duplicate: { received: 1000, duplicated: 10 },
  reorder: { received: 1000, reordered: 9 }, // the last one has no successor that could overtake it
  lose: { received: 990, lost: 10 },
  corrupt: { received: 990, lost: 10, corrupt: 10 },
  truncate: { received: 990, lost: 10, corrupt: 10 },
  'ip-checksum': { received: 1000, bad_checksum: 10 },
  'udp-checksum': { received: 1000, bad_checksum: 10 },
  ttl: { received: 1000, bad_header: 10 },
  fragmentable: { received: 1000, bad_header: 10 },
  'source-port': { received: 1000, bad_header: 10 },
  'source-mac': { received: 1000, bad_header: 10 },
  'target-mac': { received: 1000, bad_header: 10 },
};

networkTest(
  test,
  'each fault of a copy is seen under its own name',
  { queues: 1 },
  async (link) => {
    const clean = {
      duplicated: 0,
      reordered: 0,
      lost: 0,
      corrupt: 0,
      bad_checksum: 0,
      bad_header: 0,
    };
    for (const [fault, wanted] of Object.entries(FAULTS)) {
      const sunk = await transfer(
        link,
        { rate: 20_000, count: 1000, fault, faultEvery: 100 },
        { lingerMs: 50 },
      );
      assert.is(sunk.subscribers.length, 1);
      for (const {
        latency_ns: _,
        unsummed: __,
        identified: _____,
        first: ___,
        tos: ____,
        ...seen
      } of sunk.subscribers)
        assert.equal(seen, { ...DESTINATION, ...clean, ...wanted }, fault);
    }
  },
);

networkTest(
  test,
  'a wrong seed is corruption, and a copy to a stranger is unexpected',
  { queues: 1 },
  async (link) => {
    const other = await transfer(link, { rate: 20_000, count: 100, seed: 7 }, { lingerMs: 50 });
    assert.is(other.subscribers[0]?.corrupt, 100);
    const strange = await transfer(
      link,
      { rate: 20_000, count: 100, port: LISTEN_PORT + 1 },
      { lingerMs: 50 },
    );
    assert.is(strange.unexpected, 100);
    assert.is(strange.subscribers[0]?.lost, 100);
  },
);

networkTest(
  test,
  'two flows are told apart, and each is sent on the queue asked for',
  { queues: 2 },
  async (link) => {
    // veth counts per queue only with an XDP program
    const foreign = await startForeignXdp(link, 'link');
    const route = directRoute(link);
    const sink = await startSink(route, { subscribers: [DESTINATION], expect: 3000, flows: 2 });
    const feeds = [0, 1].map((flow) =>
      startFeed(route, { rate: 10_000, count: 3000, flow, queue: flow, sourcePort: FEED_PORT }),
    );
    await Promise.all(feeds.map((feed) => feed.result()));
    assert.equal(faultsOf(await sink.within(500), 6000), []);
    const counters = run('ip', ['netns', 'exec', link.replicator, 'ethtool', '-S', 'rep0']);
    for (const queue of [0, 1]) {
      const packets = Number(
        new RegExp(`rx_queue_${queue}_xdp_packets: (\\d+)`).exec(counters)?.[1],
      );
      assert.ok(packets >= 3000 && packets < 3100, `queue ${queue} had ${packets} of 3000 packets`);
    }
    foreign.program.close();
  },
);

networkTest(
  test,
  'the probe hears ping, UDP echo and TCP echo, and misses an echo that is gone',
  { queues: 1 },
  async (link) => {
    const echo = await startEcho(link, 'replicator', `${REPLICATOR_IP}:7100`);
    const options = { endpoint: `${REPLICATOR_IP}:7100`, count: 5, intervalMs: 1 };
    assert.equal(await startProbe(link, 'net', options).result(), { ping: 5, udp: 5, tcp: 5 });
    echo.close();
    await echo.wait();
    const gone = startProbe(link, 'net', options).program;
    assert.is((await gone.wait()).status, 1);
    assert.match(gone.stderr, 'connect to the echo: Connection refused');
  },
);

networkTest(
  test,
  'a foreign XDP program is put on rep0 in either way, and found there',
  { queues: 1 },
  async (link) => {
    for (const how of ['netlink', 'link'] as const) {
      const { program, id } = await startForeignXdp(link, how);
      assert.is(link.xdpProgram(), String(id));
      program.signal('SIGTERM');
      await program.wait();
      if (how === 'netlink') link.ip('replicator', 'link', 'set', 'dev', 'rep0', 'xdp', 'off');
      assert.is(link.xdpProgram(), null);
    }
  },
);

test.run();
