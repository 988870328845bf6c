/**
 * Random modules never crash, hang or leak: a short campaign (fuzz/campaign.ts), seeded by the time. `SEED=n` repeats
 * it; fuzz-long.ts goes on for as long as it is told to.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Campaign, KINDS, told } from './fuzz/campaign.js';
import { seedOfRun } from './fuzz/chance.js';

const test = suite('fuzz');
const CAMPAIGN_MS = 20_000;

test('random modules are refused, or return, trap or are interrupted, and change nothing but what is theirs', async () => {
  const seed = seedOfRun();
  console.log(`fuzz: SEED=${seed}`);
  const tally = await new Campaign(seed).run({ from: 0, count: Number.POSITIVE_INFINITY, ms: CAMPAIGN_MS });
  console.log(told(tally));
  assert.equal(tally.faults, []);
  for (const kind of KINDS) {
    const { generated = 0, returned = 0, trapped = 0 } = tally.counts[kind];
    assert.ok(generated > 0 && returned + trapped > 0, `some ${kind} modules have run`);
  }
});

test.run();
