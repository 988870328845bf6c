/**
 * `npm run plan`: groups for 10 to 1,000,000 subscribers, each as `fantail plan` would have it and
 * each simulated, as a table, a JSON file and plots in plan-results/. Exit 1: what must
 * hold between the two (judge.ts) does not.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { integer, number } from '../../src/cli/arguments.js';
import { command, runProgram } from '../../src/cli/program.js';
import { Failure } from '../../src/domain/errors.js';
import { figuresOf, type GivenFigures } from '../../src/planning/figures.js';
import { planOf, UTILISATION_MAX } from '../../src/planning/plan.js';
import { Progress } from '../../src/terminal/progress.js';
import { tableLines } from '../../src/terminal/tables.js';
import { ROOT } from '../bench/runs/process.js';
import { faultsOf } from './judge.js';
import { type Compared, pageOf, picturesOf, rowsOf } from './page.js';
import { simulate } from './simulation.js';

interface Flags extends GivenFigures {
  readonly bench?: string;
  readonly row: string;
  readonly rate: number;
  readonly size: number;
  readonly latencyUs?: number;
  readonly utilisation: number;
  readonly subscribers: number;
  readonly packets: number;
  readonly seed: number;
  readonly output: string;
}

/** 10, 20, 50 and so on. */
function countsTo(most: number): number[] {
  const found: number[] = [];
  for (let decade = 10; decade <= most; decade *= 10)
    found.push(...[1, 2, 5].map((digit) => digit * decade).filter((count) => count <= most));
  return found;
}

function compare(flags: Flags, subscribers: number, known: ReturnType<typeof figuresOf>): Compared {
  const { rate, size, utilisation, latencyUs, packets, seed } = flags;
  const feed = { packets_per_second: rate, payload_bytes: size };
  const { figures } = known;
  const wish = { subscribers, feed, figures, utilisation, fanOut: null, members: null };
  const plan = planOf({ ...wish, latency_us: latencyUs ?? null });
  const tree = { subscribers, members: plan.levels.map(({ members }) => members) };
  return { plan, simulated: simulate(tree, figures, feed, { packets, seed }) };
}

function run(flags: Flags): void {
  const source = flags.bench === undefined ? null : { file: flags.bench, competitor: flags.row };
  const known = figuresOf(flags, source, flags.size);
  const counts = countsTo(flags.subscribers);
  const progress = new Progress({ total: counts.length });
  const compared: Compared[] = [];
  try {
    for (const [done, count] of counts.entries()) {
      progress.update(done, `${count} subscribers`);
      compared.push(compare(flags, count, known));
    }
  } finally {
    progress.close();
  }
  const { head, rows } = rowsOf(compared);
  mkdirSync(flags.output, { recursive: true });
  const { row, rate, size, latencyUs = null, utilisation, packets, seed } = flags;
  const of = { row, rate, size, latency_us: latencyUs, utilisation, packets, seed, ...known };
  writeFileSync(
    join(flags.output, 'latest.json'),
    `${JSON.stringify({ ...of, compared }, null, 1)}\n`,
  );
  writeFileSync(join(flags.output, 'latest.html'), pageOf(of, compared));
  for (const [name, svg] of picturesOf(compared))
    writeFileSync(join(flags.output, `${name}.svg`), svg);
  console.log(tableLines(head, rows).join('\n'));
  const faults = compared.flatMap(faultsOf);
  if (faults.length > 0) throw new Failure(faults.join('; '));
}

const made = command('npm run plan --', 'Plans of groups beside a simulation of each.')
  .option('--bench <file.json>', 'what npm run bench has written')
  .option('--row <name>', 'which of its rows', 'fantail inline')
  .option(
    '--first-copy-us <n>',
    'as for fantail plan',
    number('--first-copy-us', { min: 0.001, max: 1e6 }),
  )
  .option('--copy-us <n>', 'as for fantail plan', number('--copy-us', { min: 0.001, max: 1e6 }))
  .option('--jitter <ratio>', 'as for fantail plan', number('--jitter', { min: 1, max: 100 }))
  .option('--rate <n>', 'packets a second', number('--rate', { min: 0.01, max: 1e8 }), 1000)
  .option('--size <bytes>', 'of a payload', integer('--size', { min: 0, max: 3798 }), 200)
  .option('--latency-us <n>', 'p99 that is wanted', number('--latency-us', { min: 1, max: 1e9 }))
  .option(
    '--utilisation <share>',
    'that may be planned',
    number('--utilisation', { min: 0.01, max: 0.95 }),
    UTILISATION_MAX,
  )
  .option(
    '--subscribers <n>',
    'up to so many',
    integer('--subscribers', { min: 10, max: 1e7 }),
    1e6,
  )
  .option('--packets <n>', 'that are simulated', integer('--packets', { min: 100, max: 1e7 }), 5000)
  .option('--seed <n>', 'of the simulation', integer('--seed', { min: 0, max: 2 ** 32 - 1 }), 1)
  .option('--output <folder>', 'where results go', join(ROOT, 'plan-results'))
  .action(run);
await runProgram(made, process.argv.slice(2));
