/**
 * Programs that a test starts, and the promise that nothing outlives the test: every program, and
 * whatever else a test registers with `atEnd`, is ended when the test process ends, in whatever way
 * (but SIGKILL).
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json; tests run from dist/test/<room>. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
/** `fantail`, for Node. */
export const MAIN = join(ROOT, 'build', 'programs', 'main.js');
/**
 * How long a test waits for what must come, unless it says otherwise: for hangs only, so that no
 * machine is too busy.
 */
const WAIT_MS = 60_000;
/** The first pause between two looks, and the longest. */
const LOOK_MS = 5;
const LOOK_MS_MAX = 100;
/** How long a pipe is read after its program has ended. */
const PIPE_MS = 300;

// ---- What must be undone ----

const undo = new Set<() => void>();

function undoAll(): void {
  // Last made, first undone; each on its own, so that one failure keeps nothing else from being
  // undone.
  for (const step of [...undo].reverse()) {
    try {
      step();
    } catch (error) {
      process.stderr.write(`clean-up: ${String(error)}\n`);
    }
  }
  undo.clear();
}

process.on('exit', undoAll);
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.on(signal, () => process.exit(status));

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

// ---- Programs ----

export interface End {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Options {
  /** Network namespace to run in; absent: this process's own. */
  readonly namespace?: string;
  /** Where it starts (default: the root of the project). */
  readonly folder?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /**
   * A process group of its own, so that a signal can go to all that it starts, as from a terminal.
   */
  readonly group?: boolean;
}

/** One running program with all that it has written so far. */
export class Program {
  stdout = '';
  stderr = '';
  end: End | null = null;
  private readonly child: ChildProcess;
  private readonly kill: () => void;
  private readonly ended: Promise<End>;
  private readonly watchers = new Set<() => void>();

