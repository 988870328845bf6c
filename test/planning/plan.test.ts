/**
 * Goal: a plan is the smallest that does what was asked, and expects of it what happens. Method:
 * searches that are slow and obvious, and the simulation of tools/plan, a server for each member
 * and each copy by itself.
 *
 * needs: a core
 * takes: 40 s
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Failure } from '../../src/domain/errors.js';
import type { Figures } from '../../src/planning/figures.js';
import { wireTime_us } from '../../src/planning/link.js';
import { Member } from '../../src/planning/member.js';
import { normal, normalQuantile } from '../../src/planning/normal.js';
import { expectationOf, planOf, type Wish } from '../../src/planning/plan.js';
import { fanOutsOf, membersOf, type Tree, treesOf } from '../../src/planning/tree.js';
import { Waiting } from '../../src/planning/waiting.js';
import { Chance } from '../../tools/plan/chance.js';
import { faultsOf } from '../../tools/plan/judge.js';
import { simulate } from '../../tools/plan/simulation.js';

const test = suite('plan');

/** About what a bench gave on veth. */
const FIGURES: Figures = {
  first_copy_us: 3.5,
  copy_us: 1.25,
  copies_per_second: 760_000,
  jitter_ratio: 1.2,
  hop_us: 5,
  link_gbps: null,
};
const FEED = { packets_per_second: 1000, payload_bytes: 200 };
const WISH: Wish = {
  subscribers: 1000,
  feed: FEED,
  figures: FIGURES,
  utilisation: 0.7,
  fanOut: null,
  members: null,
  latency_us: null,
};

const near = (value: number, wanted: number, within: number, what: string) =>
  assert.ok(Math.abs(value - wanted) <= within, `${what}: ${value}, wanted ${wanted}`);

const treeOf = (subscribers: number, ...members: number[]): Tree => ({ subscribers, members });

// ---- the parts ----------------------------------------------------------------------------------

test('frames a second on 10 Gbit/s are those that Ethernet is known for', () => {
  near(1e6 / wireTime_us(0, 10), 14_880_952, 1, 'of 64 bytes');
  near(1e6 / wireTime_us(18, 10), 14_880_952, 1, 'of 64 bytes, filled');
  near(1e6 / wireTime_us(1472, 10), 812_744, 1, 'of 1518 bytes');
});

test('waits before a server are those of Pollaczek and Khinchine, and of a queue that is played', () => {
  const chance = new Chance(7);
  for (const load of [0.05, 0.3, 0.7, 0.9]) {
    const waiting = new Waiting(load);
    near(waiting.atMost(0), 1 - load, 1e-9, 'who does not wait');
    const STEP = 0.01;
    let mean = 0;
    for (let at = STEP / 2; at < 200; at += STEP) mean += (1 - waiting.atMost(at)) * STEP;
    near(mean, load / (2 * (1 - load)), 1e-3, `mean at ${load}`);
    const waits = new Float64Array(400_000);
    for (let i = 1; i < waits.length; i++)
      waits[i] = Math.max(0, (waits[i - 1] ?? 0) + 1 - chance.exponential() / load);
    waits.sort();
    for (const share of [0.5, 0.9, 0.99])
      near(
        waiting.quantile(share),
        waits[share * waits.length] ?? 0,
        0.04 / (1 - load),
        `${share}`,
      );
  }
});

test('the normal distribution is the one of the tables', () => {
  for (const [z, share] of [
    [0, 0.5],
    [1, 0.841345],
    [-2, 0.02275],
    [3, 0.99865],
  ] as const) {
    near(normal(z), share, 1e-5, `at ${z}`);
    near(normalQuantile(share), z, 1e-3, `of ${share}`);
  }
});

test('a member is full by its time, its lossless rate, its link, or its table', () => {
  const most = (given: Partial<Figures>, rate = 1000) =>
    new Member({ ...FIGURES, ...given }, { ...FEED, packets_per_second: rate }).most(0.7);
  // 700 µs a packet: the first takes 3.5, and 1.25 each more
  assert.equal(most({ copies_per_second: 1e9 }), { children: 558, bound: 'time for a packet' });
  assert.equal(most({}), { children: 532, bound: 'lossless copies' });
  // 266 bytes a copy, 2.128 µs at 1 Gbit/s
  assert.equal(most({ link_gbps: 1 }), { children: 328, bound: 'link' });
  assert.equal(most({}, 10), { children: 4096, bound: 'table of subscribers' });
});

// ---- the choice ---------------------------------------------------------------------------------

/** The fewest members above and with so many children, by trying each number of them. */
function fewest(children: number, most: number, known: Map<number, number>): number {
  if (children <= most) return 1;
  const found = known.get(children);
  if (found !== undefined) return found;
  let least = Infinity;
  for (let members = Math.ceil(children / most); members < children; members++)
    least = Math.min(least, members + fewest(members, most, known));
  known.set(children, least);
  return least;
}

