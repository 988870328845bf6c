/**
 * The data path in zero copy, on a card that does it: run in a guest (guest.ts), where eth0 is that
 * card and eth1 its peer. Nothing here measures: a guest is emulated, and slow. On a kernel whose
 * driver does no zero copy it is asked that fantail does without by itself; on one that is not the
 * newest, less. Words: which tests, by a regular expression, and `brief` for what .ci/run has time
 * for.
 */
import { release } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import { addon } from '../../src/memory/addon.js';
import { compare, versionOf } from '../../src/replicator/plan/driver-facts.js';
import { HOSTS, type Link, type LinkOptions, REPLICATOR_IP } from '../rig/link.js';
import { compare as compareWithSocket, EVERY_KIND } from '../rig/plain-socket.js';
import { eventually, run } from '../rig/program.js';
import { random } from '../rig/random.js';
import { fantail, Replicator } from '../rig/replicator.js';
import {
  assertReceived,
  flagsOf,
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
import { assertWell, soak } from '../soak/soak.js';
import { foreignHeader, writeForeignHeader } from './foreign-header.js';

const test = suite('zero copy');
console.log(`kernel ${release()}`);
/** Kernels from which on the drivers do zero copy, both ways. */
const ZERO_COPY_SINCE: Record<string, readonly number[]> = { virtio_net: [6, 13], igb: [6, 14] };
/** Where all is tried. */
const WHOLE_SINCE = [7];
const WIRE = { queues: 1, devices: ['eth0', 'eth1'] } as const;
const zeroCopy = flagsOf('zerocopy');
/** An emulated processor makes some hundred system calls in the time of each. */
const RATE = 100;
/** The largest payload of an MTU, below its IPv4 and UDP headers. */
const payloadOf = (mtu: number) => mtu - 28;
const KILLS = 20;
/** ARP and the like: what the kernel sends and receives beside us in one test. */
const KERNEL_FRAMES_MAX = 100;
/** Of source ports that differ in all their bits, so that a card hashes some to each queue. */
const FLOWS = 16;
/** Datagrams of one flow, more than what the kernel says meanwhile. */
const HASHED = 40;
const portOf = (flow: number) => 2000 + flow * 3967;

const kernel = versionOf(release());
const { driver } = addon.describeInterface(null, WIRE.devices[0]);
const hasZeroCopy = compare(kernel, ZERO_COPY_SINCE[driver] ?? [Number.POSITIVE_INFINITY]) >= 0;
/** The largest that every fantail offers, or that the driver's XDP takes. */
const LARGE_MTU: Record<string, number> = { virtio_net: 3498, igb: 3046 };
const isWhole = compare(kernel, WHOLE_SINCE) >= 0;
/** Each layout once, each MTU once, and no test that takes long to show what these show in part. */
const isBrief = process.argv[3] === 'brief';
const STARTS = isBrief ? 2 : isWhole ? 20 : 5;

/**
 * The socket that is compared with is behind a virtual link: that has no filter of groups as a card
 * has, and on 7.3.4 it takes no frame from 0.0.0.0 where virtio_net does (not looked into).
 */
const KINDS_HERE = EVERY_KIND.filter(
  ({ name }) => !/^(?:the MAC of a group|from 0\.0\.0\.0)/.test(name),
);

type Layout = (typeof LAYOUTS)[number];

/** Of the tests, those whose names it matches; absent: all. */
const only = new RegExp(process.argv[2] ?? '');

function testInGuest(
  name: string,
  options: LinkOptions,
  work: (link: Link) => Promise<void>,
): void {
  if (only.test(name)) networkTest(test, name, options, work);
}

/** Frames that the driver itself has counted, of all its queues. */
interface DriverCounts {
  readonly rx: number;
  readonly tx: number;
  /** Of rx, those that XDP redirected; null where the driver does not say. */
  readonly redirects: number | null;
}

function countsOfDriver({ replicator, interface: name }: Link): DriverCounts {
  const told = run('ip', ['netns', 'exec', replicator, 'ethtool', '-S', name]);
  const sumOf = (counter: string) => {
    const pattern = new RegExp(`^ *${counter.replace('N', '_?(?:queue_)?\\d+')}: (\\d+)$`, 'gm');
    const values = [...told.matchAll(pattern)].map(([, value]) => Number(value));
    return values.length === 0 ? null : values.reduce((total, value) => total + value, 0);
  };
  // virtio_net counts by queue what passes XDP and its sockets, others all that passes the queue
  const rx = sumOf('rxN_packets') ?? sumOf('rxN_xdp_packets');
  const tx = sumOf('txN_packets') ?? sumOf('txN_xdp_tx');
  if (rx === null || tx === null) throw new Error(`the driver counts no packets:\n${told}`);
  return { rx, tx, redirects: sumOf('rxN_xdp_redirects') };
}

/** What `stats` says came and left is what the driver says, but for frames of the kernel's own. */
function assertCountsAgree(
  [statsBefore, statsAfter]: readonly [Stats, Stats],
  [before, after]: readonly [DriverCounts, DriverCounts],
): void {
  const sent = ({ subscribers }: Stats) => subscribers.reduce((total, row) => total + row.sent, 0);
  const received = statsAfter.feed.received - statsBefore.feed.received;
  const beside = {
    rx: after.rx - before.rx - received,
    tx: after.tx - before.tx - (sent(statsAfter) - sent(statsBefore)),
  };
  for (const [way, frames] of Object.entries(beside))
    assert.ok(frames >= 0 && frames <= KERNEL_FRAMES_MAX, `${way}: ${JSON.stringify(beside)}`);
  if (before.redirects === null || after.redirects === null) return;
  assert.is(after.redirects - before.redirects, received);
}

/** Some packets, and each subscriber has each of them. */
async function assertServes(
  replicator: Replicator,
  subscribers: readonly Destination[],
): Promise<void> {
  const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 50 });
  try {
    await assertReceived(replicator, sunk);
  } catch (error) {
    // what left the card, and came to its peer, as their drivers say
    if (error instanceof Error) error.message += `\n${driversTell(replicator.link)}`;
    throw error;
  }
}

