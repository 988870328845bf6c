/**
 * One process of the data path: started or adopted, started again when it dies, ended.
 *
 *   BOOT ── replaceFromNowOn() ──▶ RUN ── end() ──▶ HALT      a death in RUN: it is started again
 *     └───────────────── end() ─────────────────────▶ HALT    nothing leaves HALT
 */
import { Failure, messageOf } from '../domain/errors.js';
import { log } from '../terminal/log.js';
import type { Running } from './running.js';

/** From being told to end to SIGKILL. */
const STOP_MS_MAX = 1000;
/** A process that dies so often within so long of its start is beyond repair. */
const QUICK_DEATHS_MAX = 20;
const QUICK_DEATH_MS = 1000;
/** Before another try where even the start has failed. */
const RETRY_MS = 100;

export interface ChildOptions {
  /** In sentences. */
  readonly name: string;
  /** Starts the process; `isFirst`: none was before it. May throw. */
  readonly spawn: (isFirst: boolean) => Running;
  /** One that runs already, instead of a first one. */
  readonly adopted?: Running | null;
  /** Of an earlier supervisor's. */
  readonly restarts?: number;
  /** It died, by a signal's name or `status N`; before another is started. */
  readonly onDeath?: (how: string, pid: number) => void;
  /** It cannot be started, or not be kept alive. */
  readonly onFatal: (failure: Failure) => void;
}

export class Child {
  private phase: 'BOOT' | 'RUN' | 'HALT' = 'BOOT';
  private running: Running;
  private startedAt_ms = performance.now();
  private started = 0;
  private quickDeaths = 0;

  constructor(private readonly options: ChildOptions) {
    this.running = options.adopted ?? options.spawn(true);
    this.follow(this.running);
  }

  get pid(): number {
    return this.running.pid;
  }

  get restarts(): number {
    return (this.options.restarts ?? 0) + this.started - 1;
  }

  get hasEnded(): boolean {
    return this.running.hasEnded;
  }

  replaceFromNowOn(): void {
    this.phase = 'RUN';
    if (this.hasEnded) this.exited('an end that came before'); // it died while others started
  }

  /** Ends a process that does not end by itself; it is replaced like any that dies. */
  kill(): void {
    this.running.kill();
  }

  /** It runs on, and is not ours any more. */
  forget(): void {
    this.phase = 'HALT';
    this.running.forget();
  }

  /** Waits for a process that was told to end; kills it after STOP_MS_MAX. */
  async end(): Promise<void> {
    this.phase = 'HALT';
    const { running } = this;
    if (running.hasEnded) return;
    const exit = new Promise<void>((resolve) => running.onEnd(() => resolve()));
    const timer = setTimeout(() => running.kill(), STOP_MS_MAX);
    await exit;
    clearTimeout(timer);
  }

  private follow(running: Running): void {
    this.running = running;
    this.started++;
    this.startedAt_ms = performance.now();
    running.onEnd((how) => {
      if (running === this.running) this.exited(how);
    });
  }

  private exited(how: string): void {
    const { name, onDeath, onFatal } = this.options;
    if (this.phase !== 'RUN') return;
    const isQuick = performance.now() - this.startedAt_ms < QUICK_DEATH_MS;
    this.quickDeaths = isQuick ? this.quickDeaths + 1 : 0;
    if (this.quickDeaths > QUICK_DEATHS_MAX) {
      onFatal(new Failure(`${name} keeps dying (${how}); see the lines above`));
      return;
    }
    log.warn(
      { process: name, pid: this.pid },
      `${name} (pid ${this.pid}) ended by ${how}; it is replaced`,
    );
    onDeath?.(how, this.pid);
    this.replace();
  }

  /** A failed start is tried again after a pause: there may be descriptors or memory by then. */
  private replace(): void {
    try {
      this.follow(this.options.spawn(false));
    } catch (error) {
      log.error(`${this.options.name} cannot be started: ${messageOf(error)}; it is tried again`);
      setTimeout(() => {
        if (this.phase === 'RUN') this.replace();
      }, RETRY_MS);
    }
  }
}
