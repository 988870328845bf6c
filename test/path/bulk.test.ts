/**
 * Bulk transmit over a real link: what leaves is what leaves by the ring, from one worker or two,
 * of root or of a user with few rights; what the far end refuses is counted, and nothing else is
 * lost. And changing between the two ways. Kills are in test/soak.
 *
 * needs: a link
 * takes: 70 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually } from '../rig/program.js';
import { type Replicator, startUp } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  copyMode,
  LAYOUTS,
  networkTest,
  replaceWorker,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';

const test = suite('bulk transmit');
const RATE = 2000;
const LINK = { queues: 1, netGro: true } as const;
/** By calls: no core is left for a pump. */
const CALLS = { inline: ['--cpus', '0'], split: ['--cpus', '0,1'] } as const;
type Layout = keyof typeof CALLS;
const inBulk = (layout: Layout) => copyMode(layout, '--transmit', 'bulk', ...CALLS[layout]);
const byItself = (layout: Layout) => copyMode(layout, '--transmit', 'auto', ...CALLS[layout]);

async function transmitOf(replicator: Replicator) {
  const [worker] = (await replicator.stats()).workers;
  assert.ok(worker !== undefined);
  return worker.transmit;
}

/** Copies that all subscribers were sent; on a loud machine some may have ended as drops. */
async function sentOf(replicator: Replicator): Promise<number> {
  const { subscribers } = await replicator.stats();
  return subscribers.reduce((sum, { sent }) => sum + sent, 0);
}

for (const layout of LAYOUTS)
  networkTest(
    test,
    `each packet of every size leaves once for each subscriber, byte for byte: ${layout}`,
    LINK,
    async (link) => {
      await withReplicator({ link, flags: inBulk(layout) }, async (replicator) => {
        const subscribers = subscribersOf(16);
        await replicator.subscribe(subscribers);
        const count = 1473;
        const sunk = await transfer(replicator, {
          subscribers,
          rate: RATE,
          count,
          sizes: '0-1472',
          otherTraffic: true,
        });
        await assertLossless(replicator, sunk);
        const told = await transmitOf(replicator);
        const { path, pumped, calls, frames, refused, resent } = told;
        assert.equal(
          [path, pumped, frames, refused],
          ['bulk', false, await sentOf(replicator), resent],
        );
        assert.ok(calls > 0 && calls <= count + refused, JSON.stringify(told));
      });
    },
  );

networkTest(
  test,
  'a user who is not root but may see what the kernel does with frames sends in bulk',
  LINK,
  async (link) => {
    const capabilities = ['net_admin', 'net_raw', 'bpf', 'perfmon', 'ipc_lock'];
    const options = { link, unprivileged: true, capabilities, flags: inBulk('split') };
    await withReplicator(options, async (replicator) => {
      const subscribers = subscribersOf(3);
      await replicator.subscribe(subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 500 });
      await assertLossless(replicator, sunk);
      assert.is((await transmitOf(replicator)).path, 'bulk');
    });
  },
);

networkTest(
  test,
  'two workers on two queues send in bulk side by side',
  { ...LINK, queues: 2 },
  async (link) => {
    const flags = copyMode('inline', '--transmit', 'bulk', '--workers', '2', '--cpus', '0,1');
    await withReplicator({ link, flags }, async (replicator) => {
      const subscribers = subscribersOf(8);
      await replicator.subscribe(subscribers);
      const options = { subscribers, rate: RATE, count: RATE, flows: 2 };
      await assertLossless(replicator, await transfer(replicator, options));
      for (const { transmit } of (await replicator.stats()).workers)
        assert.ok(transmit.frames > 0, JSON.stringify(transmit));
    });
  },
);

