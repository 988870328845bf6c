/**
 * Filters that come, go and misbehave while packets flow, on a real link: who gets what, and who
 * must not notice.
 *
 * Good filters are the stock's; each bad one is a few lines of text that does one thing wrong.
 * Copies tell by their TOS byte which filter made them. swap.test.ts has the fast feed.
 *
 * needs: a link
 * takes: 70 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, sleep } from '../rig/program.js';
import {
  assertLossless,
  assertReceived,
  copyMode,
  LAYOUTS,
  networkTest,
  replaceWorker,
  servedAgain,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';
import { info, list, load, MARKED, stock, use } from './loading.js';
import { GROWS, NEVER_RETURNS, SLOW, TRAPS } from './modules.js';

const test = suite('filters');
const RATE = 4000;

for (const layout of LAYOUTS)
  networkTest(
    test,
    `each subscriber has its own filter and parameter, and keeps both when its worker dies: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const subscribers = subscribersOf(4);
        const [plain, marked, other, late] = subscribers as [
          Destination,
          Destination,
          Destination,
          Destination,
        ];
        await replicator.subscribe([plain, marked, other]);
        await load(replicator, 'marked', stock('dscp-ttl'));
        await use(replicator, 'marked', marked, 'dscp=46');
        await use(replicator, 'marked', other, 'hex:647363703d3130'); // dscp=10
        await replicator.subscribe([late]); // gets what new ones get: rewrite
        const expected = ['0', MARKED, String(10 << 2), '0'];
        for (const restarts of [0, 1]) {
          const count = 1000;
          const sunk = await transfer(replicator, { subscribers, rate: RATE, count });
          await assertLossless(replicator, sunk);
          assert.equal(
            sunk.subscribers.map(({ tos }) => Object.keys(tos).join()),
            expected,
          );
          const [worker] = (await replicator.stats()).workers;
          assert.is(worker?.restarts, restarts);
          if (restarts > 0) break;
          await replaceWorker(replicator);
          await servedAgain(replicator, subscribers);
        }
        const rows = await replicator.list();
        assert.equal(
          rows.map(({ filter }) => filter),
          ['rewrite', 'marked', 'marked', 'rewrite'],
        );
      });
    },
  );

/** What is wrong, payload bytes of the feed that show it, and what the roll-back says. */
const MISBEHAVING = [
  ['that traps', TRAPS, '200', /traps/],
  ['whose results pass the MTU', GROWS, '1450', /results over the MTU/],
] as const;

