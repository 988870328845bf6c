/**
 * `npm run bench`: fantail and its competitors on a virtual link of their own, side by side, in one
 * run.
 *
 * Every competitor takes one turn at every point in every round, in an order that moves on from
 * round to round, so that nobody always has the quiet minute. Results go to bench-results/:
 * run.jsonl while it runs (a run that is interrupted goes on from there), then latest.json and
 * latest.html.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { clockText, Progress } from '../../src/terminal/progress.js';
import { markdownOf } from './report/markdown.js';
import { linesOf, pageOf } from './report/report.js';
import { summaryOf } from './report/summary.js';
import { type CompetitorName, competitorOf } from './runs/competitors.js';
import { Engine } from './runs/engine.js';
import { Journal } from './runs/journal.js';
import { machineOf } from './runs/machine.js';
import { type Field, type Turn, takeTurn } from './runs/measure.js';
import { type Plan, type Point, plans } from './runs/plan.js';
import { ROOT } from './runs/process.js';
import type { Special } from './runs/special.js';
import { tuneSpecials } from './runs/tune.js';
import { makeWorld } from './runs/world.js';
import { prepare, specials } from './specials/specials.js';

interface Flags {
  readonly quick?: true;
  readonly tiny?: true;
  readonly tune?: true;
  readonly soak?: true;
  readonly only?: RegExp;
  readonly rounds?: number;
  readonly seed: number;
  readonly fresh?: true;
  readonly list?: true;
  readonly output: string;
}

interface Task {
  readonly name: string;
  readonly round: number;
  readonly isDone: (journal: Journal) => boolean;
  readonly carryOut: (field: Field, journal: Journal) => Promise<string>;
}

function patternOf(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new InvalidArgumentError('it is no regular expression.');
  }
}

function numberOf(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('it is no number from 1 on.');
  return Number(text);
}

function parse(): Flags {
  return new Command('npm run bench --')
    .description('Measure fantail and its competitors side by side on a virtual link. Needs root.')
    .addOption(
      new Option('--quick', 'the base points only, in two minutes').conflicts(['tune', 'soak']),
    )
    .addOption(new Option('--tiny', 'everything for an instant, to see that it works').hideHelp())
    .addOption(
      new Option(
        '--tune',
        'the raw AF_XDP programs with other settings, and nothing else',
      ).conflicts('soak'),
    )
    .option('--soak', 'memory under 100,000 packets/s for ten minutes, and nothing else')
    .option('--only <regex>', 'only turns whose name matches; see --list', patternOf)
    .option('--rounds <n>', 'turns of each competitor at each point', numberOf)
    .option('--seed <n>', 'of the payloads', numberOf, 1)
    .option('--fresh', 'begin anew instead of going on with a run that was interrupted')
    .option('--list', 'print the names of all turns and measure nothing')
    .option('--output <folder>', 'where results go', join(ROOT, 'bench-results'))
    .parse()
    .opts<Flags>();
}

function planOf({ quick, tiny, tune, soak, rounds }: Flags): Plan {
  const plan = tiny
    ? plans.tiny
    : quick
      ? plans.quick
      : tune
        ? plans.tune
        : soak
          ? plans.soak
          : plans.full;
  return rounds === undefined ? plan : { ...plan, sizes: { ...plan.sizes, rounds } };
}

// ---- Tasks ----

const short = (value: number) =>
  value >= 1000 ? `${Math.round(value / 100) / 10}k` : String(Math.round(value));

function describe({ windows, limit, trials }: Turn): string {
  const parts = windows.map(({ rate, latency_ns: [p50, , p99], lost }) => {
    const loss = lost > 0 ? `, ${lost} lost` : '';
    return `${short(rate)} p50 ${(p50 / 1000).toFixed(1)} p99 ${(p99 / 1000).toFixed(1)} µs${loss}`;
  });
  if (limit !== null)
    parts.push(
      `lossless ${limit.isLowerBound ? '≥ ' : ''}${short(limit.rate)} → ${short(limit.output)}`,
    );
  else if (trials.length > 0) parts.push('lossless at no rate tried');
  return parts.join('; ');
}

function turnTask(point: Point, name: CompetitorName, round: number, plan: Plan): Task {
  const isMine = (turn: Turn) => turn.point === point.id && turn.competitor === name;
  return {
    name: `${point.id} ${name}`,
    round,
    isDone: ({ turns }) => turns.some((turn) => isMine(turn) && turn.round === round),
    async carryOut(field, journal) {
      const known =
        journal.turns
          .filter(isMine)
          .flatMap(({ limit }) => limit?.rate ?? [])
          .at(-1) ?? null;
      const competitor = competitorOf(name);
      const turn = await takeTurn(field, { point, competitor, round, sizes: plan.sizes, known });
      journal.addTurn(turn);
      return describe(turn);
    },
  };
}

function specialTask(special: Special, round: number, plan: Plan): Task {
  return {
    name: special.id,
    round,
    isDone: (journal) =>
      journal.specials.some((done) => done.special === special.id && done.round === round),
    async carryOut(field, journal) {
      const result = await special.run(field, plan.sizes);
      journal.addSpecial({ special: special.id, title: special.title, round, ...result });
      return Object.entries(result.values)
        .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
        .join(', ');
    },
  };
}

function specialsOf(plan: Plan): readonly Special[] {
  if (plan.name === 'tune') return tuneSpecials(plan.sizes.rounds);
  if (plan.name === 'soak') return specials.filter(({ id }) => id === 'memory fantail inline');
  return specials;
}

/** Rounds one after the other at each point; who begins moves on by one each round. */
function tasksOf(plan: Plan): Task[] {
  const { rounds } = plan.sizes;
  const turns = plan.points.flatMap((point) =>
    Array.from({ length: rounds }, (_, round) => {
      const names = point.competitors;
      const first = round % names.length;
      return [...names.slice(first), ...names.slice(0, first)].map((name) =>
        turnTask(point, name, round, plan),
      );
    }).flat(),
  );
  const chosen = specialsOf(plan);
  const more = Array.from({ length: rounds }, (_, round) =>
    chosen
      .filter((special) => round < special.rounds)
      .map((special) => specialTask(special, round, plan)),
  ).flat();
  return [...turns, ...more];
}

