/**
 * What /metrics tells, from statistics that are known: values, labels, which rows are left out or
 * summed, and histograms against a count by hand.
 *
 * needs: a core
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AccountRow } from '../../src/domain/statistics.js';
import { bucketStart } from '../../src/memory/arena.js';
import { limits } from '../../src/memory/layout.js';
import { expositionOf } from '../../src/metrics/exposition.js';
import { type Family, familiesOf, type Snapshot } from '../../src/metrics/families.js';
import { Others } from '../../src/metrics/others.js';
import { busyStats } from '../rig/memory-replicator.js';
import { ROOT } from '../rig/program.js';
import { type Random, random } from '../rig/random.js';

const test = suite('metrics families');

const NOTHING = new Array<number>(limits.HISTOGRAM_BUCKETS).fill(0);

function snapshot(more: Partial<Snapshot> = {}): Snapshot {
  const stats = more.stats ?? busyStats(7);
  return {
    version: '1.2.3',
    stats,
    states: new Map(),
    histograms: [{ inside: NOTHING, kick: NOTHING, window: NOTHING }],
    filters: [],
    requests: [],
    accounts: stats.subscribers,
    others: null,
    ...more,
  };
}

function named(families: readonly Family[], name: string): Family {
  const found = families.find((family) => family.name === name);
  assert.ok(found !== undefined, name);
  return found;
}

const valueAt = (family: Family, labels: object) =>
  family.samples.find((sample) => JSON.stringify(sample.labels) === JSON.stringify(labels))?.value;

test('each counter is what stats says, under the labels of its row', async () => {
  const stats = busyStats(7);
  const [first] = stats.subscribers;
  assert.ok(first !== undefined);
  first.drops = { tx_full: 2, backlog: 0 };
  const families = familiesOf(snapshot({ stats }));
  const of = (name: string, labels: object) => valueAt(named(families, name), labels);
  assert.is(of('fantail_feed_received_total', { feed: 'main' }), 7);
  assert.is(of('fantail_xdp_verdicts_total', { verdict: 'redirect' }), 7);
  assert.is(of('fantail_subscriber_sent_total', { ip: '10.0.0.34', port: 9001 }), 7);
  const drops = named(families, 'fantail_subscriber_drops_total').samples;
  assert.equal(drops, [{ value: 2, labels: { ip: '10.0.0.34', port: 9001, reason: 'tx_full' } }]);
  const text = await expositionOf(families);
  assert.match(text, /^# TYPE fantail_feed_received_total counter$/m);
  assert.match(text, /^fantail_feed_received_total\{feed="main"\} 7$/m);
  assert.match(text, /^fantail_info\{version="1\.2\.3",interface="\S+",mode=/m);
});

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function accounts(next: Random, count: number): AccountRow[] {
  return Array.from({ length: count }, (_, index) => ({
    ...{ ip: `10.1.${index >> 8}.${index & 255}`, port: 9001 },
    ...{ received: next.below(1e9), sent: next.below(1e9), in_flight: next.below(9), bytes: 0 },
    drops: { backlog: next.below(3), tx_full: next.below(3) },
  }));
}

test('subscribers past the bound are summed into one row, and nothing is lost by it', () => {
  const all = accounts(random('metrics cardinality'), 1000);
  for (const bound of [0, 1, 256, 1000, 4096]) {
    const others = new Others().account(all.slice(bound));
    const families = familiesOf(snapshot({ accounts: all.slice(0, bound), others }));
    const sent = named(families, 'fantail_subscriber_sent_total').samples;
    assert.is(sent.length, Math.min(1000, bound + 1));
    assert.is(sum(sent.map(({ value }) => value)), sum(all.map((row) => row.sent)));
    assert.is(
      sum(named(families, 'fantail_subscriber_drops_total').samples.map(({ value }) => value)),
      sum(all.map(({ drops }) => (drops.backlog ?? 0) + (drops.tx_full ?? 0))),
    );
    assert.is(sent.at(-1)?.labels.ip === 'others', bound < 1000);
  }
});

test('the row of the others only rises, whoever comes and goes, and rises by what is counted', () => {
  const next = random('metrics others');
  const others = new Others();
  assert.is(others.account([]), null);
  let rows = accounts(next, 50);
  let before = others.account(rows);
  for (let step = 0; step < 500; step++) {
    rows = rows.filter(() => next.below(20) > 0);
    const counted = sum(rows.map((row) => row.sent));
    const left = others.account(rows);
    assert.is(left?.sent, before?.sent, 'who leaves takes nothing off');
    for (const row of rows) row.sent += next.below(100);
    rows.push(...accounts(next, next.below(4)).map((row) => ({ ...row, sent: 0 })));
    const after = others.account(rows);
    assert.is((after?.sent ?? 0) - (left?.sent ?? 0), sum(rows.map((row) => row.sent)) - counted);
    for (const name of ['backlog', 'tx_full'])
      assert.ok((after?.drops[name] ?? 0) >= (before?.drops[name] ?? 0), name);
    before = after;
  }
});

test('a histogram counts below each bound what a count by hand does, and never falls', () => {
  const next = random('metrics histogram');
  const inside = NOTHING.map(() => (next.below(3) === 0 ? next.below(1000) : 0));
  const families = familiesOf(
    snapshot({ histograms: [{ inside, kick: NOTHING, window: NOTHING }] }),
  );
  const { samples } = named(families, 'fantail_inside_seconds');
  const total = inside.reduce((sum, count) => sum + count, 0);
  let before = 0;
  for (const { value, labels, suffix } of samples.filter((each) => each.suffix === '_bucket')) {
    const bound_ns = labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le) * 1e9;
    const byHand = inside.reduce(
      // rounded: a bound in seconds is no whole number of nanoseconds in binary
      (sum, count, i) => sum + (bucketStart(i + 1) - 1 <= Math.round(bound_ns) ? count : 0),
      0,
    );
    assert.is(value, byHand, `${suffix} le ${labels.le}`);
    assert.ok(value >= before);
    before = value;
  }
  assert.is(before, total);
  assert.is(samples.find(({ suffix }) => suffix === '_count')?.value, total);
  const sum_s = samples.find(({ suffix }) => suffix === '_sum')?.value ?? 0;
  const [low, high] = [0, 1].map((end) =>
    inside.reduce((sum, count, i) => sum + count * (bucketStart(i + end) * 1e-9), 0),
  );
  assert.ok(sum_s >= (low ?? 0) && sum_s <= (high ?? 0), `${low} ≤ ${sum_s} ≤ ${high}`);
});

test('what a filter is called cannot break the text', async () => {
  const stats = busyStats(1);
  const odd = 'a"b\\c\nd';
  const [feed] = stats.feeds;
  assert.ok(feed !== undefined);
  feed.name = odd;
  const text = await expositionOf(familiesOf(snapshot({ stats })));
  assert.match(text, /^fantail_feed_received_total\{feed="a\\"b\\\\c\\nd"\} 1$/m);
});

test('a member of a fleet tells how it stands and what it has; any other has no such rows', () => {
  const stats = busyStats(1);
  const alone = familiesOf(snapshot({ stats })).filter(({ name }) => /_fleet_/.test(name));
  assert.is(alone.length, 4);
  assert.equal(
    alone.flatMap(({ samples }) => samples),
    [],
  );
  stats.fleet = {
    ...{ group: 'g', member: 'm', standing: 'cut', silent_ms: 4000, is_draining: false },
    ...{ shards: 51, subscribers: 7, unserved: 2, handover: 3 },
    ...{ upstream: null, relays: [], hops: [] },
  };
  const families = familiesOf(snapshot({ stats }));
  const of = (name: string, labels: object = {}) => valueAt(named(families, name), labels);
  assert.is(of('fantail_fleet_standing', { standing: 'cut' }), 1);
  assert.is(of('fantail_fleet_shards'), 51);
  assert.is(of('fantail_fleet_unserved'), 2);
  assert.is(of('fantail_fleet_handover_total'), 3);
});

test('the page of metrics names each family with its type and labels, and no other', () => {
  const stats = busyStats(1);
  const [feed] = stats.feeds;
  const [one] = stats.subscribers;
  assert.ok(feed !== undefined && one !== undefined);
  Object.assign(feed, { joined: true, drops: { invalid_ttl: 1 } });
  one.drops = { tx_full: 1 };
  stats.fleet = {
    ...{ group: 'g', member: 'm', standing: 'cut', silent_ms: 4000, is_draining: false },
    ...{ shards: 51, subscribers: 7, unserved: 2, handover: 3 },
    ...{ upstream: null, relays: [], hops: [] },
  };
  const report = { gaps: 1, missing: 2, too_short: 0, no_room: 0, sets: [] };
  stats.filters.loaded = [{ name: 'f', hash: null, traps: 0, bad_answers: 0, report }];
  const families = familiesOf(
    snapshot({
      stats,
      states: new Map([['live', 1]]),
      filters: [{ name: 'f', verdicts: { send: 1, drop: 0 }, faults: {} } as never],
      requests: [{ op: 'add', code: 'ok', count: 1 }],
    }),
  );
  const told = families.map(({ name, type, samples }) => {
    const labels = Object.keys(samples[0]?.labels ?? {}).filter((label) => label !== 'le');
    return [`\`${name}\``, type, labels.join(', ')];
  });
  const page = readFileSync(join(ROOT, 'docs', 'monitoring', 'metrics.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `fantail_.*$/gm)].map(([row]) =>
    row
      .split('|')
      .slice(1, 4)
      .map((cell) => cell.trim()),
  );
  assert.equal(rows, told);
});

test('the dashboard asks for metrics that there are', () => {
  const text = readFileSync(join(ROOT, 'docs', 'monitoring', 'fantail.json'), 'utf8');
  const { panels } = JSON.parse(text) as { panels: { targets: { expr: string }[] }[] }; // ours
  const known = new Set(
    familiesOf(snapshot()).flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`] : [name],
    ),
  );
  const asked = panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) => expr.match(/fantail_\w+/g) ?? []),
  );
  assert.ok(asked.length > 0);
  for (const name of asked) assert.ok(known.has(name), name);
});

test.run();
