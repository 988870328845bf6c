/**
 * The long form of fuzz.test.ts:
 *
 *     node dist/test/fuzz/long.js --minutes 5            a campaign of five minutes
 *     SEED=n node dist/test/fuzz/long.js --only 123      module 123 of run n alone
 *     SEED=n node dist/test/fuzz/long.js --print 123     its text (or what binaryen reads of it)
 *
 * Exits 1 if there was a fault.
 */
import { parseArgs } from 'node:util';
import binaryen from 'binaryen';
import { Campaign, Generator, told } from './campaign.js';
import { seedOfRun } from './chance.js';

const MINUTE_MS = 60_000;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    only: { type: 'string' },
    print: { type: 'string' },
  },
});
const seed = seedOfRun();

if (values.print !== undefined) {
  const { kind, bytes } = await new Generator(seed).module(Number(values.print));
  process.stdout.write(
    `;; ${kind}, ${bytes.length} bytes: ${Buffer.from(bytes).toString('base64')}\n`,
  );
  process.stdout.write(binaryen.readBinary(bytes).emitText());
} else {
  console.log(`fuzz: SEED=${seed}`);
  const part =
    values.only === undefined
      ? { from: 0, count: Number.POSITIVE_INFINITY, ms: Number(values.minutes) * MINUTE_MS }
      : { from: Number(values.only), count: 1, ms: Number.POSITIVE_INFINITY };
  const tally = await new Campaign(seed).run(part);
  console.log(told(tally));
  process.exitCode = tally.faults.length > 0 ? 1 : 0;
}
