/** What a running replicator is asked about its subscribers: what is taken, and what runs. */
import { type Command, Option } from 'commander';
import type { ClientFlags } from '../../control/client.js';
import { CONTROL_URL, WATCH_SECONDS_MAX, WATCH_SECONDS_MIN } from '../../control/constants.js';
import type { TopFlags } from '../../top/top.js';
import { address, feedChoice, lease, number, port } from '../arguments.js';
import type { AddFlags } from '../commands/add.js';
import type { StatsFlags } from '../commands/stats.js';
import { command, interruption, STOP_WAIT_MS, untilInterrupted } from '../program.js';

/** Of a command that asks a running replicator one thing, each word a value. */
export type JsonFlags = ClientFlags & { json?: boolean };

/** The flags of every command that asks a running replicator. */
export function addClient(made: Command): Command {
  return addControl(made).option('--json', 'print the reply as it came');
}

export function addControl(made: Command): Command {
  return made
    .option('--control <url>', 'control port of the replicator', CONTROL_URL)
    .option('--token-file <file>', 'file with the token, where the replicator wants one')
    .option('--tls-ca <file>', 'whom to trust with wss://, PEM (default: whom Node trusts)');
}

export function add(): Command {
  const does = 'Add a subscriber: feeds go there too from now on (4096 at most).';
  const made = addSubscriber(command('add', does))
    .option(
      '--feed <names>',
      'which feeds, such as main,b; or all, those to come too (default: as before; main)',
      feedChoice,
    )
    .option(
      '--lease <seconds>',
      'for so long, adding again renews it; or session: until this command is ended',
      lease,
    );
  return addClient(made).action(async (ip: string, port: number, flags: AddFlags) => {
    const run = await import('../commands/add.js');
    await untilInterrupted(run.add({ ip, port }, flags, interruption), STOP_WAIT_MS);
  });
}

export function remove(): Command {
  return addClient(addSubscriber(command('remove', 'Remove a subscriber.'))).action(
    async (ip: string, port: number, flags: JsonFlags) => {
      const run = await import('../commands/remove.js');
      await untilInterrupted(run.remove({ ip, port }, flags));
    },
  );
}

export const pause = () =>
  pausing('pause', 'Send nothing to a subscriber, which keeps its place, until resume.');
export const resume = () => pausing('resume', 'Send to a paused subscriber again.');

function pausing(op: 'pause' | 'resume', does: string): Command {
  return addClient(addSubscriber(command(op, does))).action(
    async (ip: string, port: number, flags: JsonFlags) => {
      const run = await import('../commands/pause.js');
      await untilInterrupted(run.pause(op, { ip, port }, flags));
    },
  );
}

function addSubscriber(made: Command): Command {
  return made
    .argument('<dest_ip>', 'IPv4 address', address('dest_ip'))
    .argument('<dest_port>', 'port, 1 to 65535', port('dest_port'));
}

export function list(): Command {
  const does = 'List the subscribers: state, MAC, worker, filter and feeds of each.';
  return addClient(command('list', does)).action(async (flags: JsonFlags) => {
    const run = await import('../commands/list.js');
    await untilInterrupted(run.list(flags));
  });
}

export function top(): Command {
  const seconds = { min: WATCH_SECONDS_MIN, max: WATCH_SECONDS_MAX };
  const does = 'Watch it on a terminal: rates, latency, drops, by subscriber, feed and worker.';
  return addControl(command('top', does))
    .option(
      '--interval <seconds>',
      `between two looks, ${seconds.min} to ${seconds.max}`,
      number('--interval', seconds),
      1,
    )
    .addHelpText(
      'after',
      `
Tab               the next table: subscribers, feeds, workers, drops
left right 1 to 9 the column to sort by; r the other way round
/                 only rows that match, as in less; Enter keeps it, Esc shows all
up down PgUp PgDn Home End, and j k space b g G: scroll
q, Ctrl-C         end, and leave the screen as it was

Rates are of the time between two looks, latency of the last one to two seconds,
drops of all since the start.
NO_COLOR is honoured. Not on a terminal: fantail stats --watch.`,
    )
    .action(async (flags: TopFlags) => {
      const run = await import('../../top/top.js');
      await untilInterrupted(run.top(flags, interruption), STOP_WAIT_MS);
    });
}

export function stats(): Command {
  const seconds = { min: WATCH_SECONDS_MIN, max: WATCH_SECONDS_MAX };
  const watch = new Option(
    '--watch [seconds]',
    `again and again, with rates: every ${seconds.min} to ${seconds.max} seconds (default: 1)`,
  );
  const made = command(
    'stats',
    'Print the counters: feeds, XDP, kernel, workers, subscribers, lines of dedupe.',
  )
    .addOption(watch.preset('1').argParser(number('--watch', seconds)))
    .option(
      '--check',
      'exit 1 with the difference unless all packets are accounted for; takes up to 1 s',
    )
    .option(
      '--queues',
      "those of each queue beside the driver's own (xdp, xsk of ethtool -S), since the start",
    );
  return addClient(made).action(async (flags: StatsFlags) => {
    const run = await import('../commands/stats.js');
    await untilInterrupted(run.stats(flags, interruption), STOP_WAIT_MS);
  });
}