test('the smallest tree is the smallest there is', () => {
  for (const most of [2, 3, 5, 16])
    for (const subscribers of [1, 2, 3, 16, 17, 60, 250]) {
      const known = new Map<number, number>();
      const trees = [...treesOf(subscribers, most)];
      const least = Math.min(...trees.map(membersOf));
      assert.is(least, fewest(subscribers, most, known), `${subscribers} by ${most}`);
      for (const tree of trees) {
        const wide = fanOutsOf(tree);
        assert.ok(Math.max(...wide) <= most && tree.members[0] === 1, tree.members.join());
        assert.ok(wide.reduce((all, each) => all * each, 1) >= subscribers, tree.members.join());
      }
    }
});

test('the tree of a latency that was wished for has it, and no smaller one has', () => {
  const wish = { ...WISH, subscribers: 60, latency_us: 75 };
  const plan = planOf(wish);
  assert.ok((plan.latency_us?.p99 ?? Infinity) <= 75, JSON.stringify(plan));
  for (const tree of treesOf(60, plan.children_max)) {
    const { latency_us } = expectationOf(tree, FIGURES, FEED);
    if (membersOf(tree) < plan.members)
      assert.ok((latency_us?.p99 ?? Infinity) > 75, tree.members.join());
  }
});

test('with the members given it is the fastest tree of them, with a fan-out the smallest', () => {
  const fast = planOf({ ...WISH, members: 9 });
  assert.ok(fast.members <= 9 && fast.members > planOf(WISH).members);
  assert.ok((fast.latency_us?.p99 ?? 0) < (planOf(WISH).latency_us?.p99 ?? 0));
  const narrow = planOf({ ...WISH, fanOut: 10 });
  assert.equal([narrow.members, narrow.levels.map(({ members }) => members)], [111, [1, 10, 100]]);
});

test('what cannot be is refused with what could', () => {
  const says = (wish: Partial<Wish>, sentence: RegExp) => {
    const thrown = (() => {
      try {
        return planOf({ ...WISH, ...wish });
      } catch (error) {
        return error;
      }
    })();
    assert.instance(thrown, Failure);
    assert.match((thrown as Failure).message, sentence); // just checked
  };
  says({ fanOut: 700 }, /^--fan-out 700 takes 92 % of its time at 1000 packets.s, .* give 532 or/);
  says({ members: 2 }, /^--members 2 cannot serve 1000: with 532 children a member it takes 3$/);
  says({ latency_us: 10 }, /^no tree has a p99 of 10 µs .*: the least is about \d+/);
  says({ members: 3, latency_us: 50 }, /^no tree with 3 members or fewer has a p99 of 50 µs/);
  const flood = { ...FEED, packets_per_second: 1e6 };
  says({ feed: flood }, /^a member serves 0 at 1000000 packets.s within 70 % .* split the feed/);
});

// ---- what to expect -----------------------------------------------------------------------------

for (const subscribers of [10, 100, 1000, 10_000])
  test(`the plan for ${subscribers} subscribers is what the simulation shows, within 10 %`, () => {
    const plan = planOf({ ...WISH, subscribers, utilisation: 0.4 });
    const tree = treeOf(subscribers, ...plan.levels.map(({ members }) => members));
    const simulated = simulate(tree, FIGURES, FEED, { packets: 8000, seed: 1 });
    assert.equal(faultsOf({ plan, simulated }), []);
    assert.is(simulated.lost_share, 0);
  });

test('a group as busy as may be planned loses nothing, and is about as slow as was said', () => {
  const plan = planOf({ ...WISH, subscribers: 2000 });
  const tree = treeOf(2000, ...plan.levels.map(({ members }) => members));
  const simulated = simulate(tree, FIGURES, FEED, { packets: 20_000, seed: 1 });
  assert.is(simulated.lost_share, 0);
  near((plan.latency_us?.p50 ?? 0) / simulated.latency_us.p50, 1, 0.1, 'p50');
  near((plan.latency_us?.p99 ?? 0) / simulated.latency_us.p99, 1, 0.25, 'p99');
});

test('no more is lost than a plan says, wherever it is too much', () => {
  const feed = { ...FEED, packets_per_second: 100_000 };
  for (const [tree, least] of [
    [treeOf(10, 1), 0.2],
    [treeOf(100, 1, 10), 0.2],
    [treeOf(40, 1, 20), 0.5],
    [treeOf(40, 1, 2, 20), 0],
  ] as const) {
    const { lost_share, latency_us } = expectationOf(tree, FIGURES, feed);
    const seen = simulate(tree, FIGURES, feed, { packets: 40_000, seed: 1 }).lost_share;
    assert.ok(seen <= lost_share, `${tree.members}: ${seen} lost, ${lost_share} planned`);
    assert.ok(lost_share >= least && seen >= least / 2, `${tree.members}: ${lost_share}, ${seen}`);
    assert.is(latency_us === null, lost_share > 0);
  }
});

test.run();