networkTest(
  test,
  'a far end that takes no frames of a program ends the start with what it takes',
  { queues: 1 },
  async (link) => {
    // tried on the core that would send: the worker's, or its pump's
    for (const [cpus, core] of [
      ['1', 1],
      ['0,1', 1],
      ['1,0', 0],
    ] as const) {
      const flags = copyMode('inline', '--transmit', 'bulk', '--cpus', cpus);
      const { program } = await startUp({ link, flags });
      assert.is((await program.wait()).status, 1);
      const sentence = new RegExp(`the device took no frame in bulk on core ${core} .*GRO`);
      assert.match(program.stderr, sentence);
      program.close();
    }
  },
);

networkTest(
  test,
  'a far end that takes nothing is counted, and once it takes them again nothing is lost',
  LINK,
  async (link) => {
    await withReplicator({ link, flags: inBulk('inline') }, async (replicator) => {
      const subscribers = subscribersOf(3);
      await replicator.subscribe(subscribers);
      link.setGro('off');
      const count = 100;
      await transfer(replicator, { subscribers: [], watched: subscribers, rate: RATE, count });
      await replicator.check();
      const rows = (await replicator.stats()).subscribers;
      for (const { received, sent, drops } of rows)
        assert.equal([received, sent, drops.tx_full], [count, 0, count]);
      link.setGro('on');
      await assertReceived(
        replicator,
        await transfer(replicator, { subscribers, rate: RATE, count, first: count }),
      );
    });
  },
);

for (const how of ['asleep between packets', 'awake'])
  networkTest(
    test,
    `a pump on a core of its own sends each packet once, whoever is killed: ${how}`,
    LINK,
    async (link) => {
      const busy = how === 'awake' ? ['--busy-poll'] : [];
      const flags = copyMode('inline', '--transmit', 'bulk', '--cpus', '0,1', ...busy);
      await withReplicator({ link, flags }, async (replicator) => {
        const subscribers = subscribersOf(16);
        await replicator.subscribe(subscribers);
        if (how === 'asleep between packets') {
          // so slow that it sleeps before each
          const slowly = { subscribers, rate: 10, count: 20 };
          await assertReceived(replicator, await transfer(replicator, slowly));
        }
        const count = 1473;
        for (const first of [0, count]) {
          const sizes = first === 0 ? '0-1472' : '200'; // those that are short bear no sequence
          const options = { subscribers, rate: RATE, count, first, sizes };
          await assertReceived(replicator, await transfer(replicator, options));
          const { path, pumped, frames, refused, resent } = await transmitOf(replicator);
          assert.equal(
            [path, pumped, frames, refused],
            ['bulk', true, await sentOf(replicator), resent],
          );
          if (first === 0) await replaceWorker(replicator);
        }
      });
    },
  );

/** Until a worker sends so, without a packet. */
const untilPath = (replicator: Replicator, path: string) =>
  eventually(
    `the worker sends by ${path}`,
    async () => (await transmitOf(replicator)).path === path,
  );

for (const layout of LAYOUTS)
  networkTest(
    test,
    `auto sends to few by the ring and to many in bulk, and nothing is lost by the change: ${layout}`,
    LINK,
    async (link) => {
      const flags = byItself(layout);
      await withReplicator({ link, flags }, async (replicator) => {
        const all = subscribersOf(16);
        const few = all.slice(0, 1);
        let first = 0;
        const send = async (subscribers: typeof all, rate = RATE, count = 500) => {
          const sunk = await transfer(replicator, { subscribers, rate, count, first });
          first += count;
          await assertReceived(replicator, sunk);
        };
        // so slow that packets come one by one, on a machine that is busy, too
        const sendSlowly = () => send(few, 100, 60);
        await replicator.subscribe(few);
        await sendSlowly();
        assert.equal((await transmitOf(replicator)).frames, 0);
        const byRing = await sentOf(replicator);
        await replicator.subscribe(all.slice(1));
        await untilPath(replicator, 'bulk');
        await send(all);
        await replaceWorker(replicator);
        await send(all);
        const { path, frames, changes, reason } = await transmitOf(replicator);
        const inBulk = (await sentOf(replicator)) - byRing;
        assert.equal([path, frames, changes], ['bulk', inBulk, 1], reason);
        assert.match(reason, /copies at once: \d+/);
        for (const { ip, port } of all.slice(1)) await replicator.remove({ ip, port });
        await sendSlowly();
        await untilPath(replicator, 'ring');
        const sent = (await transmitOf(replicator)).frames;
        await sendSlowly();
        await replaceWorker(replicator);
        await sendSlowly();
        assert.equal((await transmitOf(replicator)).frames, sent);
      });
    },
  );

