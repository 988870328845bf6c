/** The configuration file, and what a running replicator makes of it: what is taken, what runs. */
import type { Command } from 'commander';
import { command, untilInterrupted } from '../program.js';
import { addClient, type JsonFlags } from './subscribers.js';

export function config(): Command {
  return command(
    'config',
    'A configuration file of fantail up --config: look at one, or at what holds.',
  )
    .usage('<command> [arguments]')
    .addHelpText('after', '\nHelp on one command: fantail config <command> --help')
    .helpCommand('help', 'print this help, or that of a command')
    .addCommand(check())
    .addCommand(show());
}

function check(): Command {
  return command('check', 'Say ok, or each fault with its line and column; exit 1 if there is one.')
    .argument('<file.yaml>', 'the file')
    .option('--json', 'print one JSON object')
    .action(async (file: string, flags: { json?: boolean }) => {
      const run = await import('../commands/config.js');
      await run.check(file, flags);
    });
}

function show(): Command {
  const does = 'Print what a file says, or what holds in a running replicator, and who said it.';
  const made = command('show', does).argument(
    '[file.yaml]',
    'the file (default: ask a replicator)',
  );
  return addClient(made).action(async (file: string | undefined, flags: JsonFlags) => {
    const run = await import('../commands/config.js');
    await untilInterrupted(file === undefined ? run.showRunning(flags) : run.show(file, flags));
  });
}

export function reload(): Command {
  const does =
    'Have a replicator read its file again; exit 1 if that is wrong, or a part waits for a restart.';
  return addClient(command('reload', does)).action(async (flags: JsonFlags) => {
    const run = await import('../commands/config.js');
    await untilInterrupted(run.reload(flags));
  });
}
