/**
 * The set of path.test.ts in socket mode, at rates that plain UDP sockets can do;
 * socket-mode.test.ts has what keeps no rate.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  assertLossless,
  LAYOUTS,
  networkTest,
  socketMode,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';

const test = suite('socket path');
const SECONDS = 1;
const SETS = [
  { subscribers: 3, rate: 20_000 },
  { subscribers: 16, rate: 5000 },
];

for (const layout of LAYOUTS)
  networkTest(
    test,
    `3 subscribers, then 16, get each packet once, in order and right: ${layout}, over veth`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: socketMode(layout) }, async (replicator) => {
        for (const { subscribers, rate } of SETS) {
          const destinations = subscribersOf(subscribers);
          await replicator.subscribe(destinations);
          const sunk = await transfer(replicator, {
            subscribers: destinations,
            rate,
            count: rate * SECONDS,
            otherTraffic: true,
          });
          await assertLossless(replicator, sunk);
        }
        const stats = await replicator.stats();
        assert.equal([stats.mode, stats.layout], ['socket', layout]);
        assert.is(link.xdpProgram(), null, 'no XDP program is needed');
      });
    },
  );

test.run();