function driversTell({ replicator, net, interface: name }: Link): string {
  const ends = [
    [replicator, name],
    [net, 'net0'],
  ] as const;
  return ends
    .map(([namespace, device]) => {
      const told = run('ip', ['netns', 'exec', namespace, 'ethtool', '-S', device]);
      return `${device}:\n${told
        .split('\n')
        .filter((line) => !/: 0$/.test(line))
        .join('\n')}`;
    })
    .join('\n');
}

function testSizes(layout: Layout): void {
  const [small, large] = [1500, LARGE_MTU[driver] ?? 1500];
  const brief = layout === 'inline' ? [small] : [large];
  for (const mtu of isBrief ? brief : [small, large])
    testInGuest(
      `each packet of every size leaves once for each subscriber, byte for byte: ${layout}, MTU ${mtu}`,
      { ...WIRE, mtu },
      async (link) => {
        await withReplicator({ link, flags: zeroCopy(layout) }, async (replicator) => {
          const subscribers = subscribersOf(3);
          await replicator.subscribe(subscribers);
          const statsBefore = await replicator.stats();
          assert.is(statsBefore.mode, 'zerocopy', 'as the kernel tells of the bound socket');
          const driverBefore = countsOfDriver(link);
          const count = payloadOf(mtu) + 1;
          const sizes = `0-${payloadOf(mtu)}`;
          const sunk = await transfer(replicator, { subscribers, rate: RATE * 2, count, sizes });
          await assertReceived(replicator, sunk);
          await replicator.check();
          assertCountsAgree(
            [statsBefore, await replicator.stats()],
            [driverBefore, countsOfDriver(link)],
          );
        });
      },
    );
}

function testKills(layout: Layout): void {
  testInGuest(
    `${KILLS} kills, of every process, lose nothing and send nothing twice: ${layout}`,
    WIRE,
    async (link) => {
      const soaked = await soak({
        link,
        layout,
        mode: 'zerocopy',
        kills: KILLS,
        seconds: 3600,
        rate: RATE,
        subscribers: 3,
        events: false,
        random: random(`kills ${layout}`),
      });
      try {
        await assertWell(soaked);
        assert.is(soaked.ledger.kills.length, KILLS);
      } finally {
        for (const each of soaked.all) each.close();
      }
    },
  );
}