  constructor(
    readonly command: string,
    args: readonly string[],
    private readonly options: Options = {},
  ) {
    // `ip netns exec` becomes the command itself: its pid is the program's.
    const prefix =
      options.namespace === undefined ? [] : ['ip', 'netns', 'exec', options.namespace];
    const [file = command, ...rest] = [...prefix, command, ...args];
    this.child = spawn(file, rest, {
      cwd: options.folder ?? ROOT,
      detached: options.group ?? false,
      // Open and silent: some programs end when their input does.
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.environment },
    });
    this.kill = atEnd(() => this.signal('SIGKILL'));
    this.child.stdout?.on('data', (chunk: Buffer) => this.collect('stdout', chunk));
    this.child.stderr?.on('data', (chunk: Buffer) => this.collect('stderr', chunk));
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('exit', (status, signal) => {
        const end = { status, signal };
        this.end = end;
        // A group outlives its leader; a single program does not.
        if (!options.group) this.kill();
        // What it wrote last may come after its end; a child of its may keep the pipe open for
        // ever. Timers of a process that was without a core come before what it has not read.
        setTimeout(() => setImmediate(resolve, end), PIPE_MS).unref();
      });
      this.child.once('close', (status, signal) => resolve({ status, signal }));
    });
    this.ended.catch(() => {}); // reported by wait()
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.command} did not start`);
    return this.child.pid;
  }

  /** Sends a signal, to the whole group if it has one; nothing happens if all have ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.child.pid === undefined) return;
    if (!this.options.group && this.end !== null) return;
    try {
      process.kill(this.options.group ? -this.child.pid : this.child.pid, signal);
    } catch {
      // It has just ended.
    }
  }

  /**
   * The first match of `pattern` in what it has written to stdout; fails if it ends, or writes no
   * such thing.
   */
  async line(pattern: RegExp, waitMs = WAIT_MS): Promise<RegExpExecArray> {
    const reached = this.until(() => pattern.test(this.stdout), waitMs);
    await Promise.race([reached, this.ended]);
    const match = pattern.exec(this.stdout);
    if (match === null)
      throw new Error(
        `${this.told()}\nhas not written ${pattern}, waited for at most ${waitMs} ms`,
      );
    return match;
  }

  /** Writes to its stdin, and no end of a line. */
  type(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Writes a line to its stdin. */
  write(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  /**
   * Hands over each whole line of stdout from now on. They are not kept, since some programs answer
   * for hours.
   */
  onLine(take: (line: string) => void): void {
    this.stdout = '';
    this.watchers.add(() => {
      for (let end = this.stdout.indexOf('\n'); end >= 0; end = this.stdout.indexOf('\n')) {
        const line = this.stdout.slice(0, end);
        this.stdout = this.stdout.slice(end + 1);
        take(line);
      }
    });
  }

  /** Waits for its end. */
  async wait(waitMs = WAIT_MS): Promise<End> {
    const timer = new Promise<null>((resolve) => setTimeout(resolve, waitMs, null).unref());
    const end = await Promise.race([this.ended, timer]);
    if (end === null) throw new Error(`${this.told()}\nhas not ended within ${waitMs} ms`);
    return end;
  }

  /** Ends it and its group at once, and forgets it. */
  close(): void {
    this.kill();
  }

  /** For messages: what was run and what it has said. */
  told(): string {
    return `${this.command} (${JSON.stringify(this.end)}) stdout:\n${this.stdout}stderr:\n${this.stderr}`;
  }

  private collect(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    this[stream] += chunk.toString();
    for (const watcher of this.watchers) watcher();
  }

  private until(reached: () => boolean, waitMs: number): Promise<void> {
    if (reached()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.watchers.delete(look);
        resolve();
      };
      const look = () => {
        if (reached()) done();
      };
      const timer = setTimeout(done, waitMs);
      this.watchers.add(look);
    });
  }
}

/** Runs a short program to its end and gives its stdout; a failure carries what it said. */
export function run(
  command: string,
  args: readonly string[],
  input = '',
  waitMs = WAIT_MS,
): string {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    encoding: 'utf8',
    input,
    timeout: waitMs,
  });
  if (result.status === 0) return result.stdout;
  const why = result.error?.message ?? `status ${result.status}`;
  throw new Error(`${command} ${args.join(' ')}: ${why}\n${result.stderr ?? ''}${input}`);
}

/**
 * Waits until `reached` says true: asks after a few milliseconds, then less and less often, since
 * asking costs those who are waited for; equally often (`growth` 1) for what is timed.
 */
export async function eventually(
  what: string,
  reached: () => boolean | Promise<boolean>,
  waitMs = WAIT_MS,
  growth = 1.5,
): Promise<void> {
  const end = Date.now() + waitMs;
  for (let pause = LOOK_MS; !(await reached()); pause = Math.min(pause * growth, LOOK_MS_MAX)) {
    if (Date.now() > end) throw new Error(`${what}: not within ${waitMs} ms`);
    await sleep(pause);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// ---- Processes of others ----

function readProcess(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // it has ended, or is not ours to read
  }
}

export interface Process {
  readonly pid: number;
  readonly command: string;
}

/** Those in whose environment a word begins so. */
export function processesWith(start: string): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => `\0${readProcess(pid, 'environ')}`.includes(`\0${start}`))
    .map((pid) => ({ pid: Number(pid), command: readProcess(pid, 'cmdline') }));
}

/**
 * Processes of that group, or whose environment holds `word`: all that a test's program has
 * started.
 */
export function processesOf(group: number, word: string): Process[] {
  const groupOf = (pid: string) => Number(/\) \S \d+ (\d+)/.exec(readProcess(pid, 'stat'))?.[1]);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter(
      (pid) => groupOf(pid) === group || readProcess(pid, 'environ').split('\0').includes(word),
    )
    .map((pid) => ({
      pid: Number(pid),
      command: readProcess(pid, 'cmdline').split('\0').join(' ').trim(),
    }))
    .filter(({ command }) => command !== ''); // a zombie has none
}

/** Why network tests cannot run here, or null. */
export function lackForNetwork(): string | null {
  if (process.geteuid?.() !== 0) return 'needs root: network namespaces and AF_XDP';
  return existsSync('/sys/class/net') ? null : 'needs /sys';
}

// ---- programs that a test needs and no user of fantail does: Debian's packages of them ----------

/** With what a package needs, which may be some 100 MB. */
const INSTALL_MS_MAX = 600_000;
/** Seconds for another one that installs. */
const APT_WAITS = 'DPkg::Lock::Timeout=300';

/**
 * Why the machine cannot have it, for a skip; null: it is there from now on. Packages of that name
 * are installed where it is not, by apt, as root.
 */
export function lackForProgram(
  name: string,
  isThere: () => boolean,
  ...packages: readonly string[]
): string | null {
  if (isThere()) return null;
  if (lackForNetwork() !== null) return `needs ${name}, which root could install`;
  try {
    install(packages);
  } catch (thrown) {
    return `needs ${name}, and apt has none for this machine: ${String(thrown).split('\n')[0]}`;
  }
  return isThere() ? null : `needs ${name}, and ${packages.join(', ')} brings none`;
}

/** Nothing that they only recommend. */
function install(packages: readonly string[]): void {
  const apt = (...words: string[]) =>
    run(
      'env',
      ['DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', '-o', APT_WAITS, ...words],
      '',
      INSTALL_MS_MAX,
    );
  const wanted = ['install', '-y', '--no-install-recommends', ...packages];
  try {
    apt(...wanted);
  } catch {
    apt('update'); // a new machine has no lists yet
    apt(...wanted);
  }
}

/** Of tools/fantail@.service. */
export const SERVICE_NICE = -10;
/** Of what would be on another machine. */
export const INSTRUMENT_NICE = -20;

/** Whom `start` starts has that nice value (setpriority(2)), and this process its own again. */
export async function atNice<Started>(
  nice: number,
  start: () => Promise<Started>,
): Promise<Started> {
  const before = getPriority();
  setPriority(nice);
  try {
    return await start();
  } finally {
    setPriority(before);
  }
}
