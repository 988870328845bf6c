/**
 * The nice value that a user has started us with, for processes in sessions of their own. Where the
 * kernel schedules by session (autogroup, sched(7)) a nice value counts among the processes of one
 * session alone, and what counts between sessions is the value in /proc/<pid>/autogroup, which a
 * new session has at 0: `nice -n -10 fantail up` would do nothing for a worker.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { messageOf } from '../domain/errors.js';
import { log } from '../terminal/log.js';

/** The kernel takes one such write in 100 ms of whoever is no administrator, and says EAGAIN. */
const AGAIN_MS = 120;
/** As many as processes are started at once. */
const TRIES_MAX = 50;

/**
 * Gives the session that `pid` leads our nice value, soon. Below 0 that takes CAP_SYS_NICE, which a
 * service has not; there the weight of its cgroup counts, and no session does.
 */
export function passNiceness(pid: number, tries = TRIES_MAX): void {
  const niceness = getPriority();
  const file = `/proc/${pid}/autogroup`;
  if (niceness === 0 || !existsSync(file)) return;
  try {
    writeFileSync(file, `${niceness}`);
  } catch (error) {
    const isSoon = (error as NodeJS.ErrnoException).code === 'EAGAIN' && tries > 1; // of the kernel
    if (isSoon) setTimeout(() => passNiceness(pid, tries - 1), AGAIN_MS).unref();
    else
      log.debug({ pid }, `nice ${niceness} counts in its own session alone: ${messageOf(error)}`);
  }
}
