/**
 * Page pools of bulk transmit that outlive their calls: each call whose frames somebody still holds
 * is told, as long as they are held, and by whichever worker it was made. Held they are by a socket
 * at the far end that nobody reads.
 *
 * needs: a link
 * takes: 20 s
 */
import { closeSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { TransmitRow } from '../../src/domain/statistics.js';
import { addon } from '../../src/memory/addon.js';
import { HOSTS, NEIGHBOURS } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, feedAll, networkTest, replaceWorker, withReplicator } from '../rig/scenario.js';

const test = suite('live page pools');
const LINK = { queues: 1, netGro: true } as const;
const HOLDER = { ip: HOSTS[0] ?? '', port: 9101 };
/** Nobody keeps what comes to it. */
const PASSER = { ip: NEIGHBOURS[0]?.ip ?? '', port: 9102 };
const PACKETS = 50;
const RATE = 200;
const BUFFER_SIZE = 8 << 20;

async function transmitOf(replicator: Replicator): Promise<TransmitRow & { live_pools: number }> {
  const [worker] = (await replicator.stats()).workers;
  assert.ok(worker !== undefined);
  const { live_pools } = worker.transmit;
  assert.ok(live_pools !== null, 'this kernel has the tracepoint');
  return { ...worker.transmit, live_pools };
}

const feed = (replicator: Replicator, queue?: number) =>
  feedAll(replicator, { rate: RATE, count: PACKETS, ...(queue === undefined ? {} : { queue }) });

async function gaugeOf(replicator: Replicator): Promise<number> {
  const text = await (await fetch(`http://${replicator.control}/metrics`)).text();
  return Number(/^fantail_transmit_live_pools\{worker="0"\} (\d+)$/m.exec(text)?.[1]);
}

const quiet = (replicator: Replicator) =>
  eventually('no pool lives', async () => (await transmitOf(replicator)).live_pools === 0);

for (const layout of ['inline', 'split'] as const)
  networkTest(
    test,
    `each call whose frames are held has a live pool until they are not: ${layout}`,
    LINK,
    async (link) => {
      const cpus = layout === 'inline' ? '0' : '0,1';
      const flags = copyMode(layout, '--transmit', 'bulk', '--cpus', cpus);
      await withReplicator({ link, flags }, async (replicator) => {
        await replicator.subscribe([PASSER]);
        await feed(replicator);
        await quiet(replicator);
        const before = await transmitOf(replicator);
        assert.ok(before.calls > 0);

        const socket = addon.openUdp(link.net, HOLDER);
        addon.setReceiveBuffer(socket, BUFFER_SIZE);
        try {
          await replicator.subscribe([HOLDER]);
          await feed(replicator);
          const after = await transmitOf(replicator);
          assert.is(after.path, 'bulk');
          // each call had a copy for it, unless a signal or a refusal ended it before
          const calls = after.calls - before.calls;
          const spoilt = after.interrupted + after.refused;
          const told = JSON.stringify({ before, after });
          assert.ok(after.live_pools <= calls && after.live_pools >= calls - spoilt, told);
          assert.ok(after.live_pools > 0, told);
          assert.is(await gaugeOf(replicator), after.live_pools);

          await replaceWorker(replicator);
          assert.is((await transmitOf(replicator)).live_pools, after.live_pools);
        } finally {
          closeSync(socket);
        }
        await quiet(replicator);
      });
    },
  );

networkTest(test, 'calls of a pump are told as those of its worker', LINK, async (link) => {
  const flags = copyMode('inline', '--transmit', 'bulk', '--cpus', '0,1');
  await withReplicator({ link, flags }, async (replicator) => {
    const socket = addon.openUdp(link.net, HOLDER);
    addon.setReceiveBuffer(socket, BUFFER_SIZE);
    try {
      await replicator.subscribe([HOLDER]);
      await feed(replicator);
      await eventually('the call that sent last has ended', async () => {
        const { pumped, live_pools, calls } = await transmitOf(replicator);
        assert.ok(pumped && live_pools <= calls);
        return live_pools > 0;
      });
    } finally {
      closeSync(socket);
    }
    await quiet(replicator);
  });
});

networkTest(
  test,
  'each of two launchers tells the pools of its own calls, also once the first has gone',
  { queues: 2, netGro: true },
  async (link) => {
    const flagsOf = (queue: number) =>
      copyMode('inline', '--transmit', 'bulk', '--cpus', '0', '--queues', String(queue));
    const first = await Replicator.start({ link, flags: flagsOf(0) });
    const second = await Replicator.start({ link, flags: flagsOf(1) });
    const socket = addon.openUdp(link.net, HOLDER);
    addon.setReceiveBuffer(socket, BUFFER_SIZE);
    const livePools = async (of: Replicator) => (await transmitOf(of)).live_pools;
    try {
      await first.subscribe([PASSER]);
      await second.subscribe([HOLDER]);
      for (const [queue, one] of [first, second].entries()) await feed(one, queue);
      assert.ok((await transmitOf(first)).calls > 0);
      await quiet(first);
      const held = await livePools(second);
      assert.ok(held > 0);
      assert.equal(await first.stop(), { status: 0, signal: null }, first.told());
      await feed(second, 1);
      const [more, { calls }] = [await livePools(second), await transmitOf(second)];
      assert.ok(more > held && more <= calls, `${held} ${more} ${calls}`);
      closeSync(socket);
      await quiet(second);
      assert.equal(await second.stop(), { status: 0, signal: null }, second.told());
      assert.equal(await second.residue(), []);
    } finally {
      for (const one of [first, second]) one.close();
    }
  },
);

networkTest(test, 'a worker that sends by the ring has none', { queues: 1 }, async (link) => {
  await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
    await replicator.subscribe([PASSER]);
    await feed(replicator);
    assert.is((await transmitOf(replicator)).live_pools, 0);
  });
});

test.run();
