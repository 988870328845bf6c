/**
 * The benchmark itself: that its search, its statistics and its plots are right, and that its sink
 * sees what it must see.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { escaped, short, svgOf } from '../../tools/bench/report/chart.js';
import { transmit } from '../../tools/bench/runs/competitors.js';
import type { Setup } from '../../tools/bench/runs/contender.js';
import {
  type Collected,
  Engine,
  type Percentiles,
  type Sent,
} from '../../tools/bench/runs/engine.js';
import { windowOf } from '../../tools/bench/runs/measure.js';
import { searchLossless } from '../../tools/bench/runs/search.js';
import { spreadOf } from '../../tools/bench/runs/spread.js';
import { makeWorld, type World } from '../../tools/bench/runs/world.js';
import { prepare } from '../../tools/bench/specials/specials.js';
import { lackForNetwork } from '../rig/program.js';

const test = suite('bench');
const SEED = 3;

// ---- Pure parts ----

/** A competitor that carries everything up to `limit`. */
function findLimit(limit: number, guess: number, step: number) {
  const tried: number[] = [];
  const found = searchLossless(
    { guess, step, tolerance: 1.02, min: 100, max: 1_000_000, tries: 1 },
    async (rate) => {
      tried.push(rate);
      return { lossless: rate <= limit, sourceLimited: false };
    },
  );
  return found.then(({ best, isLowerBound }) => ({
    rate: best?.rate ?? null,
    isLowerBound,
    tried,
  }));
}

test('the search comes within 2 % of the limit, from above and from below', async () => {
  for (const limit of [137, 20_000, 61_803, 999_000]) {
    for (const guess of [100, 30_000, 800_000]) {
      const { rate, isLowerBound, tried } = await findLimit(limit, guess, 1.5);
      assert.ok(
        rate !== null && rate <= limit && rate >= limit / 1.02,
        `${limit} from ${guess}: ${rate}`,
      );
      assert.not(isLowerBound);
      assert.ok(tried.length < 25, `${tried.length} trials`);
    }
  }
});

test('a search that begins at the last result takes few trials', async () => {
  const { tried } = await findLimit(61_803, 60_900, 1.04);
  assert.ok(tried.length <= 4, tried.join());
});

test('a limit past the highest rate is a lower bound, one below the lowest is none', async () => {
  const high = await findLimit(5_000_000, 30_000, 1.5);
  assert.equal([high.rate, high.isLowerBound], [1_000_000, true]);
  assert.is((await findLimit(50, 30_000, 1.5)).rate, null);
});

test('where the source fails first, the result is a lower bound', async () => {
  const options = { guess: 1000, step: 1.5, tolerance: 1.02, min: 100, max: 100_000, tries: 1 };
  const { isLowerBound } = await searchLossless(options, async (rate) => {
    return { lossless: rate < 5000, sourceLimited: rate >= 5000 };
  });
  assert.ok(isLowerBound);
});

test('a spread is the middle and both ends, and null of nothing', () => {
  assert.equal(spreadOf([3, 1, 2]), { median: 2, min: 1, max: 3, rounds: 3 });
  assert.equal(spreadOf([4, 1, 2, 3]), { median: 2.5, min: 1, max: 4, rounds: 4 });
  assert.is(spreadOf([Number.NaN]), null);
});

const NONE: Percentiles = [0, 0, 0, 0, 0, 0];

function sent(lengthNs: number): Sent {
  return {
    sent: 1000,
    start_ns: 0,
    end_ns: lengthNs,
    refused: 0,
    late_ns: NONE,
    stolen_ns: 0,
    stolen_ns_max: 0,
    taken_ns: 0,
  };
}

function collected(changes: Partial<Collected>): Collected {
  const counts = { received: 2000, lost: 0, duplicated: 0, reordered: 0, corrupt: 0, malformed: 0 };
  const places = { unexpected: 0, stale: 0, last_gap: 0, first_ns: 1, last_ns: 1e8, windows: 0 };
  return { ...counts, ...places, latency_ns: NONE, window_ns: NONE, subscribers: [], ...changes };
}

