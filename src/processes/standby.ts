/**
 * A process that is there before it is needed: started, loaded and without privileges, it waits to
 * take the place of one that dies, which then costs a message instead of a start.
 */
import { closeSync } from 'node:fs';
import { messageOf } from '../domain/errors.js';
import { log } from '../terminal/log.js';
import type { Waiting } from './programs.js';
import { killed } from './running.js';

/** After the replicator starts, and after a place was taken: whoever serves has the cores first. */
const FIRST_AFTER_MS = 2000;
const NEXT_AFTER_MS = 500;

export class Standby {
  private waiting: Waiting | null = null;
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly start: () => Waiting) {}

  /** From now on one is to be there, a while later. */
  keepOne(after_ms = FIRST_AFTER_MS): void {
    if (this.timer !== null || this.waiting !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.startOne();
    }, after_ms);
  }

  /** The one that waits, or a new one; the caller's from then on. Throws if none can be started. */
  take(): Waiting {
    const { waiting } = this;
    if (waiting === null) return this.start();
    this.keepAnother();
    return waiting;
  }

  async end(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    const { waiting } = this;
    this.waiting = null;
    if (waiting === null) return;
    closeSync(waiting.socket);
    await killed(waiting.running);
  }

  private keepAnother(): void {
    this.waiting = null;
    this.keepOne(NEXT_AFTER_MS);
  }

  private startOne(): void {
    try {
      const waiting = this.start();
      this.waiting = waiting;
      waiting.running.onEnd((how) => {
        if (this.waiting !== waiting) return; // it has a place, or was ended
        log.debug(`a process that stood by ended by ${how}; another is started`);
        closeSync(waiting.socket);
        this.keepAnother();
      });
    } catch (error) {
      log.debug(`no process can stand by: ${messageOf(error)}; it is tried again`);
      this.keepOne(NEXT_AFTER_MS);
    }
  }
}
