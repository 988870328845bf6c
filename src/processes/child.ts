/**
 * One process of the data path: started, started again when it dies, ended.
 *
 *   BOOT ── replaceFromNowOn() ──▶ RUN ── end() ──▶ HALT      a death in RUN: it is started again
 *     └───────────────── end() ─────────────────────▶ HALT    nothing leaves HALT
 */
import type { ChildProcess } from 'node:child_process';
import { Failure } from '../domain/errors.js';
import { log } from '../terminal/log.js';

/** From being told to end to SIGKILL. */
const STOP_MS_MAX = 1000;
/** A process that dies so often within so long of its start is beyond repair. */
const QUICK_DEATHS_MAX = 20;
const QUICK_DEATH_MS = 1000;

export interface ChildOptions {
  /** In sentences. */
  readonly name: string;
  /** Starts the process; `isFirst`: none was before it. */
  readonly spawn: (isFirst: boolean) => ChildProcess;
  /** It cannot be started, or not be kept alive. */
  readonly onFatal: (failure: Failure) => void;
}

export class Child {
  private phase: 'BOOT' | 'RUN' | 'HALT' = 'BOOT';
  private process: ChildProcess;
  private startedAt_ms = 0;
  private started = 0;
  private quickDeaths = 0;

  constructor(private readonly options: ChildOptions) {
    this.process = this.start();
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  get restarts(): number {
    return this.started - 1;
  }

  get hasEnded(): boolean {
    const { pid, exitCode, signalCode } = this.process;
    return pid === undefined || exitCode !== null || signalCode !== null;
  }

  /** To its standard input, where that is a pipe. What it does not live to read is lost. */
  write(bytes: Uint8Array): void {
    this.process.stdin?.write(bytes);
  }

  replaceFromNowOn(): void {
    this.phase = 'RUN';
  }

  /** Ends a process that does not end by itself; it is replaced like any that dies. */
  kill(): void {
    this.process.kill('SIGKILL');
  }

  /** Waits for a process that was told to end; kills it after STOP_MS_MAX. */
  async end(): Promise<void> {
    this.phase = 'HALT';
    if (this.hasEnded) return;
    const exit = new Promise<void>((resolve) => this.process.once('exit', () => resolve()));
    const timer = setTimeout(() => this.kill(), STOP_MS_MAX);
    await exit;
    clearTimeout(timer);
  }

  private start(): ChildProcess {
    const { spawn, onFatal } = this.options;
    const child = spawn(this.started === 0);
    this.started++;
    this.startedAt_ms = Date.now();
    child.stdin?.on('error', () => {}); // it died before it had read all: its exit says so
    child.on('error', (error) => onFatal(new Failure(`cannot start a process: ${error.message}`)));
    child.on('exit', (code, signal) => this.exited(signal ?? `status ${code}`));
    return child;
  }

  private exited(how: string): void {
    const { name, onFatal } = this.options;
    if (this.phase !== 'RUN') return;
    const isQuick = Date.now() - this.startedAt_ms < QUICK_DEATH_MS;
    this.quickDeaths = isQuick ? this.quickDeaths + 1 : 0;
    if (this.quickDeaths > QUICK_DEATHS_MAX) {
      onFatal(new Failure(`${name} keeps dying (${how}); see the lines above`));
      return;
    }
    log.warn(`${name} (pid ${this.pid}) ended by ${how}; it is replaced`);
    this.process = this.start();
  }
}
