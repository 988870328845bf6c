/**
 * Filters that are swapped while packets come as fast as a core can take them: nobody notices.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sleep } from '../rig/program.js';
import {
  assertLossless,
  assertReceived,
  copyMode,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import { info, load, MARKED, stock, use } from './loading.js';

const test = suite('swap');
const RATE = 10_000;

networkTest(
  test,
  'filters are swapped under 100,000 packets/s and no packet is lost, doubled or torn',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const subscribers = subscribersOf(1);
      await replicator.subscribe(subscribers);
      const more = async () => {
        const { received } = (await replicator.stats()).feed;
        do await sleep(100);
        while (
          // asked no more often: each answer takes time of a core that the feed needs
          (await replicator.stats()).feed.received <
          received + 1000
        );
      };
      const sunk = await transfer(replicator, {
        subscribers,
        rate: 100_000,
        count: 100_000,
        meanwhile: async () => {
          await more();
          for (let round = 0; round < 3; round++) {
            // a new module under the same name each time
            await load(replicator, 'marked', stock('dscp-ttl'));
            await use(replicator, 'marked', undefined, 'dscp=46');
            await more();
            await use(replicator, 'rewrite');
            await more();
          }
        },
      });
      await assertLossless(replicator, sunk);
      const { tos = {} } = sunk.subscribers[0] ?? {};
      assert.equal(Object.keys(tos), ['0', MARKED], JSON.stringify(tos));
      assert.ok((tos[MARKED] ?? 0) >= 3000 && (tos['0'] ?? 0) >= 4000, JSON.stringify(tos));
      await use(replicator, 'marked', undefined, 'dscp=46');
      const again = await transfer(replicator, { subscribers, rate: RATE, count: 5000 });
      await assertReceived(replicator, again);
      const { status, cost_ns, jobs, verdicts, faults } = await info(replicator, 'marked');
      assert.equal([status, faults], ['ready', { trap: 0, bad_answer: 0, too_big: 0 }]);
      assert.ok(
        jobs > 0 && verdicts.send === jobs && (cost_ns ?? 0) > 0,
        JSON.stringify({ jobs, verdicts, cost_ns }),
      );
    });
  },
);

test.run();
