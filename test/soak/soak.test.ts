/**
 * A short soak: under traffic whatever a data path consists of is killed, inside commits too, and
 * no copy is lost or sent twice; with everything else that happens, every copy ends under one name.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { differences } from '../../src/replicator/conservation.js';
import { random } from '../rig/random.js';
import { assertReceived, LAYOUTS, networkTest } from '../rig/scenario.js';
import { type Soaked, soak } from './soak.js';

const test = suite('soak');
/** So low that the rings have room for seconds of a machine that is busy. */
const RATE = 1000;
const SUBSCRIBERS = 3;
const KILLS = 5;

/** Ends it, and demands that nothing is left of any of its supervisors. */
async function end({ replicator, all }: Soaked): Promise<void> {
  assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
  for (const each of all) assert.equal(await each.residue(), []);
}

for (const layout of LAYOUTS)
  networkTest(
    test,
    `kills alone lose nothing and send nothing twice: ${layout}`,
    { queues: 1 },
    async (link) => {
      const soaked = await soak({
        link,
        layout,
        kills: KILLS,
        seconds: 60,
        rate: RATE,
        subscribers: SUBSCRIBERS,
        events: false,
        random: random(`soak ${layout}`),
      });
      try {
        assert.ok(soaked.ledger.kills.length > 1, 'on a machine that is busy they may be fewer');
        await assertReceived(soaked.replicator, soaked.transferred);
        await end(soaked);
      } finally {
        for (const each of soaked.all) each.close();
      }
    },
  );

networkTest(
  test,
  'whatever happens, every copy ends under one name',
  { queues: 1 },
  async (link) => {
    const soaked = await soak({
      link,
      layout: 'split',
      kills: 1000,
      seconds: 8,
      rate: RATE,
      subscribers: SUBSCRIBERS,
      events: true,
      random: random('soak with events'),
    });
    try {
      const { transferred, last, ledger } = soaked;
      assert.equal(
        differences(transferred.before, last),
        [],
        ledger.text({ ...transferred, sunk: transferred, last }),
      );
      for (const { duplicated, corrupt, bad_header } of transferred.subscribers)
        assert.equal([duplicated, corrupt, bad_header], [0, 0, 0]);
      assert.ok(ledger.events.size > 0);
      await end(soaked);
    } finally {
      for (const each of soaked.all) each.close();
    }
  },
);

test.run();
