/** `fantail plan`: what it takes, and what runs. */
import type { Command } from 'commander';
import { limits } from '../../memory/layout.js';
import type { PlanFlags } from '../../planning/command.js';
import { UTILISATION_MAX } from '../../planning/plan.js';
import { integer, number } from '../arguments.js';
import { command } from '../program.js';

/** Of the bench, unless another is named: `up` without a flag. */
const ROW_DEFAULT = 'fantail inline';
/** What a frame may have, its headers off: longer packets are not replicated. */
const SIZE_MAX = 3798;

const ranges = {
  subscribers: { min: 1, max: 10_000_000 },
  rate: { min: 0.01, max: 100_000_000 },
  size: { min: 0, max: SIZE_MAX },
  fanOut: { min: 1, max: limits.SUBSCRIBERS_MAX },
  members: { min: 1, max: 1_000_000 },
  us: { min: 0.001, max: 60_000_000 },
  hop: { min: 0, max: 60_000_000 },
  jitter: { min: 1, max: 100 },
  share: { min: 0.01, max: 0.95 },
  gbps: { min: 0.001, max: 10_000 },
} as const;

export function plan(): Command {
  const does =
    'Say how many members and levels of relays a feed needs, with the latency and the window to expect.';
  const made = command('plan', does)
    .requiredOption(
      '--subscribers <n>',
      `how many, up to ${ranges.subscribers.max}`,
      integer('--subscribers', ranges.subscribers),
    )
    .requiredOption('--rate <n>', 'packets a second of the feed', number('--rate', ranges.rate))
    .requiredOption(
      '--size <bytes>',
      `of a packet's payload, up to ${SIZE_MAX}`,
      integer('--size', ranges.size),
    );
  return addWishes(addFigures(made)).action(async (flags: PlanFlags) => {
    const run = await import('../../planning/command.js');
    run.plan(flags);
  });
}

function addFigures(made: Command): Command {
  return made
    .optionsGroup('What a member can do, of the bench or given:')
    .option('--bench <file.json>', 'what npm run bench has written: bench-results/latest.json')
    .option('--row <name>', 'which of its rows', ROW_DEFAULT)
    .option(
      '--first-copy-us <n>',
      "from a packet's sending to its first copy's arrival",
      number('--first-copy-us', ranges.us),
    )
    .option('--copy-us <n>', 'from one copy to the next', number('--copy-us', ranges.us))
    .option(
      '--copies-per-second <n>',
      'the most that leave it without a loss',
      number('--copies-per-second', ranges.rate),
    )
    .option(
      '--jitter <ratio>',
      'p99 over p50 of the time that it takes for a packet',
      number('--jitter', ranges.jitter),
    )
    .option(
      '--hop-us <n>',
      'what each link adds: from the feed, between members, to the subscriber',
      number('--hop-us', ranges.hop),
    )
    .option(
      '--link-gbps <n>',
      'of its interface (default: no bound)',
      number('--link-gbps', ranges.gbps),
    );
}

function addWishes(made: Command): Command {
  return made
    .optionsGroup('What is wanted (default: as few members as can be):')
    .option(
      '--utilisation <share>',
      "of a member's time and link that may be planned",
      number('--utilisation', ranges.share),
      UTILISATION_MAX,
    )
    .option(
      '--fan-out <n>',
      'at most so many children a member',
      integer('--fan-out', ranges.fanOut),
    )
    .option(
      '--members <n>',
      'at most so many members: the fastest tree of them',
      integer('--members', ranges.members),
    )
    .option(
      '--latency-us <n>',
      'p99 to the last subscriber: the smallest tree that has it',
      number('--latency-us', ranges.us),
    )
    .option('--json', 'print one JSON object');
}
