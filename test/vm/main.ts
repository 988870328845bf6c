/**
 * `npm run test:vm`: the tests of inside.ts in guests whose cards do real AF_XDP zero copy, on the
 * newest kernel in whole and on older ones in part; then those of arm64.ts. A line for each card
 * and kernel, and at the end `P passed, F failed, S skipped`.
 *
 *   npm run test:vm -- --card igb --kernel 6.18    in one of them
 *   npm run test:vm -- --brief                     the least of it, as .ci/run does
 *   npm run test:vm -- --run 'ip -d link'          any command in such a guest, to look around
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { number, oneOf } from '../../src/cli/arguments.js';
import { command, runProgram } from '../../src/cli/program.js';
import { Failure, messageOf } from '../../src/domain/errors.js';
import { ROOT, run } from '../rig/program.js';
import { countUvu } from '../runner/counts.js';
import { CARDS, type Card, type GuestEnd, inGuest } from './guest.js';
import {
  arm64Folder,
  KERNELS,
  type Kernel,
  kernelFolder,
  lackForGuests,
  qemuFolder,
} from './packages.js';

interface Flags {
  readonly card?: Card;
  readonly kernel?: Kernel;
  readonly run?: string;
  readonly minutes: number;
  readonly arm64?: boolean;
  readonly only?: string;
  readonly brief?: boolean;
}

function faultOf({ status, isLate }: GuestEnd): string | null {
  if (isLate) return 'it had no more time (--minutes)';
  if (status === null) return 'it ended before the command did';
  return status === 0 ? null : `the command ended with status ${status}`;
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Null, or why it cannot be tested: what is fetched may not be had, from a mirror that is away. */
function lackOf(what: string, ...folders: (() => string)[]): Counts | null {
  try {
    for (const folder of folders) folder();
    return null;
  } catch (error) {
    console.log(`${what}: skip: it cannot be fetched: ${messageOf(error)}`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
}

/** The tests of guests with what they import: a guest takes long to read hundreds of files. */
const BUNDLE = 'dist/test/vm/inside-bundle.js';

function bundle(): void {
  run(join(ROOT, 'node_modules', '.bin', 'esbuild'), [
    ...['dist/test/vm/inside.js', '--bundle', '--platform=node', '--format=esm'],
    ...['--target=node20', `--outfile=${BUNDLE}`, '--log-level=warning'],
    "--banner:js=import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  ]);
}

async function testOn(
  card: Card,
  kernel: Kernel,
  { minutes, only = '', brief = false }: Flags,
): Promise<Counts> {
  const lack = lackOf(`${card}, kernel ${kernel}`, qemuFolder, () => kernelFolder(kernel));
  if (lack !== null) return lack;
  const start = Date.now();
  const words = ['node', BUNDLE, only, ...(brief ? ['brief'] : [])];
  // what scenario.ts says of each test that is done
  const onLine = (line: string) => {
    const [, done] = /\s(\d+\.\d s: .*)$/.exec(line) ?? [];
    if (done !== undefined) console.log(`  ${card}, kernel ${kernel}: ${done.trimEnd()}`);
  };
  const end = await inGuest({ card, kernel, secondsMax: minutes * 60, onLine }, words);
  const { output, warnings } = end;
  const seconds = (Date.now() - start) / 1000;
  const counts = countUvu({ output, fault: faultOf(end) });
  const failed = counts.failed + warnings.length;
  const parts = [`${counts.passed} passed`, `${failed} failed`, `${counts.skips.length} skipped`];
  const fault = faultOf(end);
  const release = /^kernel (\S+)$/m.exec(output)?.[1];
  const named = release === undefined ? '' : ` (${release})`;
  const why = fault === null ? '' : `; ${fault}`;
  console.log(
    `${card}, kernel ${kernel}${named}: ${parts.join(', ')} (${seconds.toFixed(0)} s)${why}`,
  );
  for (const skip of counts.skips) console.log(`  skip: ${skip}`);
  for (const warning of warnings) console.log(`  the guest's kernel: ${warning}`);
  if (failed > 0) console.log(output.replace(/^/gm, '  | '));
  return { passed: counts.passed, failed, skipped: counts.skips.length };
}

/** On this machine, which runs arm64's programs in QEMU's user mode. */
function testArm64(): Counts {
  const lack = lackOf('arm64', arm64Folder);
  if (lack !== null) return lack;
  const start = Date.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, 'dist', 'test', 'vm', 'arm64.js')],
    { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  );
  const output = stdout + stderr;
  const seconds = (Date.now() - start) / 1000;
  const fault = status === 0 ? null : `it ended with status ${status}`;
  const { passed, failed, skips } = countUvu({ output, fault });
  console.log(`arm64: ${passed} passed, ${failed} failed (${seconds.toFixed(0)} s)`);
  if (failed > 0) console.log(output.replace(/^/gm, '  | '));
  return { passed, failed, skipped: skips.length };
}

async function testAll(flags: Flags): Promise<void> {
  const lack = lackForGuests();
  if (lack !== null) {
    console.log(`skip: ${lack}\n0 passed, 0 failed, 1 skipped`);
    return;
  }
  const { card, kernel, run, minutes, arm64 = false } = flags;
  if (run !== undefined) {
    const guest = { card: card ?? 'virtio_net', kernel: kernel ?? 'newest' } as const;
    const options = { ...guest, secondsMax: minutes * 60 };
    const end = await inGuest(options, ['sh', '-c', run]);
    console.log(end.output);
    for (const warning of end.warnings) console.log(`the guest's kernel: ${warning}`);
    const fault = faultOf(end);
    if (fault !== null) throw new Failure(`in the guest: ${fault}`);
    return;
  }
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  const count = (counts: Counts) => {
    for (const name of ['passed', 'failed', 'skipped'] as const) total[name] += counts[name];
  };
  const isChosen = card !== undefined || kernel !== undefined;
  const guests = (card === undefined ? CARDS : [card]).flatMap((each) =>
    (kernel === undefined ? KERNELS : [kernel]).map((version) => [each, version] as const),
  );
  if (isChosen || !arm64) {
    bundle();
    for (const [each, version] of guests) count(await testOn(each, version, flags));
  }
  if (arm64 || !isChosen) count(testArm64());
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  if (total.failed > 0) process.exitCode = 1;
}

const testVm = command('test:vm', 'Test zero copy in guests whose cards do it.')
  .option('--card <card>', `${CARDS.join(' or ')} (default: each)`, oneOf('--card', CARDS))
  .option(
    '--kernel <version>',
    `${KERNELS.join(', ')} (default: each; with --run: newest)`,
    oneOf('--kernel', KERNELS),
  )
  .option('--arm64', 'arm64 alone, or beside the card and kernel that are named')
  .option('--only <regex>', 'of the tests in guests')
  .option('--brief', 'of the tests in guests what .ci/run has time for')
  .option('--run <command>', 'this instead, in one guest')
  .option('--minutes <n>', 'of a guest', number('--minutes', { min: 1, max: 600 }), 30)
  .action(testAll);

await runProgram(testVm, process.argv.slice(2));
