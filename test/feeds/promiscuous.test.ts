/**
 * Feeds that are sent to another host, taken off the wire with --promiscuous: plain frames to
 * whatever host's MAC; what is not plain is counted and reaches nobody. What is sent to fantail's
 * own addresses is as it is without.
 *
 * needs: a link
 * takes: 90 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Link, REPLICATOR_IP } from '../rig/link.js';
import { compare, EVERY_KIND } from '../rig/plain-socket.js';
import { eventually } from '../rig/program.js';
import { fantail, Replicator, replicatorProcesses } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, subscribersOf, withReplicator } from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  LISTEN_PORT,
  type Route,
  replicatedRoute,
  type Sunk,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('promiscuous');
const RATE = 4000;
const COUNT = 1000;
const SETTLE_MS = 10_000;
/** Of a third party: no address, and no MAC, of either end of the link. */
const OTHER = { ip: '10.77.0.99', mac: '02:99:00:00:00:63' } as const;
const FLAG = '--promiscuous';
/** Every way to receive but socket mode. */
const XDP_RUNS = RUNS.filter(([name]) => !name.startsWith('socket'));

const routeTo = (link: Link, ip: string, mac: string): Route => {
  return { ...replicatedRoute(link), targetIp: ip, targetMac: mac };
};

/** What came to the subscribers of a feed along that route. */
async function sent(
  route: Route,
  subscribers: readonly Destination[],
  extra: Partial<Parameters<typeof startFeed>[1]> = {},
): Promise<Sunk> {
  const sourcePort = extra.port ?? LISTEN_PORT;
  const sink = await startSink({ ...route, sourcePort }, { subscribers, expect: COUNT });
  await startFeed(route, { rate: RATE, count: COUNT, ...extra }).result();
  return sink.within(SETTLE_MS);
}

/** Nothing of so many came: what did not arrive is no loss of the link's. */
async function assertNothing(
  replicator: Replicator,
  route: Route,
  { extra = {}, verdict }: { extra?: Parameters<typeof sent>[2]; verdict: string },
): Promise<void> {
  const before = await replicator.stats();
  await startFeed(route, { rate: RATE, count: COUNT, ...extra }).result();
  const counted = async () => (await replicator.stats()).xdp[verdict] ?? 0;
  await eventually(`all are counted as ${verdict}`, async () => {
    return (await counted()) === (before.xdp[verdict] ?? 0) + COUNT;
  });
  const after = await replicator.stats();
  assert.equal(
    after.feeds.map(({ received, slow_path }) => [received, slow_path]),
    before.feeds.map(({ received, slow_path }) => [received, slow_path]),
  );
}

