/**
 * One step's process: started in a group of its own, so that a step that hangs, or Ctrl-C, ends it
 * together with all that it started; its output kept whole until it has ended.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json; the runner runs from dist/test/runner. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
/** Between SIGTERM, on which a test cleans up, and SIGKILL. */
const GRACE_MS = 10_000;
/** What a test passes on as NODE_EXTRA_CA_CERTS to what reaches a registry. */
export const CERTIFICATES = 'FANTAIL_EXTRA_CA_CERTS';
/** How long a pipe may stay open after its process has ended. */
const PIPE_MS = 2000;

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** For hangs only: well over what it takes on a busy machine. */
  readonly secondsMax: number;
}

export interface Finished {
  readonly output: string;
  /** Why it did not end with status 0; null if it did. */
  readonly fault: string | null;
  readonly seconds: number;
  /** What it and all that it waited for have taken of the cores. */
  readonly cpuSeconds: number;
}

/**
 * A step starts Nodes by the dozen, and each Node 20 would read and decode the certificates that a
 * user adds, 40 ms of CPU where they are a distribution's. Whoever needs them finds them under the
 * other name.
 */
const { NODE_EXTRA_CA_CERTS: certificates, ...variables } = process.env;
const environment = {
  ...variables,
  ...(certificates === undefined ? {} : { [CERTIFICATES]: certificates }),
  NO_COLOR: '1',
  FORCE_COLOR: '0',
  NODE_NO_WARNINGS: '1',
};

const running = new Set<number>();

/** Ends every group that runs now: SIGTERM, and SIGKILL for what is left after a while. */
export function endAll(): void {
  for (const group of running) endGroup(group);
}

function endGroup(group: number): void {
  signalGroup(group, 'SIGTERM');
  setTimeout(() => signalGroup(group, 'SIGKILL'), GRACE_MS).unref();
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // It has just ended.
  }
}

/** Of /proc/<pid>/stat, on all that Linux runs on. */
const TICKS_A_SECOND = 100;
let ticksTold = 0;

/**
 * What children that have ended since the last call took of the cores (proc(5): cutime, cstime). Of
 * two that end at the same moment the first gets both.
 */
function takeCpuSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // from the third on
  const ticks = Number(fields[13]) + Number(fields[14]);
  const taken = (ticks - ticksTold) / TICKS_A_SECOND;
  ticksTold = ticks;
  return taken;
}

/** Runs it to its end; never rejects. */
export function finish({ program, args, secondsMax }: Command): Promise<Finished> {
  return new Promise((resolve) => {
    const start = Date.now();
    let output = '';
    let late = false;
    let cpuSeconds = 0;
    const child = spawn(program, args, {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
    });
    const group = child.pid;
    if (group !== undefined) running.add(group);
    const collect = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const limit = setTimeout(() => {
      late = true;
      if (group !== undefined) endGroup(group);
    }, secondsMax * 1000);
    const end = (fault: string | null) => {
      clearTimeout(limit);
      if (group !== undefined) running.delete(group);
      const seconds = (Date.now() - start) / 1000;
      const why = late ? `took longer than ${secondsMax} s` : fault;
      resolve({ output, fault: why, seconds, cpuSeconds });
    };
    child.on('error', (error) => end(error.message));
    const faultOf = (status: number | null, signal: string | null) => {
      if (status === 0) return null;
      return signal === null ? `ended with status ${status}` : `was killed by ${signal}`;
    };
    child.on('close', (status, signal) => end(faultOf(status, signal)));
    // A stray grandchild that holds the pipe open must not hold us.
    child.on('exit', (status, signal) => {
      cpuSeconds = takeCpuSeconds();
      setTimeout(() => end(faultOf(status, signal)), PIPE_MS).unref();
    });
  });
}
