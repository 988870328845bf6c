/** fantail alone while something is measured of it, and what its processes have used. */
import { readdirSync, readFileSync } from 'node:fs';
import { type CompetitorName, competitorOf } from '../runs/competitors.js';
import type { Contender, Setup } from '../runs/contender.js';

/** From `ready` on everything that comes once has come. */
export const SETTLE_MS = 300;

export async function withFantail<T>(
  name: CompetitorName,
  setup: Setup,
  work: (fantail: Contender) => Promise<T>,
): Promise<T & { command: string; mode: string }> {
  const fantail = await competitorOf(name).start(setup);
  try {
    return { ...(await work(fantail)), command: fantail.command, mode: fantail.mode };
  } finally {
    await fantail.stop();
  }
}

/** CPU time of all threads of those processes, ns. */
export function cpuNs(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    for (const task of readdirSync(`/proc/${pid}/task`))
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return sum;
}

export const commandOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
