/**
 * What every program of fantail's command line shares: how a command is declared, how Ctrl-C ends
 * it, and how whatever goes wrong becomes one line and a status.
 *
 * 0 done, also after Ctrl-C · 1 failed · 2 misused. Used by main.ts and by the programs in bin/.
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { Failure, FantailError, UsageError } from '../domain/errors.js';

const USAGE_STATUS = 2;
const FAILURE_STATUS = 1;
/** Columns of help. */
const HELP_WIDTH = 100;
/** Time that a command which stops by itself has to do so. */
export const STOP_WAIT_MS = 1000;
/**
 * The same for a measurement: it takes its subscription back, reports, and may have a long file to
 * write.
 */
export const MEASURE_STOP_WAIT_MS = 30_000;

const manifest = new URL('../../../package.json', import.meta.url); // seen from dist/src/
// npm requires the field
export const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };

/** Aborted by the first Ctrl-C or SIGTERM of a client command; the second one kills. */
const interrupted = new AbortController();
export const interruption: AbortSignal = interrupted.signal;

/** What every command has: --help, errors that are thrown, and no surprise arguments. */
export function command(name: string): Command {
  return new Command(name)
    .helpOption('--help', 'print this help')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      writeErr: () => {},
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    });
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

/** Runs a program of one or more commands on the words of its command line, to its exit status. */
export async function runProgram(program: Command, words: readonly string[]): Promise<void> {
  // `fantail stats --watch | head`: the reader has what it wanted
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) =>
      process.exit(error.code === 'EPIPE' ? 0 : FAILURE_STATUS),
    );
  }
  const path = commandPath(program, words);
  const { commands } = path.at(-1) ?? program;
  try {
    if (words.length === path.length - 1 && commands.length > 0) {
      throw new UsageError(
        `which command? one of ${commands.map((each) => each.name()).join(', ')}`,
      );
    }
    await program.parseAsync(words, { from: 'user' });
  } catch (thrown) {
    const status = report(thrown, path.map((each) => each.name()).join(' '));
    if (status !== 0) process.exitCode = status;
  }
}

/**
 * `fantail`, `stats` if that is the command: the words before it select it, and its name leads to
 * the help that answers.
 */
function commandPath(program: Command, words: readonly string[]): Command[] {
  const path = [program];
  for (const word of words) {
    const next = path.at(-1)?.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    path.push(next);
  }
  return path;
}

// ---- what went wrong ----------------------------------------------------------------------------

/** Prints the one line and gives the status. */
function report(thrown: unknown, name: string): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return 0; // --help, --version
    return complain(name, withHelp(usageSentence(thrown.message), name), USAGE_STATUS);
  }
  if (thrown instanceof UsageError)
    return complain(name, withHelp(thrown.message, name), USAGE_STATUS);
  if (thrown instanceof Failure || thrown instanceof FantailError) {
    return complain(name, thrown.message, FAILURE_STATUS);
  }
  const error = thrown as NodeJS.ErrnoException;
  if (error.code === 'ERR_MODULE_NOT_FOUND') {
    return complain(name, `${error.message}; build it with: npm run build`, FAILURE_STATUS);
  }
  console.error(`${name}: a fault of its own:`, thrown); // a stack, since it is ours to mend
  return FAILURE_STATUS;
}

function complain(name: string, sentence: string, status: number): number {
  process.stderr.write(`${name}: ${sentence.replace(/\s*\n\s*/g, ' ')}\n`);
  return status;
}

function withHelp(sentence: string, name: string): string {
  return `${sentence}${sentence.endsWith('?') ? '' : ';'} see: ${name} --help`;
}

/** Commander says `error: unknown option '--quues'\n(Did you mean --queues?)`. */
function usageSentence(message: string): string {
  if (message === '(outputHelp)') return 'help: there is no such command'; // its word for it
  return message
    .replace(/^error: /, '')
    .replace(/\. Expected (\d+) arguments? but got (\d+)\.$/, ': it takes $1, not $2')
    .replace(
      /\s*\n?\(Did you mean (one of )?([^)]*)\?\)$/,
      (_, several: string | undefined, names: string) => {
        return several === undefined
          ? `; did you mean ${names}?`
          : `; did you mean one of ${names}?`;
      },
    );
}
