/**
 * `npm test`: runs every test there is, counts, and ends with the line `P passed, F failed, S
 * skipped`.
 *
 * The steps: the generated files are fresh, the linter agrees, the native tests, then each
 * *.test.ts below test/ in a process of its own. `npm test -- control lint` runs only the steps
 * whose name contains one of those words.
 *
 * What counts: uvu's own totals; for native tests the `P passed, F failed` line of each program. A
 * test that cannot run here prints `skip: why` and returns: it is counted as skipped, not as
 * passed. In CI a skip is a failure unless this machine truly lacks what most skips are about (see
 * `lackOf`). A file that runs no test at all fails: uvu would call it good.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** A file may ask for more with a comment `// time limit: 300 s`. */
const FILE_SECONDS_MAX = 120;
const NATIVE_SECONDS_MAX = 900;
/** Between SIGTERM, on which a test cleans up, and SIGKILL. */
const GRACE_MS = 5000;
/** How long a pipe may stay open after its process has ended. */
const PIPE_MS = 2000;
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_SYS_ADMIN: 21, CAP_BPF: 39 };

interface Finished {
  readonly output: string;
  /** Why it did not end with status 0; null if it did. */
  readonly fault: string | null;
}

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly string[];
}

interface Step {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly secondsMax: number;
  readonly count: (finished: Finished) => Counts;
}

/** The process group that runs now, so that Ctrl-C ends it too. */
let running: number | null = null;

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // It has just ended.
  }
}

function runStep(step: Step): Promise<Finished> {
  return new Promise((resolve) => {
    let output = '';
    let late = false;
    // A group of its own: a test that hangs is ended together with all that it started.
    const child = spawn(step.program, step.args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', NODE_NO_WARNINGS: '1' },
    });
    const group = child.pid;
    running = group ?? null;
    const collect = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const limit = setTimeout(() => {
      late = true;
      if (group === undefined) return;
      signalGroup(group, 'SIGTERM');
      setTimeout(() => signalGroup(group, 'SIGKILL'), GRACE_MS).unref();
    }, step.secondsMax * 1000);
    const finish = (fault: string | null) => {
      clearTimeout(limit);
      running = null;
      resolve({ output, fault: late ? `took longer than ${step.secondsMax} s` : fault });
    };
    child.on('error', (error) => finish(error.message));
    const faultOf = (status: number | null, signal: string | null) => {
      if (status === 0) return null;
      return signal === null ? `ended with status ${status}` : `was killed by ${signal}`;
    };
    child.on('close', (status, signal) => finish(faultOf(status, signal)));
    // A stray grandchild that holds the pipe open must not hold us.
    child.on('exit', (status, signal) =>
      setTimeout(() => finish(faultOf(status, signal)), PIPE_MS).unref(),
    );
  });
}

/** All numbers that `pattern` captures in `text`, added up; null if there is none. */
function sum(text: string, pattern: RegExp): number | null {
  const found = [...text.matchAll(pattern)];
  return found.length === 0 ? null : found.reduce((total, match) => total + Number(match[1]), 0);
}

/** uvu writes its suite's name and its dots without a line end, so a skip may stand behind them. */
const skipsIn = (output: string) =>
  [...output.matchAll(/(?:^|\s)skip: *(.+)$/gm)].map((match) => match[1] ?? '');

function countUvu({ output, fault }: Finished): Counts {
  const total = sum(output, /^ {2}Total: +(\d+)$/gm) ?? 0;
  const passed = sum(output, /^ {2}Passed: +(\d+)$/gm) ?? 0;
  const unexplained = sum(output, /^ {2}Skipped: +(\d+)$/gm) ?? 0;
  const skips = [...skipsIn(output), ...Array<string>(unexplained).fill('no reason given')];
  // No total at all, or a total with a bad end (a crash in clean-up): one failure, whatever the
  // totals say.
  const failed = Math.max(total - passed, fault !== null || total + unexplained === 0 ? 1 : 0);
  return { passed: Math.max(passed - (skips.length - unexplained), 0), failed, skips };
}

/**
 * The Makefile prints `# name` before each program; one that tells no total, or of no test, counts
 * as a failure.
 */
