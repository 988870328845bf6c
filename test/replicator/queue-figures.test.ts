/**
 * Goal: `stats --queues` tells what the driver of the interface counts of XDP, since the start, and
 * it agrees with what we count. Method: a feed over a veth link, whose driver counts each frame
 * that its XDP program has seen, and the same by `ethtool -S`.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Counts } from '../../src/domain/counts.js';
import type { Stats } from '../../src/domain/statistics.js';
import { queuesText } from '../../src/terminal/queues.js';
import type { Link } from '../rig/link.js';
import { emptyStats } from '../rig/memory-replicator.js';
import { run } from '../rig/program.js';
import { fantail, Replicator } from '../rig/replicator.js';
import { copyMode, feedAll, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';

const test = suite('queue figures');
const COUNT = 300;

const feed = (replicator: Replicator) => feedAll(replicator, { rate: 2000, count: COUNT });

/** One figure as ethtool prints it. */
function told({ replicator }: Link, name: string): number {
  const text = run('ip', ['netns', 'exec', replicator, 'ethtool', '-S', 'rep0']);
  return Number(new RegExp(`^ *${name}: (\\d+)$`, 'm').exec(text)?.[1]);
}

async function askDriver(replicator: Replicator): Promise<NonNullable<Stats['driver']>> {
  const stats = JSON.parse(await replicator.cli('stats', '--queues', '--json')) as Stats;
  assert.ok(stats.driver, 'there is a driver');
  return stats.driver;
}

networkTest(
  test,
  "the driver's figures since the start are those of ethtool, less what was there, and ours agree",
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      await replicator.subscribe(subscribersOf(2));
      await feed(replicator);
    });
    const before = told(link, 'rx_queue_0_xdp_redirect');
    assert.ok(before >= COUNT, 'an earlier replicator has left its figures');
    await withReplicator({ link, flags: copyMode('inline'), inside: true }, async (replicator) => {
      await replicator.subscribe(subscribersOf(2));
      await feed(replicator);
      const driver = await askDriver(replicator);
      assert.is(driver.name, 'veth');
      const [row, ...more] = driver.queues;
      assert.ok(row !== undefined && more.length === 0);
      assert.is(row.queue, 0);
      assert.is(row.xdp.redirect, COUNT);
      assert.is(row.driver.rx_queue_0_xdp_redirect, COUNT);
      assert.is(told(link, 'rx_queue_0_xdp_redirect'), before + COUNT);
      assert.is(row.sent, 2 * COUNT);
      assert.ok(row.kicks > 0);
      const names = Object.keys({ ...row.driver, ...driver.device });
      assert.equal(
        names.filter((name) => !/xdp|xsk/.test(name)),
        [],
        'of XDP only',
      );
      const asked_ms = performance.now();
      const many = Array.from({ length: 50 }, () => replicator.ask({ op: 'stats', queues: true }));
      const answers = new Set((await Promise.all(many)).map(({ uptime_ms }) => uptime_ms));
      const seconds = (performance.now() - asked_ms) / 1000;
      assert.ok(answers.size <= 1 + Math.ceil(seconds), 'a card is asked once a second at most');
      const plain = await replicator.stats();
      assert.not('driver' in plain, 'nobody asks a card who does not want to');
      const text = await replicator.cli('stats', '--queues');
      assert.match(text, /driver veth .*AF_XDP granted: copies by the driver/);
      assert.match(text, /no figure of the driver has xsk in its name/);
      assert.match(text, /^xdp redirect +300 +rx_queue_0_xdp_\w+ +\d+$/m);
      await replicator.wscat('stats queues', /^.*queue 0 worker 0 ours .*redirect=300 .*driver /m);
    });
  },
);

networkTest(
  test,
  'a supervisor that adopts a data plane tells the figures since that was opened',
  { queues: 1 },
  async (link) => {
    const flags = copyMode('inline');
    await withReplicator({ link, flags }, feed); // so that something was there before
    const first = await Replicator.start({ link, flags });
    try {
      await feed(first);
      process.kill(first.program.pid, 'SIGKILL');
      await first.program.wait();
      await withReplicator({ link, flags }, async (second) => {
        assert.match(second.told(), /adopted=/);
        const [row] = (await askDriver(second)).queues;
        assert.is(row?.driver.rx_queue_0_xdp_redirect, COUNT);
        assert.is(row?.xdp.redirect, COUNT);
      });
    } finally {
      first.close();
    }
  },
);

test('a line says whether figures of zero copy have moved, and whose they are', () => {
  const row = { queue: 0, worker: 0, xdp: {}, sockets: {}, sent: 0, kicks: 0 };
  const told = (mode: Stats['mode'], driver: Counts) =>
    queuesText({
      ...emptyStats(),
      mode,
      driver: { name: 'mlx5_core', version: '', queues: [{ ...row, driver }], device: {} },
    });
  const moved = { rx0_xsk_packets: 7, tx0_xsk_xmit: 0 };
  assert.match(told('zerocopy', moved), /^1 of 2 .*: zero copy works$/m);
  assert.match(told('copy', moved), /^1 of 2 .*: another program's zero copy, not ours$/m);
  assert.match(told('zerocopy', { rx0_xsk_packets: 0 }), /^none of 1 .*: no zero copy so far$/m);
  const faults = { rx0_xsk_packets: 0, rx0_xsk_buff_alloc_err: 9 };
  assert.match(told('zerocopy', faults), /^none of 1 .*: no zero copy so far$/m);
  assert.match(told('copy', {}), /^the driver has no figure with xdp or xsk in its name$/m);
});

networkTest(
  test,
  'without an interface it says that there is no driver, and with other flags it is refused',
  { queues: 1 },
  async (link) => {
    const flags = ['--mode', 'socket', '--allow', '10.77.0.0/24'];
    await withReplicator({ link, flags, interface: '-' }, async (replicator) => {
      assert.match(await replicator.cli('stats', '--queues'), /^- is no interface of this host/);
    });
    for (const flag of ['--check', '--watch']) {
      const refused = await fantail(['stats', '--queues', flag]);
      assert.is(refused.end?.status, 2);
      assert.match(refused.stderr, /--queues goes with neither --check nor --watch/);
    }
  },
);

test.run();
