/**
 * The data path in zero copy, on a card that does it: run in a guest (guest.ts), where eth0 is that
 * card and eth1 its peer. Nothing here measures: a guest is emulated, and slow.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { random } from '../rig/random.js';
import {
  assertReceived,
  flagsOf,
  LAYOUTS,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import { assertWell, soak } from '../soak/soak.js';

const test = suite('zero copy');
const WIRE = { queues: 1, devices: ['eth0', 'eth1'] } as const;
const zeroCopy = flagsOf('zerocopy');
/** An emulated processor makes some hundred system calls in the time of each. */
const RATE = 100;
/** The largest payload of an MTU, below its IPv4 and UDP headers. */
const payloadOf = (mtu: number) => mtu - 28;
const KILLS = 20;
const STARTS = 20;

for (const layout of LAYOUTS) {
  for (const mtu of [1500, 3498])
    networkTest(
      test,
      `each packet of every size leaves once for each subscriber, byte for byte: ${layout}, MTU ${mtu}`,
      { ...WIRE, mtu },
      async (link) => {
        await withReplicator({ link, flags: zeroCopy(layout) }, async (replicator) => {
          const subscribers = subscribersOf(3);
          await replicator.subscribe(subscribers);
          const { mode } = await replicator.stats();
          assert.is(mode, 'zerocopy', 'as the kernel tells of the bound socket');
          const count = payloadOf(mtu) + 1;
          const sizes = `0-${payloadOf(mtu)}`;
          const sunk = await transfer(replicator, { subscribers, rate: RATE * 2, count, sizes });
          await assertReceived(replicator, sunk);
          await replicator.check();
        });
      },
    );

  networkTest(
    test,
    `${KILLS} kills lose nothing and send nothing twice: ${layout}`,
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

  networkTest(test, `${STARTS} starts of ${STARTS} receive: ${layout}`, WIRE, async (link) => {
    for (let start = 0; start < STARTS; start++)
      await withReplicator({ link, flags: zeroCopy(layout) }, async (replicator) => {
        const subscribers = subscribersOf(1);
        await replicator.subscribe(subscribers);
        const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 20 });
        await assertReceived(replicator, sunk);
      });
  });
}

test.run();
