/** Which processes have an arena open: those of its data plane, and whoever watches over it. */
import { fstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';

/** The name of the memfd (native/shm/arena.cpp), as /proc shows it. */
const ARENA_LINK = /^\/memfd:fantail-arena/;

/** An open file, whatever its descriptor is in a process. */
export interface OpenFile {
  readonly dev: number;
  readonly ino: number;
}

export const fileOf = (fd: number): OpenFile => fstatSync(fd);

/** The arenas that a process has open; none if it has ended or is another user's. */
export function arenasOf(pid: number): (OpenFile & { readonly path: string })[] {
  const folder = `/proc/${pid}/fd`;
  const arenas = [];
  for (const fd of descriptorsIn(folder)) {
    try {
      const path = `${folder}/${fd}`;
      if (!ARENA_LINK.test(readlinkSync(path))) continue;
      const { dev, ino } = statSync(path);
      arenas.push({ dev, ino, path });
    } catch {
      // that one has just been closed; the others say what there is
    }
  }
  return arenas;
}

function descriptorsIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

export function hasOpen(pid: number, { dev, ino }: OpenFile): boolean {
  return arenasOf(pid).some((each) => each.dev === dev && each.ino === ino);
}

/** Processes that have that arena open, other than this one. */
export function holdersOf(arena: OpenFile): number[] {
  return processes().filter((pid) => hasOpen(pid, arena));
}

/** All other processes that this one sees. */
export function processes(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
}
