/**
 * `npm run soak:fleet`: a group of members under a feed, killed, drained, cut off and without its
 * etcd; prints what was found beside what must hold. Exit 1: something did not hold. With --minutes
 * it goes on after that, with one thing or the other at random, for as long as one likes.
 */
import { integer, number } from '../../../src/cli/arguments.js';
import { command, runProgram } from '../../../src/cli/program.js';
import { Failure, UsageError } from '../../../src/domain/errors.js';
import { Progress } from '../../../src/terminal/progress.js';
import { lackForFleet } from '../../rig/fleet/fleet.js';
import { Group } from '../../rig/fleet/group.js';
import { random } from '../../rig/random.js';
import { capacity } from './capacity.js';
import {
  away,
  baseline,
  type Chapter,
  drain,
  hung,
  isolation,
  kill,
  leader,
  orphaned,
  partitions,
  type Soaking,
  stop,
  supervisor,
} from './chapters.js';
import { Findings } from './findings.js';

const ADDRESSES = 5;

interface Flags {
  readonly members: number;
  readonly subscribers: number;
  readonly rate: number;
  readonly partitions: number;
  readonly awaySeconds: number;
  readonly minutes: number;
  readonly seed?: number;
  readonly only?: string;
}

const chaptersOf = (flags: Flags): Readonly<Record<string, Chapter>> => ({
  baseline,
  kill,
  drain,
  stop,
  supervisor,
  orphaned,
  hung,
  leader,
  away,
  partitions: partitions(flags.partitions),
  'isolated-serve': isolation('serve'),
  'isolated-stop': isolation('stop'),
  capacity,
});

/** What may come at random, one at a time. */
const AT_RANDOM: Readonly<Record<string, Chapter>> = {
  ...{ kill, drain, stop, supervisor, orphaned, hung, leader, away },
  partition: partitions(1),
};

function chosen(flags: Flags): [string, Chapter][] {
  const all = Object.entries(chaptersOf(flags));
  if (flags.only === undefined) return all;
  const names = flags.only.split(',');
  const unknown = names.find((name) => !all.some(([known]) => known === name));
  if (unknown !== undefined) {
    const known = all.map(([name]) => name).join(', ');
    throw new UsageError(`--only: there is no chapter ${unknown}; there are: ${known}`);
  }
  return all.filter(([name]) => names.includes(name));
}

async function goOn(soaking: Soaking, minutes: number, progress: Progress): Promise<void> {
  const names = Object.keys(AT_RANDOM);
  const end_ms = performance.now() + minutes * 60_000;
  while (performance.now() < end_ms) {
    const name = names[soaking.random.below(names.length)] ?? '';
    progress.update(0, name);
    await AT_RANDOM[name]?.(soaking);
  }
}

async function run(flags: Flags): Promise<void> {
  const chapters = chosen(flags);
  const lack = lackForFleet();
  if (lack !== null) throw new Failure(lack);
  if (flags.seed !== undefined) process.env.FANTAIL_SEED = String(flags.seed);
  const subscribers = { addresses: ADDRESSES, each: Math.ceil(flags.subscribers / ADDRESSES) };
  const findings = new Findings();
  const progress = new Progress({ total: chapters.length });
  const group = await Group.open({
    ...{ etcd: 3, members: flags.members, subscribers },
    more: ({ name }) => ['--fleet-isolated', name === 'm1' ? 'stop' : 'serve'],
  });
  const seeded = random('soak of a group');
  const soaking = { group, findings, random: seeded, awaySeconds: flags.awaySeconds };
  try {
    group.fleet.startFeed(flags.rate);
    for (const [index, [name, chapter]] of chapters.entries()) {
      console.log(`${name}:`);
      progress.update(index, name);
      await chapter(soaking);
    }
    await goOn(soaking, flags.minutes, progress);
  } catch (error) {
    console.log(`${findings.table()}\n\n${group.fleet.told()}`);
    throw error;
  } finally {
    progress.close();
    group.close();
  }
  console.log(`\n${findings.table()}`);
  if (!findings.isMet) throw new Failure('not all of it holds');
}

const of = (name: string, min: number, max: number) => integer(name, { min, max });
const soakCommand = command(
  'soak-fleet',
  'Kill, drain and cut off members of a group under a feed.',
)
  .option('--members <n>', 'of the group', of('--members', 3, 9), 5)
  .option('--subscribers <n>', 'in all', of('--subscribers', 50, 4000), 500)
  .option('--rate <n>', 'packets a second', of('--rate', 10, 100_000), 200)
  .option('--partitions <n>', 'of a member from etcd alone', of('--partitions', 1, 10_000), 20)
  .option('--away-seconds <n>', 'for which etcd is stopped', of('--away-seconds', 1, 86_400), 60)
  .option('--minutes <n>', 'to go on at random', number('--minutes', { min: 0, max: 100_000 }), 0)
  .option('--seed <n>', 'of an earlier run, to have it again', of('--seed', 1, 2 ** 32 - 1))
  .option('--only <chapters>', `these alone, such as kill,drain`)
  .action(run);

await runProgram(soakCommand, process.argv.slice(2));