function testKinds(layout: Layout): void {
  testInGuest(
    `of ${KINDS_HERE.length} kinds of frame a subscriber receives what a socket would: ${layout}`,
    WIRE,
    async (link) => {
      await withReplicator({ link, flags: zeroCopy(layout) }, (replicator) =>
        compareWithSocket(
          replicator,
          { mac: link.replicatorMac, ip: REPLICATOR_IP, port: LISTEN_PORT },
          KINDS_HERE,
        ),
      );
    },
  );
}

function testStarts(layout: Layout): void {
  testInGuest(`${STARTS} starts of ${STARTS} receive: ${layout}`, WIRE, async (link) => {
    for (let start = 0; start < STARTS; start++)
      await withReplicator({ link, flags: zeroCopy(layout) }, async (replicator) => {
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        await assertServes(replicator, subscribers);
      });
  });
}

function testSwitchedOff(layout: Layout): void {
  testInGuest(
    `an interface that is switched off and on again under traffic serves on: ${layout}`,
    WIRE,
    async (link) => {
      await withReplicator({ link, flags: zeroCopy(layout) }, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        await assertServes(replicator, subscribers);
        for (let turn = 0; turn < 3; turn++) {
          await transfer(replicator, {
            subscribers: [],
            watched: subscribers,
            rate: RATE,
            count: RATE,
            meanwhile: async () => link.flap(),
          });
          await replicator.check();
          await assertServes(replicator, subscribers);
        }
      });
    },
  );
}

function testLaunchers(layout: Layout): void {
  testInGuest(
    `two launchers on two queues have each what the card hashes to theirs: ${layout}`,
    WIRE,
    async (link) => {
      const channels = run('ip', [
        ...['netns', 'exec', link.replicator, 'ethtool', '-l', link.interface],
      ]);
      const combined = Number(/^Combined:\s+(\d+)/gm.exec(channels.split('Current')[1] ?? '')?.[1]);
      if (!(combined >= 2)) {
        console.log('skip: this card has one queue');
        return;
      }
      await assertTwoLaunchersServe(link, layout);
    },
  );
}

/** The card's hash takes ports in, too. */
function hashPorts(link: Link): void {
  run('ip', [
    ...['netns', 'exec', link.replicator, 'ethtool', '-N', link.interface],
    ...['rx-flow-hash', 'udp4', 'sdfn'],
  ]);
}

async function assertTwoLaunchersServe(link: Link, layout: string): Promise<void> {
  hashPorts(link); // all flows have the same addresses
  const started: Replicator[] = [];
  try {
    for (const queue of [0, 1])
      started.push(
        await Replicator.start({ link, flags: zeroCopy(layout, '--queues', String(queue)) }),
      );
    const [subscriber] = subscribersOf(1);
    assert.ok(subscriber !== undefined);
    for (const one of started) await one.subscribe([subscriber]);
    const receivedByEach = () =>
      Promise.all(started.map(async (o) => (await o.stats()).feed.received));
    const route = replicatedRoute(link);
    const count = 50;
    for (let flow = 0; flow < FLOWS; flow++) {
      const sink = await startSink(route, { subscribers: [subscriber], expect: count });
      await startFeed(route, { rate: RATE, count, sourcePort: portOf(flow) }).result();
      assert.equal(faultsOf(await sink.within(10_000), count), [], `flow ${flow}`);
    }
    const received = await receivedByEach();
    assert.is(
      received.reduce((sum, each) => sum + each),
      count * FLOWS,
    );
    assert.ok(
      received.every((each) => each > 0),
      `each has had its part: ${received}`,
    );
    for (const one of started) await one.cli('stats', '--check');
    for (const one of started)
      assert.equal(await one.stop(), { status: 0, signal: null }, one.told());
  } catch (error) {
    if (error instanceof Error)
      error.message += started.map((one) => `\n--- ${one.told()}`).join('');
    throw error;
  } finally {
    for (const one of started) one.close();
  }
}