function countNative({ output, fault }: Finished): Counts {
  const programs = output.split(/^# /m).slice(1);
  let passed = 0;
  let failed = 0;
  const skips: string[] = [];
  for (const said of programs) {
    const total = /^(\d+) passed, (\d+) failed/m.exec(said);
    const skipped = skipsIn(said);
    const count = Number(total?.[1] ?? 0) + Number(total?.[2] ?? 0) + skipped.length;
    passed += Number(total?.[1] ?? 0);
    failed += count === 0 ? 1 : Number(total?.[2] ?? 0);
    skips.push(...skipped);
  }
  return {
    passed,
    failed: Math.max(failed, fault !== null || programs.length === 0 ? 1 : 0),
    skips,
  };
}

function countWhole({ fault }: Finished): Counts {
  return { passed: fault === null ? 1 : 0, failed: fault === null ? 0 : 1, skips: [] };
}

/**
 * The steps, from the quickest to tell something to the slowest. Test files are found by source,
 * never by a stale dist.
 */
function allSteps(): Step[] {
  const node = process.execPath;
  const found = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const files = found.filter((file) => file.endsWith('.test.ts'));
  const fileSteps = files.sort().map((file): Step => {
    const asked = /^(?:\/\/| \*) time limit: (\d+) s/m.exec(
      readFileSync(join(ROOT, 'test', file), 'utf8'),
    );
    return {
      name: `test/${file}`,
      program: node,
      args: [join('dist', 'test', file.replace(/\.ts$/, '.js'))],
      secondsMax: asked === null ? FILE_SECONDS_MAX : Number(asked[1]),
      count: countUvu,
    };
  });
  const whole = (name: string, program: string, args: string[]): Step => {
    return { name, program, args, secondsMax: FILE_SECONDS_MAX, count: countWhole };
  };
  return [
    whole('generated files', node, ['dist/tools/gen-layout.js', '--check']),
    whole('lint', node, ['node_modules/@biomejs/biome/bin/biome', 'check', '.']),
    whole('format of native code', node, ['tools/format-native.mjs']),
    {
      name: 'native',
      program: 'make',
      args: ['--no-print-directory', '-C', 'native', '-j2', 'test'],
      secondsMax: NATIVE_SECONDS_MAX,
      count: countNative,
    },
    ...fileSteps,
  ];
}

/**
 * What this machine lacks for the privileged tests, tried and not assumed; null: nothing, so that a
 * skip is a fault.
 */
function lackOf(): string | null {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  for (const [name, bit] of Object.entries(CAPABILITIES)) {
    if (((effective >> BigInt(bit)) & 1n) === 0n) return name;
  }
  const namespace = `fantail-test-${process.pid}`;
  const ip = (...args: string[]) => spawnSync('ip', args, { stdio: 'ignore' }).status === 0;
  try {
    if (!ip('netns', 'add', namespace)) return 'network namespaces';
    if (!ip('-n', namespace, 'link', 'add', 'test0', 'type', 'veth', 'peer', 'name', 'test1'))
      return 'veth links';
  } finally {
    ip('netns', 'del', namespace);
  }
  return null;
}

function chosenSteps(words: readonly string[]): Step[] {
  const steps = allSteps();
  if (words.length === 0) return steps;
  const idle = words.find((word) => !steps.some((step) => step.name.includes(word)));
  if (idle !== undefined) {
    process.stderr.write(
      `no test is named like ${idle}; there are:\n  ${steps.map((s) => s.name).join('\n  ')}\n`,
    );
    process.exit(2);
  }
  return steps.filter((step) => words.some((word) => step.name.includes(word)));
}

function report(step: Step, finished: Finished, counts: Counts, seconds: number): void {
  const parts = [`${counts.passed} passed`];
  if (counts.failed > 0) parts.push(`${counts.failed} failed`);
  if (counts.skips.length > 0) parts.push(`${counts.skips.length} skipped`);
  const mark = counts.failed > 0 ? 'FAIL' : 'ok  ';
  process.stdout.write(`${mark} ${step.name}: ${parts.join(', ')} (${seconds.toFixed(1)} s)\n`);
  for (const why of counts.skips) process.stdout.write(`     skip: ${why}\n`);
  if (counts.failed === 0) return;
  const indented = finished.output.trimEnd().replace(/^/gm, '     | ');
  process.stdout.write(
    `${indented}\n     = ${step.name} ${finished.fault ?? 'failed, or ran no test'}\n`,
  );
}

async function main(): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (running !== null) signalGroup(running, 'SIGTERM');
      process.exit(1);
    });
  const lack = process.env.CI ? lackOf() : 'CI';
  const sums = { passed: 0, failed: 0, skipped: 0 };
  for (const step of chosenSteps(process.argv.slice(2))) {
    const start = Date.now();
    const finished = await runStep(step);
    const counts = step.count(finished);
    report(step, finished, counts, (Date.now() - start) / 1000);
    sums.passed += counts.passed;
    sums.failed += counts.failed;
    if (counts.skips.length > 0 && process.env.CI && lack !== null)
      process.stdout.write(`     = skips are allowed here: this machine lacks ${lack}\n`);
    if (counts.skips.length > 0 && lack === null) {
      process.stdout.write(
        '     = a skip counts as a failure here: this machine has all that the tests need\n',
      );
      sums.failed += counts.skips.length;
    } else sums.skipped += counts.skips.length;
  }
  process.stdout.write(`${sums.passed} passed, ${sums.failed} failed, ${sums.skipped} skipped\n`);
  process.exitCode = sums.failed > 0 ? 1 : 0;
}

await main();
