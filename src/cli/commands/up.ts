/**
 * `fantail up`: runs the replicator until Ctrl-C or SIGTERM, then leaves nothing behind. Prints one
 * line that starts with `ready ` on stdout once packets flow and control answers.
 *
 * Whatever escapes (an exception in a callback, a stdout that nobody reads) ends it in order, with
 * a sentence and status 1: the processes of the data path are not left without one that knows them.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { inspect } from 'node:util';
import { counted } from '../../domain/counts.js';
import { Failure } from '../../domain/errors.js';
import { addon } from '../../memory/addon.js';
import type { Configuration } from '../../replicator/reload/configured.js';
import { openSupervisor, type Standing } from '../../replicator/supervisor.js';
import { isJournal, JOURNAL_SOCKET } from '../../terminal/journal.js';
import type { Format, Level } from '../../terminal/levels.js';
import { log, logForm, startLog } from '../../terminal/log.js';
import { type Asked, configurationOf } from '../configuration/settings.js';
import { complain, FAILURE_STATUS, whenItFails, whenOutputIsLost } from '../program.js';
import { ServiceManager, takeTold } from '../service/manager.js';

const STDERR = 2;

/** What closing may take before the process ends all the same. */
const CLOSE_MS_MAX = 10_000;

/** What `up` tells, and how. */
export interface LogFlags {
  readonly logFormat: Format;
  readonly logLevel: Level;
}

/**
 * Before anything is told, by `up` or of its command line. Whoever reads objects or entries gets
 * nothing else: neither the sentence that it ends with nor Node's own warnings are bare lines then.
 */
function openLog({ logFormat: format, logLevel: level }: LogFlags): void {
  startLog({ format, level, journal: format === 'text' ? openJournal() : null });
  if (logForm() === 'text') return;
  whenItFails((sentence) => log.error(sentence));
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => log.warn(`${name}: ${message}`));
}

/** Null: stderr does not lead to the journal, or nobody reads there: its lines are text then. */
function openJournal(): number | null {
  if (!isJournal(STDERR)) return null;
  try {
    return addon.connectDatagrams(JOURNAL_SOCKET);
  } catch {
    return null;
  }
}

/** `path`: of its configuration file. Where that is wrong, the sentence is told as `flags` say. */
export async function up(asked: Asked, path: string | null, flags: LogFlags): Promise<void> {
  const hangUps = new HangUps();
  const told = takeTold();
  const manager = told && new ServiceManager(told);
  const configuration = readFirst(asked, path, flags);
  let end: (failure: Failure | null) => void = () => {};
  const ended = new Promise<Failure | null>((resolve) => {
    end = resolve;
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => end(null));
  hangUps.onTerminalLost(() => end(null));
  // also rejections that nobody handles
  process.on('uncaughtException', (error) =>
    end(new Failure(`stopped by a fault of its own: ${inspect(error)}`)),
  );
  whenOutputIsLost((error) =>
    end(new Failure(`cannot write to standard output (${error.code}), so it stops`)),
  );
  const reread = path === null ? null : () => configurationOf(asked, path);
  // A signal while starting lets the start finish (or fail), so that everything it opened is known
  // and closed.
  const supervisor = await openSupervisor(
    { configuration, reread },
    {
      onFatal: (failure) => end(failure),
      onEnd: () => end(null),
      onReload: (isUnderWay) => manager?.reloading(isUnderWay),
    },
  );
  process.stdout.write(`${supervisor.readyLine}\n`);
  manager?.ready(() => statusText(supervisor.standing()));
  hangUps.onWish(() => void supervisor.reload('SIGHUP').catch(() => {})); // it is in the log
  const failure = await ended;
  manager?.stopping();
  if (failure === null) log.info('stopping');
  setTimeout(() => {
    complain('fantail up', 'stopping takes too long; see: fantail clean', FAILURE_STATUS);
    process.exit(FAILURE_STATUS);
  }, CLOSE_MS_MAX).unref();
  await supervisor.close();
  if (failure !== null) throw failure;
}

const statusText = ({ mode, feeds, subscribers }: Standing): string =>
  `${counted(feeds, 'feed')}, ${counted(subscribers, 'subscriber')}, ${mode} mode`;

function readFirst(asked: Asked, path: string | null, flags: LogFlags): Configuration {
  let found: Configuration;
  try {
    found = configurationOf(asked, path);
  } catch (error) {
    openLog(flags);
    throw error;
  }
  const setTo = (key: string) => found.settings.find((each) => each.key === key)?.value;
  // as the declarations of --log-format and --log-level have parsed them
  openLog({ logFormat: setTo('log-format') as Format, logLevel: setTo('log-level') as Level });
  return found;
}

/** Between two looks at the terminal. */
const LOOK_MS = 1000;

/**
 * SIGHUP, from the first on: sent by the kernel, since the terminal was closed, or by who wants the
 * file read again. What came before anybody can do it is done then.
 */
class HangUps {
  /** Whether there was a terminal at the last two looks, the newest first. */
  private looks: readonly boolean[] = [hasTerminal(), false];
  private isLost = false;
  private isWished = false;
  private end: (() => void) | null = null;
  private reload: (() => void) | null = null;

  constructor() {
    process.on('SIGHUP', () => this.take());
    if (!this.hadTerminal) return;
    // one that went without a signal, as it does for jobs in the background, is not meant later
    const timer = setInterval(() => {
      this.looks = [hasTerminal(), this.looks[0] === true];
      if (!this.hadTerminal) clearInterval(timer);
    }, LOOK_MS).unref();
  }

  private get hadTerminal(): boolean {
    return this.looks.includes(true);
  }

  private take(): void {
    if (this.hadTerminal && !hasTerminal()) {
      this.isLost = true;
      this.end?.();
    } else {
      this.isWished = this.reload === null;
      this.reload?.();
    }
  }

  onTerminalLost(end: () => void): void {
    this.end = end;
    if (this.isLost) end();
  }

  onWish(reload: () => void): void {
    this.reload = reload;
    if (this.isWished) reload();
  }
}

/** Whether this process has a controlling terminal (tty(4)). */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', constants.O_RDONLY | constants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
