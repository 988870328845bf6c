/**
 * Log lines on stderr: pino for levels and structure, pino-pretty for the text (both well kept, off
 * the packet path). As text also where stderr is no terminal, without colours: a pipe or a file is
 * read by people and matched by their tools as `[time] LEVEL: sentence`. `--log-format json` is one
 * object a line, and the systemd journal gets entries with fields: see journal.ts.
 *
 * A log that cannot be written (a full disk, a reader that is gone) costs log lines and nothing
 * else: what waits is bounded, and written when there is room again.
 */
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import { entryOf } from './journal.js';
import { type Format, type Level, PRIORITIES } from './levels.js';

/**
 * What a line is about, beside its sentence: of a change `op`, `who` asked for it and `code` (`ok`,
 * or why it was refused), and whatever of subscriber, feed and filter it is about.
 */
export interface About {
  readonly op?: string;
  readonly who?: string;
  readonly code?: string;
  /** ip:port. */
  readonly subscriber?: string;
  readonly feed?: string;
  readonly filter?: string;
  /** The process that it is about, or whose words they are: its name and id. */
  readonly process?: string;
  readonly pid?: number;
}

export interface LogOptions {
  readonly format: Format;
  /** What is least is not told. */
  readonly level: Level;
  /** A socket of the journal's, where stderr leads there; its owner is the log from then on. */
  readonly journal?: number | null;
}

const STDERR = 2;
/** Of lines that wait for room, bytes. */
const WAITING_MAX = 1 << 20;

const sink = pino.destination({ dest: STDERR, sync: true, maxLength: WAITING_MAX });
// without a listener it would be an exception that nobody catches
sink.on('error', () => {});

/** Another one after startLog(). */
export let log: Logger<never> = textLog('info');
let form: Format | 'entries' = 'text';

/** Called once, before anything is told. */
export function startLog({ format, level, journal = null }: LogOptions): void {
  form = format === 'text' && journal !== null ? 'entries' : format;
  if (form === 'json') log = objectLog(level, sink);
  else if (journal === null) log = textLog(level);
  else log = objectLog(level, { write: (text) => writeEntry(journal, text) });
}

/** Less or more is told from now on. */
export function tellFrom(level: Level): void {
  log.level = level;
}

/**
 * text: a stranger's line on our stderr is one more line; json: it would be none of ours; entries:
 * it is one of the journal's, without fields.
 */
export const logForm = () => form;

/** The sentence alone: its fields are in it, for people to read. */
function textLog(level: Level): Logger<never> {
  const stream = pretty({
    colorize: process.stderr.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    destination: sink,
  });
  return pino(
    {
      base: null,
      level,
      hooks: {
        logMethod(words, method) {
          const [first, sentence] = words as unknown[]; // of whatever shape pino was called with
          const isAbout = typeof first === 'object' && !(first instanceof Error);
          method.apply(this, isAbout ? [String(sentence)] : words);
        },
      },
    },
    stream,
  );
}

/** `{"level":"info","time":"2026-11-27T18:00:00.000Z",…,"message":"…"}`, a line each. */
function objectLog(level: Level, destination: { write(text: string): void }): Logger<never> {
  return pino(
    {
      base: null,
      level,
      messageKey: 'message',
      errorKey: 'error',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** The journal keeps a time of its own. Without room there it goes by stderr, which leads there. */
function writeEntry(journal: number, text: string): void {
  const { level, message = '', time, ...fields } = JSON.parse(text);
  try {
    writeSync(journal, entryOf({ level, message, fields }));
  } catch {
    // sd-daemon(3): a line begins with its priority
    sink.write(`<${PRIORITIES[level as Level]}>${message.replaceAll('\n', ' ')}\n`);
  }
}
