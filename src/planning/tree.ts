/**
 * Trees of members: one at the top that takes the feed, the last level serves subscribers, those
 * between relay. Each level's children are spread evenly over its members, so that a tree is the
 * number of members of each level.
 */

export interface Tree {
  readonly subscribers: number;
  /** From the top, which has 1. */
  readonly members: readonly number[];
}

/** More levels are no plan: with two children a member they are enough for a million. */
export const LEVELS_MAX = 20;

export const membersOf = ({ members }: Tree): number => members.reduce((sum, n) => sum + n, 0);

/** The most children that a member of each level has, from the top. */
export function fanOutsOf({ members, subscribers }: Tree): number[] {
  return members.map((count, level) => Math.ceil((members[level + 1] ?? subscribers) / count));
}

/** Each number that `count` can be divided into by 2 to `most`, rounded up, from the lowest on. */
function* parts(count: number, most: number): Generator<number> {
  let last = 0;
  for (let size = Math.min(most, count); size >= 2; size--) {
    const found = Math.ceil(count / size);
    if (found !== last) yield found;
    last = found;
  }
}

/**
 * Every way to have at most `fanOutMax` children a member, up to three levels; of more levels those
 * where all members above the last have about as many. From few members of the last level to many.
 */
export function* treesOf(subscribers: number, fanOutMax: number): Generator<Tree> {
  if (subscribers <= fanOutMax) yield { subscribers, members: [1] };
  for (const last of parts(subscribers, fanOutMax))
    if (last > 1)
      for (const above of levelsAbove(last, fanOutMax))
        yield { subscribers, members: [...above, last] };
}

/** What may stand above so many members, the top first. */
function* levelsAbove(count: number, fanOutMax: number): Generator<number[]> {
  if (count <= fanOutMax) yield [1];
  for (const next of parts(count, fanOutMax)) {
    const each = Math.ceil(count / next);
    const above = [next];
    for (let top = next; top > 1 && above.length <= LEVELS_MAX - 2; ) {
      if (top <= fanOutMax) yield [1, ...above];
      if (top <= each) break;
      top = Math.ceil(top / each);
      above.unshift(top);
    }
  }
}
