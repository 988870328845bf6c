/**
 * What became of each subscriber, judged from what arrived alone: which sequences it never got,
 * which twice and from whom, how long it got nothing, and whether two served it at the same time.
 * Slow and obvious on purpose: it writes every sequence down.
 */
import type { Look, Run } from './served.js';

/** Sequences, both ends included. */
export interface Range {
  readonly first: number;
  readonly last: number;
}

export interface Doubled {
  readonly sequence: number;
  /** As often as each sent it. */
  readonly senders: readonly string[];
}

/** Two senders, each of which began before the other had ended. */
export interface Overlap {
  readonly senders: readonly [string, string];
  readonly from_ns: number;
  readonly until_ns: number;
}

export interface Silence {
  readonly from_ns: number;
  readonly until_ns: number;
}

export interface Account {
  readonly subscriber: number;
  readonly received: number;
  readonly missing: readonly Range[];
  readonly doubled: readonly Doubled[];
  readonly overlaps: readonly Overlap[];
  /** The longest in which nothing came between two that came; null if fewer than two did. */
  readonly silence: Silence | null;
  /** Senders in the order of their first. */
  readonly senders: readonly string[];
}

/** What became of every subscriber while something was done. */
export interface Phase {
  /** CLOCK_MONOTONIC. */
  readonly began_ns: number;
  readonly owed: Range;
  readonly look: Look;
  readonly accounts: readonly Account[];
  /** The address that each was served from last, before it and at its end. */
  readonly before: readonly (string | null)[];
  readonly after: readonly (string | null)[];
}

const inTime = (a: Run, b: Run) => a.first_ns - b.first_ns;

/** What one subscriber got of those sequences. */
export function accountOf(
  runs: readonly Run[],
  { subscriber, owed }: { readonly subscriber: number; readonly owed: Range },
): Account {
  const own = runs.filter((run) => run.subscriber === subscriber).sort(inTime);
  const sendersOf = new Map<number, string[]>();
  for (const { sender, first, last } of own)
    for (let sequence = first; sequence <= last; sequence++) {
      const senders = sendersOf.get(sequence);
      if (senders === undefined) sendersOf.set(sequence, [sender]);
      else senders.push(sender);
    }
  const isOwed = (sequence: number) => sequence >= owed.first && sequence <= owed.last;
  const missing: { first: number; last: number }[] = [];
  for (let sequence = owed.first; sequence <= owed.last; sequence++) {
    if (sendersOf.has(sequence)) continue;
    const before = missing.at(-1);
    if (before?.last === sequence - 1) before.last = sequence;
    else missing.push({ first: sequence, last: sequence });
  }
  const doubled = [...sendersOf]
    .filter(([sequence, senders]) => isOwed(sequence) && senders.length > 1)
    .map(([sequence, senders]) => ({ sequence, senders }));
  return {
    subscriber,
    received: [...sendersOf.keys()].filter(isOwed).length,
    missing,
    doubled,
    overlaps: overlapsOf(own),
    silence: silenceOf(own),
    senders: [...new Set(own.map(({ sender }) => sender))],
  };
}

/** Of every subscriber. */
export function accountsOf(runs: readonly Run[], count: number, owed: Range): Account[] {
  const bySubscriber = Array.from({ length: count }, (): Run[] => []);
  for (const run of runs) bySubscriber[run.subscriber]?.push(run);
  return bySubscriber.map((own, subscriber) => accountOf(own, { subscriber, owed }));
}

function overlapsOf(runs: readonly Run[]): Overlap[] {
  return runs.flatMap((one, index) =>
    runs
      .slice(index + 1)
      .filter((other) => other.sender !== one.sender && other.first_ns <= one.last_ns)
      .map(
        (other): Overlap => ({
          senders: [one.sender, other.sender],
          from_ns: other.first_ns,
          until_ns: Math.min(one.last_ns, other.last_ns),
        }),
      ),
  );
}

/** Within a run the longest gap says how long, not when: it is told as one that ends the run. */
function silenceOf(runs: readonly Run[]): Silence | null {
  let longest: Silence | null = null;
  const consider = (from_ns: number, until_ns: number) => {
    if (longest === null || until_ns - from_ns > longest.until_ns - longest.from_ns)
      longest = { from_ns, until_ns };
  };
  let covered_ns = Number.POSITIVE_INFINITY;
  for (const run of runs) {
    if (run.first_ns > covered_ns) consider(covered_ns, run.first_ns);
    if (run.last > run.first) consider(run.last_ns - run.gap_ns, run.last_ns);
    covered_ns =
      covered_ns === Number.POSITIVE_INFINITY ? run.last_ns : Math.max(covered_ns, run.last_ns);
  }
  return longest;
}

export const countOf = (ranges: readonly Range[]): number =>
  ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);

/** Who served each subscriber last. */
export function ownersOf(runs: readonly Run[], count: number): (string | null)[] {
  const owners: (string | null)[] = Array.from({ length: count }, () => null);
  const last_ns: number[] = Array.from({ length: count }, () => -1);
  for (const run of runs)
    if (run.last_ns > (last_ns[run.subscriber] ?? 0)) {
      last_ns[run.subscriber] = run.last_ns;
      owners[run.subscriber] = run.sender;
    }
  return owners;
}

/** The highest sequence that has come to anybody. */
export const newest = (runs: readonly Run[]): number =>
  runs.reduce((highest, { last }) => Math.max(highest, last), -1);

/** What is wrong with a subscriber that was to get everything once, as sentences. */
export function faultsOf(account: Account): string[] {
  const { subscriber, missing, doubled, overlaps } = account;
  const who = `subscriber ${subscriber}`;
  const faults = missing.map(({ first, last }) => `${who} never got ${first} to ${last}`);
  const [twice] = doubled;
  if (twice !== undefined)
    faults.push(
      `${who} got ${doubled.length} more than once, as ${twice.sequence} from ${twice.senders.join(' and ')}`,
    );
  for (const { senders, from_ns, until_ns } of overlaps)
    faults.push(
      `${who} was served by ${senders.join(' and ')} for ${((until_ns - from_ns) / 1e6).toFixed(1)} ms`,
    );
  return faults;
}
