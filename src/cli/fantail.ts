/**
 * `fantail` and its commands. Each is declared in declarations/, and what it does is in commands/,
 * loaded when it is called, so that `fantail add` starts without the data plane.
 */
import type { Command } from 'commander';
import { config, reload } from './declarations/configuration.js';
import { doctor } from './declarations/doctor.js';
import { feed } from './declarations/feeds.js';
import { filter } from './declarations/filters.js';
import { fleet } from './declarations/fleet.js';
import { plan } from './declarations/plan.js';
import { clean, demo, up } from './declarations/replicator.js';
import { installService } from './declarations/service.js';
import { completions, help, man } from './declarations/shell.js';
import { add, list, pause, remove, resume, stats, top } from './declarations/subscribers.js';
import { bench, send } from './declarations/traffic.js';
import { command } from './program.js';

export function fantail(): Command {
  const made = command(
    'fantail',
    'One UDP feed in, many subscribers out, at the speed of the link.',
  )
    .usage('<command> [arguments]')
    .addHelpText(
      'after',
      '\nHelp on one command: fantail <command> --help\nTry it on a virtual link: fantail demo',
    )
    .helpCommand(false); // its own can more
  const subscribers = [add, remove, pause, resume, list];
  for (const each of [
    up,
    ...subscribers,
    feed,
    stats,
    top,
    send,
    bench,
    plan,
    demo,
    filter,
    fleet,
    config,
    reload,
    doctor,
    clean,
    installService,
    completions,
    man,
    help,
  ])
    made.addCommand(each());
  return made;
}
