/**
 * A short soak: under traffic whatever a data path consists of is killed, inside commits too, and
 * no copy is lost or sent twice; with everything else that happens, every copy ends under one name.
 *
 * needs: a link
 * takes: 80 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { random } from '../rig/random.js';
import { LAYOUTS, networkTest } from '../rig/scenario.js';
import { assertWell, soak } from './soak.js';
import type { SoakOptions } from './world.js';

const test = suite('soak');
/** So low that the rings have room for seconds of a machine that is busy. */
const RATE = 1000;
const SUBSCRIBERS = 3;

async function soakFor(options: Omit<SoakOptions, 'mode' | 'rate' | 'subscribers' | 'random'>) {
  const seed = random(`soak ${options.layout}${options.events ? ' with events' : ''}`);
  const soaked = await soak({
    ...options,
    mode: 'copy',
    rate: RATE,
    subscribers: SUBSCRIBERS,
    random: seed,
  });
  try {
    await assertWell(soaked);
    return soaked.ledger;
  } finally {
    for (const each of soaked.all) each.close();
  }
}

for (const layout of LAYOUTS)
  networkTest(
    test,
    `kills alone lose nothing and send nothing twice: ${layout}`,
    { queues: 1 },
    async (link) => {
      const kills = 7; // of a round of eight: two workers at least
      const ledger = await soakFor({ link, layout, kills, seconds: 600, events: false });
      assert.is(ledger.kills.length, kills);
      assert.ok(ledger.insideOf('commit') > 0, 'some were inside a commit');
    },
  );

for (const transmit of ['bulk', 'pump'] as const)
  networkTest(
    test,
    `kills alone lose nothing and send nothing twice: ${transmit}`,
    { queues: 1, netGro: true },
    async (link) => {
      const [layout, kills] = ['inline', 7] as const;
      const options = { link, layout, kills, seconds: 600, events: false, transmit } as const;
      const ledger = await soakFor(options);
      assert.is(ledger.kills.length, kills);
      const inside = ledger.insideOf('commit') + ledger.insideOf('call');
      assert.ok(inside > 0, 'some were inside a commit or a call');
    },
  );

networkTest(
  test,
  'whatever happens, every copy ends under one name',
  { queues: 1 },
  async (link) => {
    const options = { link, layout: 'split', kills: 1000, seconds: 8, events: true } as const;
    assert.ok((await soakFor(options)).events.size > 0);
  },
);

test.run();
