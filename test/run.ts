/**
 * `npm test`: runs every test there is, counts, and ends with the line `P passed, F failed, S
 * skipped`. `npm test -- control lint` runs only the steps whose name contains one of those words.
 *
 * First what needs a core only, BESIDE_MAX at a time and beside the compilation of the native
 * tests, and what needs a link, LINKS_MAX at a time beside those, one more when nothing is left to
 * compute; then what needs the machine, one
 * at a time and alone. A step is told of when it has ended, whole,
 * its name in front. In CI a skip is a failure unless this machine truly lacks what most skips are
 * about.
 */
import { availableParallelism } from 'node:os';
import { lackOfMachine } from './runner/machine.js';
import { endAll, finish } from './runner/process.js';
import { type Need, type Step, stepsNamedLike } from './runner/steps.js';

/**
 * Niced, a compilation comes on top of them. More than a few at a time take longer in all: loops
 * that spin, and caches, have to be shared (eight files of links on two cores: 124 s in two lanes,
 * 128 in three, 148 in four).
 */
const BESIDE_MAX = 1;
const LINKS_MAX = 2;
const SLOWEST_MAX = 15;

interface Outcome {
  readonly name: string;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const say = (line: string) => process.stdout.write(`${line}\n`);

let isInterrupted = false;

/** Runs one step and says how it ended. */
async function run(step: Step, lack: string | null): Promise<Outcome> {
  const finished = await finish(step);
  const { passed, failed, skips } = step.count(finished);
  const skipsFail = skips.length > 0 && lack === null;
  const outcome = {
    name: step.name,
    seconds: finished.seconds,
    cpuSeconds: finished.cpuSeconds,
    passed,
    failed: failed + (skipsFail ? skips.length : 0),
    skipped: skipsFail ? 0 : skips.length,
  };
  if (isInterrupted) return outcome;
  const parts = [`${passed} passed`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (skips.length > 0) parts.push(`${skips.length} skipped`);
  const mark = outcome.failed > 0 ? 'FAIL' : 'ok  ';
  say(`${mark} ${step.name}: ${parts.join(', ')} (${finished.seconds.toFixed(1)} s)`);
  for (const why of skips) say(`     skip: ${why}`);
  if (skipsFail)
    say('     = a skip counts as a failure here: this machine has all that the tests need');
  else if (skips.length > 0 && process.env.CI)
    say(`     = skips are allowed here: this machine lacks ${lack}`);
  if (failed > 0) {
    say(finished.output.trimEnd().replace(/^/gm, '     | '));
    say(`     = ${step.name} ${finished.fault ?? 'failed, or ran no test'}`);
  }
  return outcome;
}

/**
 * Runs what waits in some queues: each lane, one at a time, what waits first in its first queue
 * that is not empty. Lanes may share queues.
 */
async function runLanes(lanes: readonly (readonly Step[][])[], lack: string | null) {
  const outcomes: Outcome[] = [];
  const next = (queues: readonly Step[][]) => queues.find((queue) => queue.length > 0)?.shift();
  const follow = async (queues: readonly Step[][]) => {
    for (let step = next(queues); step !== undefined && !isInterrupted; step = next(queues))
      outcomes.push(await run(step, lack));
  };
  await Promise.all(lanes.map(follow));
  return outcomes;
}

function chosen(): Step[] {
  try {
    return stepsNamedLike(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exit(2);
  }
}

async function main(): Promise<void> {
  const start = Date.now();
  const steps = chosen();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      isInterrupted = true;
      process.stderr.write(`${signal}: ending what runs\n`);
      endAll();
    });
  const lack = process.env.CI ? lackOfMachine() : 'CI';
  const needing = (need: Need) => steps.filter(({ needs }) => needs === need);
  const [core, link, machine] = [needing('core'), needing('link'), needing('machine')];
  const isCompiling = core[0]?.name === 'native compile';
  const computing = Array.from({ length: BESIDE_MAX + (isCompiling ? 1 : 0) }, () => [core]);
  // one that has nothing left to compute helps with what mostly waits
  computing.at(-1)?.push(link);
  const linking = Array.from({ length: LINKS_MAX }, () => [link]);
  const outcomes = [
    ...(await runLanes([...computing, ...linking], lack)),
    ...(await runLanes([[machine]], lack)),
  ];
  if (isInterrupted) process.exit(1);
  const slowest = [...outcomes].sort((a, b) => b.seconds - a.seconds).slice(0, SLOWEST_MAX);
  const row = (seconds: number, cpuSeconds: number, name: string) =>
    say(`  ${seconds.toFixed(1).padStart(6)} s  ${cpuSeconds.toFixed(1).padStart(6)} s  ${name}`);
  say('slowest, and what each took of the cores:');
  for (const { name, seconds, cpuSeconds } of slowest) row(seconds, cpuSeconds, name);
  const cpuSeconds = outcomes.reduce((sum, outcome) => sum + outcome.cpuSeconds, 0);
  row((Date.now() - start) / 1000, cpuSeconds, `all of it, on ${availableParallelism()} cores`);
  const total = (part: 'passed' | 'failed' | 'skipped') =>
    outcomes.reduce((sum, outcome) => sum + outcome[part], 0);
  say(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
  process.exitCode = total('failed') > 0 ? 1 : 0;
}

await main();
