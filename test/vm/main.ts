/**
 * `npm run test:vm`: the tests of inside.ts in guests whose cards do real AF_XDP zero copy; a line
 * for each card and kernel, and at the end `P passed, F failed, S skipped`.
 *
 *   npm run test:vm -- --card igb --kernel sid    in one of them
 *   npm run test:vm -- --run 'ip -d link'         any command in such a guest, to look around
 */
import { number, oneOf } from '../../src/cli/arguments.js';
import { command, runProgram } from '../../src/cli/program.js';
import { Failure } from '../../src/domain/errors.js';
import { countUvu } from '../runner/counts.js';
import { CARDS, type Card, type GuestEnd, inGuest } from './guest.js';
import { KERNELS, type Kernel, lackForGuests } from './packages.js';

interface Flags {
  readonly card?: Card;
  readonly kernel: Kernel;
  readonly run?: string;
  readonly minutes: number;
}

function faultOf({ status, isLate }: GuestEnd): string | null {
  if (isLate) return 'it had no more time (--minutes)';
  if (status === null) return 'it ended before the command did';
  return status === 0 ? null : `the command ended with status ${status}`;
}

async function testOn(card: Card, { kernel, minutes }: Flags) {
  const start = Date.now();
  const words = ['node', 'dist/test/vm/inside.js'];
  const end = await inGuest({ card, kernel, secondsMax: minutes * 60 }, words);
  const { output, warnings } = end;
  const seconds = (Date.now() - start) / 1000;
  const counts = countUvu({ output, fault: faultOf(end), seconds });
  const failed = counts.failed + warnings.length;
  const parts = [`${counts.passed} passed`, `${failed} failed`, `${counts.skips.length} skipped`];
  const fault = faultOf(end);
  const why = fault === null ? '' : `; ${fault}`;
  console.log(`${card}, kernel of ${kernel}: ${parts.join(', ')} (${seconds.toFixed(0)} s)${why}`);
  for (const skip of counts.skips) console.log(`  skip: ${skip}`);
  for (const warning of warnings) console.log(`  the guest's kernel: ${warning}`);
  if (failed > 0) console.log(output.replace(/^/gm, '  | '));
  return { passed: counts.passed, failed, skipped: counts.skips.length };
}

async function testAll(flags: Flags): Promise<void> {
  const lack = lackForGuests();
  if (lack !== null) {
    console.log(`skip: ${lack}\n0 passed, 0 failed, 1 skipped`);
    return;
  }
  const { card, kernel, run, minutes } = flags;
  if (run !== undefined) {
    const options = { card: card ?? 'virtio_net', kernel, secondsMax: minutes * 60 };
    const end = await inGuest(options, ['sh', '-c', run]);
    console.log(end.output);
    for (const warning of end.warnings) console.log(`the guest's kernel: ${warning}`);
    const fault = faultOf(end);
    if (fault !== null) throw new Failure(`in the guest: ${fault}`);
    return;
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const each of card === undefined ? CARDS : [card]) {
    const counts = await testOn(each, flags);
    for (const name of ['passed', 'failed', 'skipped'] as const) total[name] += counts[name];
  }
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  if (total.failed > 0) process.exitCode = 1;
}

const testVm = command('test:vm', 'Test zero copy in guests whose cards do it.')
  .option('--card <card>', `${CARDS.join(' or ')} (default: each)`, oneOf('--card', CARDS))
  .option('--kernel <suite>', KERNELS.join(', '), oneOf('--kernel', KERNELS), 'trixie-backports')
  .option('--run <command>', 'this instead, in one guest')
  .option('--minutes <n>', 'of a guest', number('--minutes', { min: 1, max: 600 }), 30)
  .action(testAll);

await runProgram(testVm, process.argv.slice(2));
