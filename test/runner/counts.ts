/**
 * What a step's output says of its tests: uvu's own totals; for native tests the `P passed, F
 * failed` line of each program; for a tool (a linter, a compiler) its status.
 *
 * A test that cannot run here prints `skip: why` and returns: it is counted as skipped, not as
 * passed. A file or program that runs no test at all fails: uvu would call it good.
 */
import type { Finished } from './process.js';

type Said = Pick<Finished, 'output' | 'fault'>;

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly string[];
}

/** All numbers that `pattern` captures in `text`, added up. */
function sum(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}

/** uvu writes its suite's name and its dots without a line end, so a skip may stand behind them. */
const skipsIn = (output: string) =>
  [...output.matchAll(/(?:^|\s)skip: *(.+)$/gm)].map((match) => match[1] ?? '');

export function countUvu({ output, fault }: Said): Counts {
  const total = sum(output, /^ {2}Total: +(\d+)$/gm);
  const passed = sum(output, /^ {2}Passed: +(\d+)$/gm);
  const unexplained = sum(output, /^ {2}Skipped: +(\d+)$/gm);
  const skips = [...skipsIn(output), ...Array<string>(unexplained).fill('no reason given')];
  // No total at all, or a total with a bad end (a crash in clean-up): one failure, whatever the
  // totals say.
  const failed = Math.max(total - passed, fault !== null || total + unexplained === 0 ? 1 : 0);
  return { passed: Math.max(passed - (skips.length - unexplained), 0), failed, skips };
}

/** The Makefile prints `# name` before each program. */
export function countNative({ output, fault }: Said): Counts {
  const programs = output.split(/^# /m).slice(1);
  let passed = 0;
  let failed = 0;
  const skips: string[] = [];
  for (const said of programs) {
    const total = /^(\d+) passed, (\d+) failed/m.exec(said);
    const skipped = skipsIn(said);
    const count = Number(total?.[1] ?? 0) + Number(total?.[2] ?? 0) + skipped.length;
    passed += Number(total?.[1] ?? 0);
    failed += count === 0 ? 1 : Number(total?.[2] ?? 0);
    skips.push(...skipped);
  }
  return {
    passed,
    failed: Math.max(failed, fault !== null || programs.length === 0 ? 1 : 0),
    skips,
  };
}

export function countWhole({ fault }: Said): Counts {
  return { passed: fault === null ? 1 : 0, failed: fault === null ? 0 : 1, skips: [] };
}