/** Of a batch for the card to cut apart (GSO), whose headers are longer than any frame. */
const BAD_HEADER = new Uint8Array(12).fill(0xff);

/** The row of the driver facts for which `auto` passes this driver over. */
function testForeignHeader(): void {
  testInGuest(
    'virtio_net as a module takes the header of what it sends in zero copy from memory of others',
    WIRE,
    async (link) => {
      const address = foreignHeader();
      assert.ok(address !== null, 'the driver has its header elsewhere: the row may go');
      await withReplicator({ link, flags: zeroCopy('inline') }, async (replicator) => {
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        await assertServes(replicator, subscribers);
        const before = await replicator.stats();
        writeForeignHeader(address, BAD_HEADER);
        const lost = await transfer(replicator, {
          ...{ subscribers: [], watched: subscribers },
          ...{ rate: RATE, count: 50 },
        });
        writeForeignHeader(address, new Uint8Array(BAD_HEADER.length));
        const after = await replicator.stats();
        assert.is(lost.subscribers[0]?.received, 0, 'the card refuses each');
        assert.is((after.subscribers[0]?.sent ?? 0) - (before.subscribers[0]?.sent ?? 0), 50);
        await assertServes(replicator, subscribers);
      });
    },
  );
}

/** Frames by RX queue, as igb counts them: anew every two seconds. */
function framesByQueue({ replicator, interface: name }: Link): number[] {
  const told = run('ip', ['netns', 'exec', replicator, 'ethtool', '-S', name]);
  return [...told.matchAll(/^ *rx_queue_\d+_packets: (\d+)$/gm)].map(([, count]) => Number(count));
}

// of two queues, as virtio_net has them here, the host's side decides
if (driver === 'igb')
  testInGuest('doctor tells the queue that the card hashes a flow to', WIRE, async (link) => {
    for (const [flow, ip] of HOSTS.entries()) {
      // by addresses alone first, then by ports, too
      if (flow === HOSTS.length / 2) hashPorts(link);
      const port = portOf(flow);
      const words = `doctor rep0 ${REPLICATOR_IP} ${LISTEN_PORT} --queues 1 --source ${ip}:${port} --json`;
      const { stdout } = await fantail(words.split(' '), link.replicator);
      const said = /"queue_unserved"/.test(stdout) ? 0 : 1;
      const before = framesByQueue(link);
      assert.is(before.length, 2);
      const script = `const s = require('node:dgram').createSocket('udp4'); let n = 0;
        const send = () => n++ < ${HASHED} ? s.send('x', ${LISTEN_PORT}, '${REPLICATOR_IP}', send) : s.close();
        s.bind(${port}, '${ip}', send);`;
      const sender = link.start('net', process.execPath, ['-e', script]);
      assert.is((await sender.wait()).status, 0, sender.told());
      const rise = () => framesByQueue(link).map((count, queue) => count - (before[queue] ?? 0));
      const total = () => rise().reduce((sum, each) => sum + each, 0);
      await eventually('the driver has counted them', () => total() >= HASHED);
      const [queue = -1] = [0, 1].filter((each) => (rise()[each] ?? 0) >= HASHED);
      assert.is(queue, said, `${ip}: ${rise()}`);
    }
  });

if (!hasZeroCopy)
  testInGuest(
    'a driver without zero copy: it is done without, and said why',
    WIRE,
    async (link) => {
      await withReplicator({ link, flags: [] }, async (replicator) => {
        const { mode, fallbacks } = await replicator.stats();
        assert.is(mode, 'copy');
        assert.equal(
          fallbacks.map((each) => each.mode),
          ['zerocopy'],
        );
        assert.match(fallbacks[0]?.reason ?? '', /\S/);
        console.log(`without zero copy: ${fallbacks[0]?.reason}`);
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        await assertServes(replicator, subscribers);
      });
    },
  );
else {
  if (driver === 'virtio_net') testForeignHeader();
  for (const layout of LAYOUTS) {
    testSizes(layout);
    if (!isBrief || layout === 'inline') testStarts(layout);
    if (!isWhole || isBrief) continue;
    testKinds(layout);
    testKills(layout);
    testSwitchedOff(layout);
    testLaunchers(layout);
  }
}

test.run();
