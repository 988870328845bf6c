/**
 * Processes of the data path that die, are stopped or end, in copy mode over a real link: traffic
 * comes back, and whatever ends leaves nothing behind.
 *
 * needs: a link
 * takes: 50 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Link } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import {
  assertReceived,
  copyMode,
  LAYOUTS,
  networkTest,
  replaceWorker,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';

const test = suite('outages');
/**
 * The rings have room for four seconds of it: more than a process takes to start where none stands
 * by.
 */
const RATE = 1000;

/** Each subscriber gets all of it, once and in order, whatever was killed meanwhile. */
async function survives(
  link: Link,
  layout: string,
  kill: (replicator: Replicator) => Promise<void>,
): Promise<void> {
  await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
    const subscribers = subscribersOf(3);
    await replicator.subscribe(subscribers);
    let sentBefore = 0;
    const sentLeast = async () => {
      const rows = (await replicator.stats()).subscribers;
      return Math.min(...rows.map(({ sent }) => sent));
    };
    const sunk = await transfer(replicator, {
      subscribers,
      rate: RATE,
      count: RATE,
      meanwhile: async () => {
        await eventually('traffic flows', async () => (await sentLeast()) > RATE / 8);
        await kill(replicator);
        sentBefore = await sentLeast();
        await eventually(
          'traffic is back',
          async () => (await sentLeast()) > sentBefore + RATE / 8,
        );
      },
    });
    await assertReceived(replicator, sunk);
    await replicator.check();
  });
}

for (const layout of LAYOUTS) {
  networkTest(
    test,
    `a worker that is killed is replaced and traffic comes back: ${layout}`,
    { queues: 1 },
    async (link) => {
      await survives(link, layout, replaceWorker);
    },
  );

  for (const [how, signal] of [
    ['killed', 'SIGKILL'],
    ['stopped', 'SIGSTOP'],
  ] as const)
    networkTest(
      test,
      `a receiver that is ${how} is replaced and traffic comes back: ${layout}`,
      { queues: 1 },
      async (link) => {
        await survives(link, layout, async (replicator) => {
          const { pid } = replicator.receiver();
          process.kill(pid, signal);
          await eventually('the receiver is replaced', () => {
            return replicator
              .processes()
              .some((one) => /fantail-rx/.test(one.command) && one.pid !== pid);
          });
        });
      },
    );

  // SIGINT comes to the supervisor alone, or from a terminal to all: each in one layout.
  const ends: Record<string, (replicator: Replicator) => Promise<unknown>> = {
    SIGTERM: (replicator) => replicator.stop('SIGTERM'),
    ...(layout === 'inline'
      ? { SIGINT: (replicator) => replicator.stop('SIGINT') }
      : { 'Ctrl-C in a terminal': (replicator) => replicator.interrupt() }),
  };
  for (const [how, end] of Object.entries(ends))
    networkTest(
      test,
      `${how} under traffic ends with status 0 and leaves nothing behind: ${layout}`,
      { queues: 2 },
      async (link) => {
        const replicator = await Replicator.start({
          link,
          flags: copyMode(layout, '--workers', '2'),
        });
        try {
          assert.is.not(link.xdpProgram(), null);
          await replicator.subscribe(subscribersOf(3));
          const feed = startFeed(replicatedRoute(link), { rate: RATE, count: RATE * 300 });
          await eventually('traffic flows', async () => {
            return (await replicator.stats()).feed.received > 1000;
          });
          assert.equal(await end(replicator), { status: 0, signal: null }, replicator.told());
          assert.equal(await replicator.residue(), []);
          await feed.stop();
        } finally {
          replicator.close();
        }
      },
    );
}

test.run();
