/**
 * Data planes that nobody watches over: the supervisor was killed, and none has adopted them. Told
 * by who has an arena open: fantail-rx, workers, and no other.
 */
import { readFileSync } from 'node:fs';
import { arenasOf, hasOpen, holdersOf, type OpenFile, processes } from '../processes/holders.js';
import { killed, runningOf } from '../processes/running.js';

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
  readonly arena: OpenFile;
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

const nameOf = (pid: number) => read(`/proc/${pid}/comm`).trim();

function interfaceOf(pid: number): string | null {
  const words = read(`/proc/${pid}/cmdline`);
  return /fantail-(?:rx\0|tx )([^\0 ]+)/.exec(words)?.[1] ?? null;
}

/** Every data plane on this machine, of all namespaces. */
export function dataPlanes(): Leftover[] {
  type Plane = { arena: OpenFile; processes: DataPathProcess[]; supervisor: number | null };
  const planes = new Map<string, Plane>();
  for (const pid of processes()) {
    const name = nameOf(pid);
    for (const arena of arenasOf(pid)) {
      const key = `${arena.dev}:${arena.ino}`;
      const plane = planes.get(key) ?? { arena, processes: [], supervisor: null };
      planes.set(key, plane);
      if (!DATA_PATH.test(name)) plane.supervisor = pid;
      else if (!plane.processes.some((each) => each.pid === pid))
        plane.processes.push({ pid, name, interface: interfaceOf(pid) });
    }
  }
  return [...planes.values()].filter((plane) => plane.processes.length > 0);
}

/**
 * Ends the processes of one, and waits for that; what a supervisor has adopted meanwhile is left
 * alone. Gives those that were ended.
 */
export async function end({ arena, processes }: Leftover): Promise<DataPathProcess[]> {
  const ended: DataPathProcess[] = [];
  for (const each of processes) {
    const running = runningOf(each.pid);
    if (running === null) continue;
    // looked at again now that its number cannot become another's
    const isWatched = holdersOf(arena).some((pid) => !DATA_PATH.test(nameOf(pid)));
    if (isWatched || !hasOpen(each.pid, arena)) {
      running.forget();
      continue;
    }
    await killed(running);
    ended.push(each);
  }
  return ended;
}
