/**
 * Data planes that nobody watches over: the supervisor was killed, and none has adopted them. Told
 * by who has an arena open: fantail-rx, workers, and no other.
 */
import { readFileSync } from 'node:fs';
import { arenasOf, processes } from '../processes/holders.js';
import { adopted } from '../processes/running.js';

/** What a process of the data path is called (comm of proc(5)). */
const DATA_PATH = /^fantail-(?:rx|tx)\b/;

export interface DataPathProcess {
  readonly pid: number;
  readonly name: string;
  /** What it serves, where that can be told. */
  readonly interface: string | null;
}

/** The processes that have one arena. */
export interface Leftover {
  readonly processes: readonly DataPathProcess[];
  /** A living one watches over them. */
  readonly supervisor: number | null;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has just ended
  }
}

function interfaceOf(pid: number): string | null {
  const words = read(`/proc/${pid}/cmdline`);
  return /"interface":"([^"]*)"/.exec(words)?.[1] ?? /^fantail-tx (\S+)/.exec(words)?.[1] ?? null;
}

/** Every data plane on this machine, of all namespaces. */
export function dataPlanes(): Leftover[] {
  const planes = new Map<string, { processes: DataPathProcess[]; supervisor: number | null }>();
  for (const pid of processes()) {
    const name = read(`/proc/${pid}/comm`).trim();
    for (const { dev, ino } of arenasOf(pid)) {
      const key = `${dev}:${ino}`;
      const plane = planes.get(key) ?? { processes: [], supervisor: null };
      planes.set(key, plane);
      if (!DATA_PATH.test(name)) plane.supervisor = pid;
      else if (!plane.processes.some((each) => each.pid === pid))
        plane.processes.push({ pid, name, interface: interfaceOf(pid) });
    }
  }
  return [...planes.values()].filter((plane) => plane.processes.length > 0);
}

/** Ends a process of the data path, and waits for that. One that has ended already is fine. */
export async function endProcess({ pid }: DataPathProcess): Promise<void> {
  let running: ReturnType<typeof adopted>;
  try {
    running = adopted(pid);
  } catch {
    return;
  }
  const end = new Promise<void>((resolve) => running.onEnd(() => resolve()));
  running.kill();
  await end;
}
