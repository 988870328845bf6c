/**
 * Programs that the benchmark starts, and the promise that none of them, and nothing else it has
 * made, outlives it in whatever way it ends (but SIGKILL).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The folder of package.json; this runs from dist/tools/bench/runs. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
/** Starting anything on a busy machine. */
const WAIT_MS = 20_000;
const STOP_MS = 5000;

const undo = new Set<() => void>();

/**
 * Registers what undoes something, at the latest when this process ends; the result does it now,
 * once.
 */
export function atEnd(step: () => void): () => void {
  undo.add(step);
  return () => {
    if (undo.delete(step)) step();
  };
}

process.on('exit', () => {
  // Last made, first undone; one that fails keeps no other from being undone.
  for (const step of [...undo].reverse()) {
    try {
      step();
    } catch (error) {
      process.stderr.write(`bench: while cleaning up: ${String(error)}\n`);
    }
  }
});
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.on(signal, () => process.exit(status));

export interface StartOptions {
  readonly namespace?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** One running program: its lines of stdout come one by one, its stderr is kept for messages. */
export class Running {
  private readonly child: ChildProcess;
  private readonly lines: string[] = [];
  private readonly waiting: (() => void)[] = [];
  private readonly kill: () => void;
  private readonly ended: Promise<void>;
  private isOver = false;
  private stderr = '';
  /** What a person would type. */
  readonly command: string;

  constructor(
    command: string,
    args: readonly string[],
    { namespace, environment }: StartOptions = {},
  ) {
    // `ip netns exec` becomes the program itself: its pid is the program's.
    const prefix = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
    const words = [...prefix, command, ...args];
    this.command = words.join(' ').replaceAll(`${ROOT}/`, '').replaceAll(process.execPath, 'node');
    const [file = command, ...rest] = words;
    this.child = spawn(file, rest, {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.kill = atEnd(() => this.child.kill('SIGKILL'));
    this.child.stdin?.on('error', () => {}); // it has ended, which its waiters are told
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
    if (this.child.stdout !== null)
      createInterface({ input: this.child.stdout }).on('line', (line) => this.arrived(line));
    this.ended = new Promise((resolve) => {
      const over = () => {
        this.isOver = true;
        this.kill();
        this.wake();
        resolve();
      };
      this.child.once('error', over);
      this.child.once('close', over);
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  write(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  /** The next line that it writes. Fails if it ends before, or takes too long. */
  async next(waitMs = WAIT_MS): Promise<string> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const line = this.lines.shift();
      if (line !== undefined) return line;
      if (this.isOver) throw new Error(`${this.command} has ended:\n${this.stderr}`);
      const left = deadline - Date.now();
      if (left <= 0)
        throw new Error(`${this.command} says nothing within ${waitMs} ms:\n${this.stderr}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Skips lines until one starts with `start`. */
  async until(start: string, waitMs = WAIT_MS): Promise<string> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const line = await this.next(deadline - Date.now());
      if (line.startsWith(start)) return line;
    }
  }

  /** Asks it to end and waits; kills it if it does not. */
  async stop(): Promise<void> {
    if (this.isOver) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.ended;
    clearTimeout(timer);
  }

  private arrived(line: string): void {
    this.lines.push(line);
    this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

/** Runs a short program to its end; a failure carries what it said. */
export function run(command: string, args: readonly string[], input = ''): string {
  const result = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', input });
  if (result.status === 0) return result.stdout;
  const why = result.error?.message ?? `status ${result.status}`;
  throw new Error(
    `${command} ${args.join(' ')}: ${why}\n${result.stdout ?? ''}${result.stderr ?? ''}`,
  );
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