for (const [name, flags] of XDP_RUNS)
  networkTest(
    test,
    `what is sent to a third party is replicated, whatever host's MAC it has: ${name}`,
    { queues: 1 },
    async (link) => {
      const options = { link, flags: [...flags, FLAG], listenIp: OTHER.ip };
      const subscribers = subscribersOf(3);
      await withReplicator(options, async (replicator) => {
        await replicator.subscribe(subscribers);
        for (const mac of [OTHER.mac, link.replicatorMac, link.netMac]) {
          const came = await sent(routeTo(link, OTHER.ip, mac), subscribers);
          assert.equal(faultsOf(came, COUNT), [], link.drops().join());
        }
        // a group's MAC is no host's; options are for the kernel, which is not who it is sent to
        const toGroup = routeTo(link, OTHER.ip, '01:00:5e:4d:00:63');
        await assertNothing(replicator, toGroup, { verdict: 'foreign_mac' });
        const unusual = { extra: { unusualEvery: 1 }, verdict: 'ip_options' };
        await assertNothing(replicator, routeTo(link, OTHER.ip, OTHER.mac), unusual);
        const [main] = (await replicator.stats()).feeds;
        assert.equal([main?.of_another_host, main?.received], [true, 3 * COUNT]);
        assert.match(await replicator.cli('stats'), /of another host: plain frames only/);
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'feeds of --feed and of feed add may be of another host, which may be or become this one',
  { queues: 1 },
  async (link) => {
    const flags = [...copyMode('inline'), FLAG, '--feed', `b=${OTHER.ip}:9100`];
    await withReplicator({ link, flags }, async (replicator) => {
      const [to] = subscribersOf(1) as [Destination];
      const third = { name: 'c', ip: '10.99.0.1', port: 9101 };
      await replicator.change({ op: 'feed.add', ...third });
      await replicator.cli('add', to.ip, String(to.port), '--feed', 'all');
      for (const [ip, port] of [
        [OTHER.ip, 9100],
        [third.ip, third.port],
      ] as const) {
        const came = await sent(routeTo(link, ip, OTHER.mac), [to], { port });
        assert.equal(faultsOf(came, COUNT), [], `${ip}:${port}`);
      }
      assert.equal(
        (await replicator.stats()).feeds.map(({ name, of_another_host: is }) => [name, is]),
        [
          ['main', false],
          ['b', true],
          ['c', true],
        ],
      );
      await replicator.ask({ op: 'add', ip: OTHER.ip, port: 9100 }).then(
        () => assert.unreachable('a feed is no subscriber'),
        (error: Error) => assert.match(error.message, /is the feed b itself/),
      );
      link.ip('replicator', 'addr', 'add', `${OTHER.ip}/32`, 'dev', 'rep0');
      await eventually('it is an address of this host', async () => {
        return (await replicator.stats()).feeds[1]?.of_another_host === false;
      });
      const verdict = 'foreign_mac';
      const extra = { port: 9100 };
      await assertNothing(replicator, routeTo(link, OTHER.ip, OTHER.mac), { extra, verdict });
      // by AF_XDP, then by the kernel, which delivers it now
      for (const unusual of [{}, { unusualEvery: 1 }]) {
        const route = { ...routeTo(link, OTHER.ip, link.replicatorMac), sourceIp: REPLICATOR_IP };
        const came = await sent(route, [to], { port: 9100, ...unusual });
        assert.equal(faultsOf(came, COUNT), []);
      }
      await replicator.check();
    });
  },
);

for (const [name, flags] of XDP_RUNS)
  networkTest(
    test,
    `at its own address a subscriber receives what a socket would, as ever: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: [...flags, FLAG] }, (replicator) =>
        compare(
          replicator,
          { mac: link.replicatorMac, ip: REPLICATOR_IP, port: LISTEN_PORT },
          EVERY_KIND,
        ),
      );
    },
  );

networkTest(
  test,
  'without the flag the address of a third party is refused, with the line that mends it; so is socket mode with it',
  { queues: 1 },
  async (link) => {
    const up = ['up', 'rep0', OTHER.ip, String(LISTEN_PORT)];
    const refused = await fantail([...up, '--mode', 'copy'], link.replicator);
    assert.is(refused.end?.status, 1, refused.told());
    assert.match(refused.stderr, /10\.77\.0\.99 is neither .*start fantail up --promiscuous$/m);
    const socket = await fantail([...up, '--mode', 'socket', FLAG], link.replicator);
    assert.is(socket.end?.status, 1, socket.told());
    assert.match(socket.stderr, /--promiscuous is not possible on rep0: in socket mode/);
    const loopback = await fantail(['up', 'lo', '127.0.0.1', '9000', FLAG], link.replicator);
    assert.match(loopback.stderr, /--promiscuous is not possible on lo: a loopback/);
    await withReplicator({ link, flags: copyMode('inline'), inside: true }, async (replicator) => {
      assert.is(link.promiscuity(), 0);
      await replicator.wscat(
        `feed add b ${OTHER.ip}:9100`,
        /error BAD_ADDRESS .*start fantail up --promiscuous/,
      );
    });
  },
);

networkTest(
  test,
  'the interface is promiscuous until the last process has gone, whoever dies before',
  { queues: 1 },
  async (link) => {
    assert.is(link.promiscuity(), 0);
    const options = { link, flags: [...copyMode('split'), FLAG], listenIp: OTHER.ip };
    await withReplicator(options, async () => assert.is(link.promiscuity(), 1));
    assert.is(link.promiscuity(), 0, 'a stop ends it');
    const first = await Replicator.start(options);
    const [to] = subscribersOf(1) as [Destination];
    await first.subscribe([to]);
    const serves = async (why: string) => {
      assert.is(link.promiscuity(), 1, why);
      const came = await sent(routeTo(link, OTHER.ip, OTHER.mac), [to]);
      assert.equal(faultsOf(came, COUNT), [], why);
    };
    const { pid: killed } = first.receiver();
    process.kill(killed, 'SIGKILL');
    await eventually('fantail-rx is replaced', () => {
      const receivers = first.processes().filter(({ command }) => /fantail-rx/.test(command));
      return receivers.length === 1 && receivers[0]?.pid !== killed;
    });
    await serves('by a successor of fantail-rx');
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    await serves('without a supervisor');
    const differs = await Replicator.start({ ...options, flags: copyMode('split') }).then(
      () => '',
      (error: Error) => error.message,
    );
    assert.match(differs, /--promiscuous on, not off/);
    const second = await Replicator.start(options);
    try {
      await serves('adopted');
      for (const { pid } of replicatorProcesses()) process.kill(pid, 'SIGKILL');
      await eventually('it is as it was', () => link.promiscuity() === 0);
    } finally {
      second.close();
      first.close();
    }
  },
);

test.run();
