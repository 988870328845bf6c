/**
 * Random modules never crash, hang or leak: a short campaign (fuzz/campaign.ts), seeded by the
 * time. `SEED=n` repeats it; long.ts goes on for as long as it is told to.
 *
 * needs: a core
 * takes: 50 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { limits } from '../../src/memory/layout.js';
import { Campaign, Child, KINDS, type Kind, ReadOnly, told } from './campaign.js';
import { seedOfRun } from './chance.js';
import { answerOf, assemble, constant, filterText } from './frame.js';
import { openArena } from './guard.js';

const test = suite('fuzz');
const CAMPAIGN_MS = 10_000;
const BATCH = 50;

test('a crash and a changed byte are seen', async () => {
  const arena = await openArena();
  const runner = new Child('run', arena.descriptors);
  await runner.start();
  const readOnly = new ReadOnly(arena);
  readOnly.remember();
  // the checker refuses it
  const fill = `(memory.fill (i32.const ${limits.WINDOW_FRAMES}) (i32.const 1) (i32.const 9))`;
  const answer = answerOf(constant(0), constant(0), constant(0), constant(0));
  const evil = assemble(
    filterText({ memory: '1', gated: false, stateful: false, work: fill, answer, more: '' }),
  );
  const report = await runner.ask(evil);
  assert.match(
    report.is === 'odd' ? report.what : report.is,
    /^crashed: the run process ended by SIGSEGV/,
  );
  assert.is(readOnly.changed(), null);
  const end = arena.patterned[0]?.[1] ?? 0;
  arena.bytes[end - 1] = 1 + (arena.bytes[end - 1] ?? 0);
  assert.is(readOnly.changed(), end - 1);
});

test('random modules are refused, or return, trap or are interrupted, and change nothing but what is theirs', async () => {
  const seed = seedOfRun();
  console.log(`fuzz: SEED=${seed}`);
  const campaign = new Campaign(seed);
  const { counts } = campaign.tally;
  const hasRun = (kind: Kind) => (counts[kind].returned ?? 0) + (counts[kind].trapped ?? 0) > 0;
  // However slow the machine is, some of each kind must have run: else the time proves nothing.
  const end = Date.now() + CAMPAIGN_MS;
  for (let from = 0; Date.now() < end || !KINDS.every(hasRun); from += BATCH)
    await campaign.run({ from, count: BATCH, ms: Number.POSITIVE_INFINITY });
  console.log(told(campaign.tally));
  assert.equal(campaign.tally.faults, []);
});

test.run();
