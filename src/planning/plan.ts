/**
 * How many members and levels of relays a feed needs, and what that gives. Pure: the command reads
 * the figures and prints.
 */
import { Failure } from '../domain/errors.js';
import { Delivery, sigmaOf } from './delivery.js';
import type { Figures } from './figures.js';
import { type Bound, type Feed, Member } from './member.js';
import { fanOutsOf, membersOf, type Tree, treesOf } from './tree.js';
import { Waiting } from './waiting.js';

/** A member is planned to be busy, and its link, for no more of the time. */
export const UTILISATION_MAX = 0.7;

export interface Wish {
  readonly subscribers: number;
  readonly feed: Feed;
  readonly figures: Figures;
  readonly utilisation: number;
  /** At most one of the two. */
  readonly fanOut: number | null;
  readonly members: number | null;
  /** p99 to the last subscriber. */
  readonly latency_us: number | null;
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

/** What a tree gives. */
export interface Expectation {
  /** To the last subscriber; null: packets are lost, and the rest wait as long as a queue is. */
  readonly latency_us: Percentiles | null;
  /** From a packet's first copy to its last. */
  readonly window_us: Percentiles;
  /** Of the copies. */
  readonly lost_share: number;
}

export interface Level {
  readonly members: number;
  /** The most of one member. */
  readonly children: number;
  readonly copies_per_second: number;
  readonly utilisation: number;
  readonly link_share: number | null;
}

export interface Plan extends Expectation {
  readonly subscribers: number;
  readonly members: number;
  readonly levels: readonly Level[];
  /** The most children that a member may have, and what stops there. */
  readonly children_max: number;
  readonly bound: Bound;
}

export function planOf(wish: Wish): Plan {
  const member = new Member(wish.figures, wish.feed);
  const { children: most, bound } = member.most(wish.utilisation);
  const children_max = wish.fanOut ?? most;
  if (children_max > most) throw new Failure(tooWide(wish, member, most));
  if (children_max < Math.min(2, wish.subscribers)) throw new Failure(tooFew(wish, member, most));
  const { tree, expected } = chosen(wish, member, children_max);
  return {
    subscribers: wish.subscribers,
    members: membersOf(tree),
    levels: levelsOf(tree, member, wish.feed),
    ...expected,
    children_max,
    bound,
  };
}

/** What that tree gives, whether it is wise or not. */
export function expectationOf(tree: Tree, figures: Figures, feed: Feed): Expectation {
  const member = new Member(figures, feed);
  const fanOuts = fanOutsOf(tree);
  const sigma = sigmaOf(figures);
  const load = member.utilisation(Math.max(...fanOuts)) * Math.exp(sigma ** 2 / 2); // the mean
  const isLosing = load >= 1;
  const delivery = new Delivery(member, fanOuts, sigma, !isLosing);
  const window_us = percentiles((share) => delivery.window_us(share));
  if (isLosing) return { latency_us: null, window_us, lost_share: 1 - 1 / load };
  const hops_us = (fanOuts.length + 1) * figures.hop_us;
  const latency_us = percentiles((share) => hops_us + delivery.latency_us(share));
  return { latency_us, window_us, lost_share: 0 };
}

const percentiles = (of: (share: number) => number): Percentiles => ({
  p50: of(0.5),
  p99: of(0.99),
});

function levelsOf(tree: Tree, member: Member, feed: Feed): Level[] {
  return fanOutsOf(tree).map((children, level) => ({
    members: tree.members[level] ?? 1,
    children,
    copies_per_second: children * feed.packets_per_second,
    utilisation: member.utilisation(children),
    link_share: member.linkShare(children),
  }));
}

// ---- the choice ---------------------------------------------------------------------------------

interface Candidate {
  readonly tree: Tree;
  readonly members: number;
  /** p99 without jitter: never above what it will be. */
  readonly least_us: number;
}

interface Chosen {
  readonly tree: Tree;
  readonly expected: Expectation;
}

function chosen(wish: Wish, member: Member, children_max: number): Chosen {
  const { subscribers, figures, feed, members: membersMax, latency_us } = wish;
  const least = leastLatency(member, figures);
  const all: Candidate[] = [];
  for (const tree of treesOf(subscribers, children_max)) {
    const members = membersOf(tree);
    if (members <= (membersMax ?? Infinity)) all.push({ tree, members, least_us: least(tree) });
  }
  const bySize = (a: Candidate, b: Candidate) => a.members - b.members || a.least_us - b.least_us;
  const bySpeed = (a: Candidate, b: Candidate) => a.least_us - b.least_us || a.members - b.members;
  const [first] = all.sort(membersMax === null ? bySize : bySpeed);
  if (first === undefined) throw new Failure(tooSmall(wish, children_max));
  const expect = ({ tree }: Candidate) => ({ tree, expected: expectationOf(tree, figures, feed) });
  if (latency_us === null) return expect(first);
  return (
    fastEnough(all, latency_us, expect) ?? tooSlow(wish, expect([...all].sort(bySpeed)[0] ?? first))
  );
}

/**
 * The first that meets the wish. How far one that does not is above its least tells which of the
 * others need not be looked at.
 */
function fastEnough(
  all: readonly Candidate[],
  wanted_us: number,
  expect: (candidate: Candidate) => Chosen,
): Chosen | null {
  let excess = Infinity;
  for (const candidate of all) {
    const limit_us = excess === Infinity ? wanted_us : wanted_us / excess;
    if (candidate.least_us > limit_us) continue;
    const found = expect(candidate);
    const p99 = found.expected.latency_us?.p99 ?? Infinity;
    if (p99 <= wanted_us) return found;
    excess = Math.min(excess, p99 / candidate.least_us);
  }
  return null;
}

function leastLatency(member: Member, { hop_us }: Figures): (tree: Tree) => number {
  const waits = new Map<number, number>();
  const wait_us = (children: number) => {
    const known = waits.get(children);
    if (known !== undefined) return known;
    const waiting = new Waiting(member.utilisation(children));
    const found = waiting.quantile(0.99) * member.busy_us(children);
    waits.set(children, found);
    return found;
  };
  return (tree) => {
    const fanOuts = fanOutsOf(tree);
    const copies_us = fanOuts.reduce((sum, children) => sum + member.after_us(children), 0);
    return copies_us + (fanOuts.length + 1) * hop_us + wait_us(Math.max(...fanOuts));
  };
}

// ---- refusals -----------------------------------------------------------------------------------

const percent = (share: number) => `${Math.round(share * 100)} %`;
const inTime = (value: number) => `${Number(value.toPrecision(4))} µs`;

function tooWide({ fanOut, utilisation, feed }: Wish, member: Member, most: number): string {
  const load = member.utilisation(fanOut ?? 0);
  const link = member.linkShare(fanOut ?? 0);
  const says =
    link !== null && link > load ? `${percent(link)} of its link` : `${percent(load)} of its time`;
  return `--fan-out ${fanOut} takes ${says} at ${feed.packets_per_second} packets/s, and ${percent(utilisation)} may be planned; give ${most} or less, or another --utilisation`;
}

function tooFew({ feed, utilisation }: Wish, member: Member, most: number): string {
  const two = inTime(member.busy_us(2));
  return `a member serves ${most} at ${feed.packets_per_second} packets/s within ${percent(utilisation)} of its time, and a tree needs 2: a packet takes it ${two}; split the feed, or give better figures`;
}

function tooSmall({ members, subscribers }: Wish, children_max: number): string {
  let least = Infinity;
  for (const tree of treesOf(subscribers, children_max)) least = Math.min(least, membersOf(tree));
  return `--members ${members} cannot serve ${subscribers}: with ${children_max} children a member it takes ${least}`;
}

function tooSlow({ latency_us, members }: Wish, { tree, expected }: Chosen): never {
  const least = inTime(expected.latency_us?.p99 ?? Number.NaN);
  const within = members === null ? '' : ` with ${members} members or fewer`;
  throw new Failure(
    `no tree${within} has a p99 of ${latency_us} µs to the last subscriber: the least is about ${least}, with ${membersOf(tree)} members in ${tree.members.length} levels`,
  );
}
