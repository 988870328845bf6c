/** What this process may do: rights, limits, cores; and whence it was started. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { hasTrapHandler } from '../../filters/traps.js';
import { addon } from '../../memory/addon.js';
import type { Observed } from './deployment.js';

/** What a command line is run by that ends with it, so that no limit of it outlives it. */
const PASSING = /^(?:node|nodejs|npm|npx|sudo|env)$/;
const ANCESTORS_MAX = 16;

/** linux/capability.h. */
const CAP_SYS_RESOURCE = 24n;

export function observeProcess(): Omit<Observed, 'link' | 'kernel' | 'isModule' | 'takesRules'> {
  const status = readFileSync('/proc/self/status', 'utf8');
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return {
    capabilities: addon.capabilities(),
    hasTrapHandler: hasTrapHandler(),
    cores: allowedCores(status),
    online: coresIn(readFileSync('/sys/devices/system/cpu/online', 'utf8')),
    memlock: limitOf(limits, 'Max locked memory'),
    openFiles: limitOf(limits, 'Max open files'),
    addressSpace: limitOf(limits, 'Max address space'),
    canRaise: ((boundingSet(status) >> CAP_SYS_RESOURCE) & 1n) === 1n,
    shell: shellOf(process.ppid),
  };
}

/**
 * Cpus_allowed_list of proc(5): the cores that this process, and all that it starts, may run on.
 */
export function allowedCores(status: string): number[] {
  return coresIn(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? '0');
}

/** Of a list such as `0-3,8`. */
export function coresIn(list: string): number[] {
  return list
    .trim()
    .split(',')
    .filter((range) => range !== '')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

export interface Limit {
  readonly soft: number;
  readonly hard: number;
}

/** A row of /proc/PID/limits (proc(5)); unlimited is Infinity. */
export function limitOf(limits: string, name: string): Limit {
  const row = limits.split('\n').find((line) => line.startsWith(name)) ?? '';
  const [soft, hard] = row
    .slice(name.length)
    .trim()
    .split(/\s+/)
    .map((word) => (word === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word)));
  return { soft: soft ?? Number.POSITIVE_INFINITY, hard: hard ?? Number.POSITIVE_INFINITY };
}

/** What root gets here that is started by this process (capabilities(7)). */
const boundingSet = (status: string): bigint =>
  BigInt(`0x${/^CapBnd:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);

/**
 * What prlimit(1) is to set, soft:hard, so that at least so much is allowed; null: nobody may raise
 * it that far.
 */
export function raised(limit: Limit, needed: number, canRaise: boolean): string | null {
  if (limit.hard >= needed) return `${textOf(limit.hard)}:`;
  const text = textOf(needed);
  return canRaise ? `${text}:${text}` : null;
}

const textOf = (limit: number) =>
  limit === Number.POSITIVE_INFINITY ? 'unlimited' : String(limit);

/**
 * The nearest ancestor that goes on when the command has ended: a shell, mostly. Null: there is
 * none, as in a service or a container, whose limits are its unit's.
 */
function shellOf(pid: number): number | null {
  let at = pid;
  for (let i = 0; i < ANCESTORS_MAX && at > 1 && isPassing(at); i++) at = parentOf(at);
  return at > 1 ? at : null;
}

function isPassing(pid: number): boolean {
  // npm writes its whole command line into its name
  const [program = '', option] = read(pid, 'cmdline').split(/[\0 ]/);
  return PASSING.test(basename(program)) || (/sh$/.test(program) && option === '-c');
}

const parentOf = (pid: number) => Number(/^PPid:\s*(\d+)/m.exec(read(pid, 'status'))?.[1] ?? 0);

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // it has ended, or is not ours to read
  }
}
