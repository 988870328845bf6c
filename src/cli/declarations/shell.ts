/** What is made of the declarations of all commands: completions for shells, manual pages. */
import type { Command } from 'commander';
import { oneOf } from '../arguments.js';
import { command } from '../program.js';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** The program that a command is of. */
const rootOf = (made: Command): Command => (made.parent === null ? made : rootOf(made.parent));

export function completions(): Command {
  return command(
    'completions',
    'Print what a shell needs to complete the commands, flags and values.',
  )
    .alias('completion')
    .argument('<shell>', 'bash, zsh or fish', oneOf('shell', SHELLS))
    .action(async (shell: Shell, _: object, made: Command) => {
      const run = await import('../shell/print.js');
      run.completions(rootOf(made), shell);
    });
}

export function man(): Command {
  return command('man', 'Print the manual page of a command, or write all of them into a folder.')
    .argument('[command...]', 'such as up, or filter use (default: that of fantail itself)')
    .option('--all <folder>', 'write them all there, in troff, instead')
    .addHelpText('after', '\nTo read one: fantail man up | man -l -')
    .action(async (names: readonly string[], { all }: { all?: string }, made: Command) => {
      const run = await import('../shell/print.js');
      if (all === undefined) run.man(rootOf(made), names);
      else run.manAll(rootOf(made), all);
    });
}

export function help(): Command {
  return command('help', 'Print this help, or that of a command; with --json all commands.')
    .argument('[command...]', 'such as up, or filter use')
    .option('--json', 'print one JSON object: versions of fantail and of its protocol, commands')
    .action(async (names: readonly string[], { json }: { json?: boolean }, made: Command) => {
      const run = await import('../shell/print.js');
      if (json === true) run.helpJson(rootOf(made));
      else run.help(rootOf(made), names);
    });
}