networkTest(
  test,
  'what is sent to many who have only just subscribed goes in bulk from the first packet',
  LINK,
  async (link) => {
    const flags = [...byItself('inline'), '--busy-poll'];
    await withReplicator({ link, flags }, async (replicator) => {
      const subscribers = subscribersOf(16);
      await replicator.subscribe(subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: RATE });
      await assertReceived(replicator, sunk);
      const { frames, changes, reason } = await transmitOf(replicator);
      assert.equal([frames, changes], [await sentOf(replicator), 1], reason);
    });
  },
);

networkTest(
  test,
  'a path that is to change while packets flow loses none, and no subscriber sees another order',
  LINK,
  async (link) => {
    const flags = [...byItself('inline'), '--busy-poll'];
    await withReplicator({ link, flags }, async (replicator) => {
      const subscribers = subscribersOf(16);
      await replicator.subscribe(subscribers.slice(0, 1));
      const count = 3 * RATE;
      const running = transfer(replicator, {
        subscribers: subscribers.slice(0, 1),
        watched: subscribers.slice(1),
        rate: RATE,
        count,
        meanwhile: async () => {
          await replicator.subscribe(subscribers.slice(1));
          // a machine that stops for 10 ms makes a pause
          await eventually('bulk is wanted', async () => {
            const { path, reason } = await transmitOf(replicator);
            return path === 'bulk' || / bulk after the next 10 ms/.test(reason);
          });
        },
      });
      const sunk = await running;
      await assertReceived(replicator, sunk, sunk.subscribers.slice(0, 1));
      for (const { reordered, duplicated } of sunk.subscribers)
        assert.equal([reordered, duplicated], [0, 0]);
      await untilPath(replicator, 'bulk');
      assert.is((await transmitOf(replicator)).changes, 1);
    });
  },
);

networkTest(
  test,
  'auto leaves bulk for good when the device refuses what it sends',
  LINK,
  async (link) => {
    const flags = byItself('inline');
    await withReplicator({ link, flags }, async (replicator) => {
      const subscribers = subscribersOf(16);
      await replicator.subscribe(subscribers);
      await untilPath(replicator, 'bulk');
      link.setGro('off');
      const count = RATE;
      await transfer(replicator, { subscribers: [], watched: subscribers, rate: RATE, count });
      await untilPath(replicator, 'ring');
      await replicator.check();
      link.setGro('on');
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count, first: count });
      await assertReceived(replicator, sunk);
      const { path, reason } = await transmitOf(replicator);
      assert.is(path, 'ring');
      assert.match(reason, /the device refused \d+ of \d+ tries/);
      assert.match(replicator.told(), /sends by its ring from now on/);
    });
  },
);

networkTest(
  test,
  'auto sends by the ring where the far end takes no frames of a program, and says so',
  { queues: 1 },
  async (link) => {
    const flags = byItself('inline');
    await withReplicator({ link, flags }, async (replicator) => {
      const subscribers = subscribersOf(16);
      await replicator.subscribe(subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 500 });
      await assertLossless(replicator, sunk);
      const { path, reason } = await transmitOf(replicator);
      assert.is(path, 'ring');
      assert.match(reason, /took no frame in bulk .*GRO/);
    });
  },
);

test.run();
