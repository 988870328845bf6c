/** A process that runs: a child of ours, or one that an earlier supervisor has started. */
import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { addon } from '../memory/addon.js';

export interface Running {
  readonly pid: number;
  readonly hasEnded: boolean;
  /** SIGKILL. */
  kill(): void;
  /** It runs on, and nothing of it is called back any more. */
  forget(): void;
  /** Calls back once, with how it ended. */
  onEnd(listener: (how: string) => void): void;
}

export function spawned(child: ChildProcess): Running {
  // one that cannot be started says so after this turn; who follows it is told then
  child.on('error', () => {});
  return {
    pid: child.pid ?? 0,
    get hasEnded() {
      return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
    },
    kill: () => void child.kill('SIGKILL'),
    forget: () => {
      child.removeAllListeners();
      child.on('error', () => {});
      child.unref();
    },
    onEnd: (listener) => {
      child.once('error', (error) => listener(`cannot be started: ${error.message}`));
      child.once('exit', (code, signal) => listener(signal ?? `status ${code}`));
    },
  };
}

/**
 * Of a process that is no child of ours, of which only its end can be told. Throws if there is none
 * with that id.
 */
export function adopted(pid: number): Running {
  const pidfd = addon.openProcess(pid);
  let ended = false;
  let isOpen = true;
  const listeners: (() => void)[] = [];
  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    watch.close();
    closeSync(pidfd);
  };
  const watch = addon.watchFd(pidfd, () => {
    if (ended || !isOpen) return;
    ended = true;
    close();
    for (const listener of listeners) listener();
  });
  return {
    pid,
    get hasEnded() {
      return ended;
    },
    kill: () => {
      if (isOpen) addon.killProcess(pidfd);
    },
    forget: close,
    onEnd: (listener) => {
      listeners.push(() => listener('a cause that only its parent was told'));
    },
  };
}

/** The same; null if it has just ended. */
export function runningOf(pid: number): Running | null {
  try {
    return adopted(pid);
  } catch {
    return null;
  }
}

/** Kills one that runs, and waits for its end. */
export function killed(running: Running): Promise<void> {
  return new Promise((resolve) => {
    running.onEnd(() => resolve());
    running.kill();
  });
}
