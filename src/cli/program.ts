/**
 * What every program of fantail's command line shares: how a command is declared, how Ctrl-C ends
 * it, and how whatever goes wrong becomes one line and a status.
 *
 * 0 done, also after Ctrl-C · 1 failed · 2 misused. Used by main.ts and by the programs in bin/.
 */

import { inspect } from 'node:util';
import { Command, CommanderError, Option } from 'commander';
import { AddressFailure, Failure, FantailError, UsageError } from '../domain/errors.js';
import { BUILD_LINE, version } from '../domain/installation.js';

const USAGE_STATUS = 2;
export const FAILURE_STATUS = 1;
/** Columns of help. */
const HELP_WIDTH = 100;
/** Time that a command which stops by itself has to do so. */
export const STOP_WAIT_MS = 1000;
/**
 * The same for a measurement: it takes its subscription back, reports, and may have a long file to
 * write.
 */
export const MEASURE_STOP_WAIT_MS = 30_000;

/** Aborted by the first Ctrl-C or SIGTERM of a client command; the second one kills. */
const interrupted = new AbortController();
export const interruption: AbortSignal = interrupted.signal;

/** What every command has: --help, errors that are thrown, and no surprise arguments. */
export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption('--help', 'print this help')
    .allowExcessArguments(false)
    .exitOverride()
    .configureHelp({ optionDescription, subcommandTerm: (each) => each.name() })
    .configureOutput({
      writeErr: () => {},
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    });
}

/** A flag that may be given several times; in a configuration file it is a list. */
export class RepeatedOption extends Option {}

/** As commander writes it, but for the quotes: nobody types those. */
function optionDescription({ description, defaultValue }: Option): string {
  return defaultValue === undefined ? description : `${description} (default: ${defaultValue})`;
}

/**
 * Ctrl-C and SIGTERM end a client command with status 0; one that stops by itself has `waitMs` for
 * a last word.
 */
export async function untilInterrupted(work: Promise<void>, waitMs = 0): Promise<void> {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      interrupted.abort();
      setTimeout(() => process.exit(0), waitMs).unref();
    });
  }
  await work;
}

/** `fantail stats --watch | head`: the reader has what it wanted. */
let outputLost = (error: NodeJS.ErrnoException): void => {
  process.exit(error.code === 'EPIPE' ? 0 : FAILURE_STATUS);
};

/** A command that must not just exit does this instead when its output cannot be written. */
export function whenOutputIsLost(handler: (error: NodeJS.ErrnoException) => void): void {
  outputLost = handler;
}

/** Where sentences on what went wrong go. */
let sayFailure = (text: string): void => {
  process.stderr.write(text);
};

/** A command whose stderr is read by programs says them by `handler`. */
export function whenItFails(handler: (sentence: string) => void): void {
  sayFailure = (text) => handler(text.trimEnd());
}

/** Runs a program of one or more commands on the words of its command line, to its exit status. */
export async function runProgram(program: Command, words: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => outputLost(error));
  const status = await statusOf(program, words);
  if (status !== 0) process.exitCode = status;
}

/** Runs it, once for each program, says what went wrong, and gives the status. */
export async function statusOf(program: Command, words: readonly string[]): Promise<number> {
  addVersion(program);
  const path = commandPath(program, words);
  const asked = path.at(-1) ?? program;
  try {
    if (words.length === path.length - 1 && asked.commands.length > 0) {
      const names = asked.commands.map((each) => each.name());
      throw new UsageError(`which command? one of ${names.join(', ')}`);
    }
    await program.parseAsync(words, { from: 'user' });
    return 0;
  } catch (thrown) {
    const name = path.map((each) => each.name()).join(' ');
    return report(thrown instanceof CommanderError ? misuse(thrown, asked) : thrown, name);
  }
}

/** Behind the flags that a command was declared with, so that help shows those first. */
function addVersion(made: Command): void {
  made.version(version, '--version', 'print the version');
  for (const each of made.commands) addVersion(each);
}

/**
 * `fantail`, `stats` if that is the command: the words before it select it, and its name leads to
 * the help that answers.
 */
function commandPath(program: Command, words: readonly string[]): Command[] {
  const path = [program];
  for (const word of words) {
    const next = path
      .at(-1)
      ?.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (next === undefined) break;
    path.push(next);
  }
  return path;
}

// ---- what went wrong ----------------------------------------------------------------------------

/** Prints the one line and gives the status; null is no fault. */
function report(thrown: unknown, name: string): number {
  if (thrown === null) return 0;
  if (thrown instanceof AddressFailure)
    return complain(name, withHelp(new UsageError(`--control ${thrown.what}`), name), USAGE_STATUS);
  if (thrown instanceof UsageError) return complain(name, withHelp(thrown, name), USAGE_STATUS);
  if (thrown instanceof Failure || thrown instanceof FantailError) {
    return complain(name, thrown.message, FAILURE_STATUS);
  }
  const error = thrown as NodeJS.ErrnoException;
  if (error.code === 'ERR_MODULE_NOT_FOUND') {
    return complain(name, `${error.message}; build it with: ${BUILD_LINE}`, FAILURE_STATUS);
  }
  // with its stack, since it is ours to mend
  sayFailure(`${name}: a fault of its own: ${inspect(thrown)}\n`);
  return FAILURE_STATUS;
}

/** One line, by whatever says them; gives the status. */
export function complain(name: string, sentence: string, status: number): number {
  sayFailure(`${name}: ${sentence.replace(/\s*\n\s*/g, ' ')}\n`);
  return status;
}

function withHelp({ message, see }: UsageError, name: string): string {
  return `${message}${message.endsWith('?') ? '' : ';'} see: ${see ?? `${name} --help`}`;
}

/** What commander refuses, as a sentence of ours; null: --help or --version was asked for. */
function misuse({ code, exitCode, message }: CommanderError, asked: Command): UsageError | null {
  if (exitCode === 0) return null;
  if (code === 'commander.help') return new UsageError('help: there is no such command');
  if (code === 'commander.excessArguments') {
    const whose = asked.parent === null ? '' : ` for '${asked.name()}'`;
    const counts = `it takes ${asked.registeredArguments.length}, not ${asked.args.length}`;
    return new UsageError(`too many arguments${whose}: ${counts}`);
  }
  // what was meant by a misspelt word stands in brackets on a line of its own
  const sentence = message.slice('error: '.length);
  const hint = sentence.lastIndexOf('\n(Did you mean ');
  if (hint < 0) return new UsageError(sentence);
  return new UsageError(`${sentence.slice(0, hint)}; did ${sentence.slice(hint + 6, -1)}`);
}