// ---- The run ----

/** Tells on stderr how far it is: stdout is for the table. */
class Turns {
  private readonly start = Date.now();
  private readonly progress: Progress;
  private done = 0;

  constructor(private readonly count: number) {
    this.progress = new Progress({ total: count });
  }

  begin({ name, round }: Task): void {
    this.progress.update(this.done, `${name}, round ${round + 1}`);
  }

  tell(task: Task, result: string): void {
    this.done++;
    const spent = Date.now() - this.start;
    const left = clockText((spent / this.done) * (this.count - this.done));
    const place = `[${String(this.done).padStart(String(this.count).length)}/${this.count}, ${left} left]`;
    const line = `${place} ${task.name}, round ${task.round + 1}: ${result}\n`;
    this.progress.aside(() => process.stderr.write(line));
  }

  close(): void {
    this.progress.close();
  }
}

/**
 * Carries out what is not done yet. One that fails is told and left out; the rest goes on. Gives
 * the failures.
 */
async function carryOut(tasks: readonly Task[], journal: Journal): Promise<number> {
  const left = tasks.filter((task) => !task.isDone(journal));
  const turns = new Turns(left.length);
  const { seed } = journal.head;
  const world = makeWorld(1);
  const engine = await Engine.start(world, seed);
  let failures = 0;
  try {
    for (const task of left) {
      turns.begin(task);
      try {
        turns.tell(task, await task.carryOut({ world, engine, seed }, journal));
      } catch (error) {
        failures++;
        turns.tell(task, `FAILED: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  } finally {
    turns.close();
  }
  await engine.stop();
  world.close();
  return failures;
}

async function main(): Promise<number> {
  const flags = parse();
  const plan = planOf(flags);
  const tasks = tasksOf(plan).filter(({ name }) => flags.only?.test(name) ?? true);
  if (flags.list) {
    for (const name of new Set(tasks.map((task) => task.name))) process.stdout.write(`${name}\n`);
    return 0;
  }
  if (tasks.length === 0) {
    process.stderr.write('bench: no turn has such a name; see: npm run bench -- --list\n');
    return 2;
  }
  if (process.geteuid?.() !== 0) {
    process.stderr.write('bench: network namespaces and AF_XDP need root; run it with sudo\n');
    return 1;
  }
  prepare();
  mkdirSync(flags.output, { recursive: true });
  const head = {
    plan: plan.name,
    seed: flags.seed,
    machine: machineOf(),
    started: new Date().toISOString(),
  };
  const journal = Journal.open(join(flags.output, 'run.jsonl'), head, flags.fresh === true);
  if (journal.isResumed)
    process.stderr.write(
      `bench: goes on with the run begun ${journal.head.started}; --fresh begins anew\n`,
    );
  const failures = await carryOut(tasks, journal);
  const run = { head: journal.head, turns: journal.turns, specials: journal.specials };
  const summary = summaryOf(run);
  writeFileSync(
    join(flags.output, 'latest.json'),
    `${JSON.stringify({ ...run.head, summary, ...run }, null, 1)}\n`,
  );
  writeFileSync(join(flags.output, 'latest.md'), markdownOf(run, summary));
  writeFileSync(join(flags.output, 'latest.html'), pageOf(run, summary));
  process.stdout.write(`${linesOf(run, summary).join('\n')}\n`);
  if (failures === 0 && flags.only === undefined) journal.finish();
  if (failures > 0)
    process.stderr.write(`bench: ${failures} turns failed; the same command tries them again\n`);
  return failures > 0 ? 1 : 0;
}

process.exit(await main());