for (const layout of LAYOUTS)
  networkTest(
    test,
    `a filter that traps, or whose results pass the MTU, is rolled back to what its subscriber had, and others lose nothing: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const [good, victim] = subscribersOf(2) as [Destination, Destination];
        await replicator.subscribe([good, victim]);
        await load(replicator, 'marked', stock('dscp-ttl'));
        await use(replicator, 'marked', victim, 'dscp=46');
        const sentTo = async ({ ip, port }: Destination) => {
          const rows = (await replicator.stats()).subscribers;
          return rows.find((row) => row.ip === ip && row.port === port)?.sent ?? 0;
        };
        const rollbacks = async () => (await replicator.stats()).filters.rollbacks;
        for (const [index, [what, bytes, sizes, why]] of MISBEHAVING.entries()) {
          await load(replicator, 'bad', bytes);
          const sunk = await transfer(replicator, {
            subscribers: [good],
            watched: [victim],
            rate: RATE,
            count: RATE / 4,
            sizes,
            meanwhile: async () => {
              const before = await sentTo(victim);
              await eventually('it is served', async () => (await sentTo(victim)) > before + 300);
              await use(replicator, 'bad', victim);
              await eventually(`one ${what} is rolled back`, async () => {
                return (await rollbacks()).length === index + 1;
              });
              const sent = await sentTo(victim);
              await eventually('it is served again', async () => {
                return (await sentTo(victim)) > sent + 300;
              });
            },
          });
          const [, hurt] = sunk.subscribers;
          await assertReceived(replicator, sunk, sunk.subscribers.slice(0, 1));
          assert.ok((hurt?.lost ?? 0) >= 100, `a hundred faults: ${JSON.stringify(hurt)}`);
          assert.equal(
            Object.keys(hurt?.tos ?? {}),
            [MARKED],
            'it had the marking filter before and after',
          );
          assert.match((await rollbacks())[index]?.reason ?? '', why);
          const row = (await list(replicator)).find(({ name }) => name === 'bad');
          assert.equal([row?.status, row?.subscribers], ['rolled_back', 0]);
          assert.match(replicator.told(), /filter bad \(sha256 [0-9a-f]{12}\) is rolled back/);
        }
        assert.is((await replicator.stats()).workers[0]?.restarts, 0);
        const again = { subscribers: [good, victim], rate: RATE, count: 1000 };
        await assertReceived(replicator, await transfer(replicator, again));
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'a new version that misbehaves goes back to the one before it',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const subscribers = subscribersOf(2);
      await replicator.subscribe(subscribers);
      await load(replicator, 'mine', stock('dscp-ttl'));
      await use(replicator, 'mine', undefined, 'dscp=46');
      const { hash } = await info(replicator, 'mine');
      await load(replicator, 'mine', TRAPS);
      await transfer(replicator, {
        subscribers: [],
        watched: subscribers,
        rate: RATE,
        count: 1000,
      });
      await eventually(
        'it is rolled back',
        async () => (await info(replicator, 'mine')).rollback !== null,
      );
      const row = await info(replicator, 'mine');
      assert.equal([row.status, row.hash, row.subscribers, row.default], ['ready', hash, 2, true]);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 1000 });
      await assertReceived(replicator, sunk);
      for (const { tos } of sunk.subscribers) assert.equal(Object.keys(tos), [MARKED]);
    });
  },
);

for (const layout of LAYOUTS)
  networkTest(
    test,
    `a filter that never returns costs its worker a restart, and is rolled back: ${layout}`,
    { queues: 2 },
    async (link) => {
      await withReplicator(
        { link, flags: copyMode(layout, '--workers', '2') },
        async (replicator) => {
          const [other, victim] = subscribersOf(2) as [Destination, Destination];
          await replicator.subscribe([other, victim]); // in turn: one a worker
          await load(replicator, 'hang', NEVER_RETURNS);
          const sunk = await transfer(replicator, {
            subscribers: layout === 'split' ? [other] : [],
            watched: layout === 'split' ? [victim] : [other, victim],
            rate: RATE,
            count: 1000,
            meanwhile: async () => {
              await use(replicator, 'hang', victim);
              await eventually('it is rolled back', async () => {
                return (await replicator.stats()).filters.rollbacks.length === 1;
              });
              await eventually('the worker is replaced', async () => {
                return (await replicator.stats()).workers[1]?.restarts === 1;
              });
            },
          });
          if (layout === 'split')
            await assertReceived(replicator, sunk, sunk.subscribers.slice(0, 1)); // it never noticed
          const stats = await replicator.stats();
          assert.is(stats.filters.rollbacks[0]?.reason, 'it did not return');
          assert.equal(
            stats.workers.map(({ restarts }) => restarts),
            [0, 1],
          );
          await replicator.check(); // the gap is in the counters
          await servedAgain(replicator, [other, victim]);
          const again = await transfer(replicator, {
            subscribers: [other, victim],
            rate: RATE,
            count: 1000,
          });
          await assertReceived(replicator, again);
          await replicator.check();
        },
      );
    },
  );

networkTest(
  test,
  'a filter in which its worker crashes is rolled back, not the replicator ended',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const subscribers = subscribersOf(1);
      await replicator.subscribe(subscribers);
      await load(replicator, 'slow', SLOW);
      await use(replicator, 'slow');
      await transfer(replicator, {
        subscribers: [],
        watched: subscribers,
        rate: 2000,
        count: 1000,
        meanwhile: () =>
          eventually('it is rolled back', async () => {
            const { filters, workers } = await replicator.stats();
            if (filters.rollbacks.length > 0) return true;
            // between two calls it says nothing of the filter, and is tried again
            process.kill(workers[0]?.pid ?? 0, 'SIGABRT');
            await sleep(1000);
            return false;
          }),
      });
      const { filters } = await replicator.stats();
      assert.is(filters.rollbacks[0]?.reason, 'its worker crashed: SIGABRT');
      await servedAgain(replicator, subscribers);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 1000 });
      await assertReceived(replicator, sunk);
    });
  },
);

test.run();