test('a window is lossless only if all came, right, in time, from a source that kept its rate', () => {
  const judge = (lengthNs: number, changes: Partial<Collected>) =>
    windowOf(10_000, sent(lengthNs), collected(changes), 0);
  assert.ok(judge(1e8, {}).lossless);
  assert.is(judge(1e8, {}).output, 20_000);
  for (const name of [
    'lost',
    'duplicated',
    'reordered',
    'corrupt',
    'malformed',
    'unexpected',
  ] as const)
    assert.not(judge(1e8, { [name]: 1 }).lossless, name);
  assert.not(judge(1e8, { last_ns: 1.2e8 }).lossless, 'it came 20 ms after the source had ended');
  const late = judge(1.2e8, { last_ns: 1.2e8 });
  assert.equal([late.lossless, late.sourceLimited], [false, true]);
});

test('a chart is SVG text with a path for each series that has points', () => {
  const line = (name: string, points: [number, number][]) => ({ name, colour: 'red', points });
  const chart = { title: 'a < b', x: 'x', y: 'y' };
  const svg = svgOf({
    ...chart,
    series: [
      line('one', [
        [1, 10],
        [100, 1000],
      ]),
      line('nowhere', [[0, 0]]),
    ],
  });
  assert.match(svg, /^<svg [^>]*>[\s\S]*<\/svg>$/);
  assert.is(svg.match(/<path /g)?.length, 1);
  assert.ok(svg.includes('a &lt; b') && !svg.includes('NaN') && !svg.includes('nowhere'));
  assert.is(svgOf({ ...chart, series: [] }), '');
  assert.is(escaped('"<&>'), '&quot;&lt;&amp;&gt;');
  assert.equal([short(1500), short(2_000_000), short(0.5)], ['1.5k', '2M', '0.5']);
});

// ---- The sink ----

function onLink(name: string, work: (world: World, engine: Engine) => Promise<void>): void {
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) return console.log(`skip: ${lack}`);
    prepare();
    const world = makeWorld(1);
    try {
      const engine = await Engine.start(world, SEED);
      await work(world, engine);
      await engine.stop();
    } finally {
      world.close();
    }
  });
}

const COUNT = 50;
const collect = (engine: Engine) =>
  engine.collect({ expect: COUNT, quietMs: 100, limitMs: 2000, detail: true });

onLink(
  'the sink sees what is missing, twice, spoilt, too long and nobody’s',
  async (world, engine) => {
    const two: Setup = { world, subscribers: 2, size: 200 };
    const send = async (setup: Setup, seed = SEED) => {
      const run = await engine.begin(2, 200, 1);
      await transmit(setup, { run, count: COUNT, seed });
      return run;
    };

    await send(two);
    const whole = await collect(engine);
    assert.equal(
      [whole.received, whole.lost, whole.duplicated, whole.corrupt],
      [2 * COUNT, 0, 0, 0],
    );
    assert.equal([whole.windows, whole.subscribers.length], [COUNT, 2]);

    await send({ ...two, subscribers: 1 });
    const { lost, subscribers } = await collect(engine);
    assert.equal([lost, subscribers.map((row) => row.received)], [COUNT, [COUNT, 0]]);

    const run = await send(two);
    await transmit(two, { run, count: COUNT, seed: SEED });
    assert.is((await collect(engine)).duplicated, 2 * COUNT);

    await send(two, SEED + 1);
    const spoilt = await collect(engine);
    assert.equal([spoilt.corrupt, spoilt.lost], [2 * COUNT, 2 * COUNT]);

    await send({ ...two, size: 208 });
    assert.is((await collect(engine)).malformed, 2 * COUNT);

    await send({ ...two, subscribers: 3 });
    assert.is((await collect(engine)).unexpected, COUNT);
  },
);

onLink('packets lost and late copies of an earlier run are told apart', async (world, engine) => {
  const two: Setup = { world, subscribers: 2, size: 200 };
  const run = await engine.begin(2, 200, 1);
  await engine.begin(2, 200, 1);
  await transmit(two, { run, count: COUNT, seed: SEED });
  const seen = await collect(engine);
  assert.equal(
    [seen.stale, seen.received, seen.lost, seen.last_gap],
    [2 * COUNT, 0, 2 * COUNT, COUNT],
  );
});

test.run();
