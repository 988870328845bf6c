/**
 * Goal: what `top` makes of two readings is right whatever happened between them, and no row costs
 * anything that is not shown. Method: readings made by hand.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dropRows, type Interval, intervalOf, type Reading } from '../../src/domain/reading.js';
import type { AccountRow, Stats, SubscriberRow } from '../../src/domain/statistics.js';
import { chosenRows, frame, type Line, roomFor, summaryLines } from '../../src/top/frame.js';
import { firstLook, type Key, type Look, pressed } from '../../src/top/look.js';
import { views } from '../../src/top/views.js';
import { emptyStats } from '../rig/memory-replicator.js';

const test = suite('figures of top');
const SIZE = { columns: 120, rows: 40 };

/** As it is drawn. */
function linesOf(interval: Interval, look: Look, size = SIZE): Line[] {
  const chosen = chosenRows(interval, look);
  const known = { interval, stale: null };
  return frame({ known, summary: summaryLines(interval), look, chosen, size });
}

function account(port: number, sent: number, drops: AccountRow['drops'] = {}): AccountRow {
  return { ip: '10.0.0.9', port, received: sent, sent, in_flight: 0, bytes: 100 * sent, drops };
}

function reading(uptime_ms: number, subscribers: AccountRow[], stats?: Partial<Stats>): Reading {
  const rows = subscribers.map(({ ip, port }): SubscriberRow => {
    const route = { state: 'live', mac: null, worker: 0 } as const;
    return { ip, port, ...route, filter: 'rewrite', feeds: ['main'], expires_s: null };
  });
  return { stats: { ...emptyStats(), uptime_ms, subscribers, ...stats }, subscribers: rows };
}

/** sent/s by port. */
function rates(now: Reading, before: Reading | null): Record<string, unknown> {
  const rows = views.subscribers.rows(intervalOf(now, before));
  return Object.fromEntries(rows.map((row) => [row[1], row[4]]));
}

test('a rate is of the time between two looks by the clock of the replicator', () => {
  const before = reading(1000, [account(1, 100), account(2, 0)]);
  const now = reading(3000, [account(1, 300), account(2, 0)]);
  assert.equal(rates(now, before), { 1: 100, 2: 0 });
});

test('a first look, and the first of a replicator that was started again, has no rate', () => {
  const one = reading(9000, [account(1, 500)]);
  assert.equal(rates(one, null), { 1: null });
  assert.equal(rates(reading(100, [account(1, 7)]), one), { 1: null });
  assert.equal(rates(one, one), { 1: null });
});

test('no rate is negative: what is added, added again, or removed counts from its own start', () => {
  const before = reading(1000, [account(1, 900, { backlog: 50 }), account(2, 10), account(3, 5)]);
  const now = reading(2000, [account(1, 40, { backlog: 3 }), account(2, 30), account(4, 7)]);
  assert.equal(rates(now, before), { 1: 40, 2: 20, 4: 7 });
  assert.equal(dropRows(intervalOf(now, before)), [
    { dropper: 'copies', name: 'backlog', total: 3, rate: 3 },
  ]);
});

test('drops have their names, of copies, feeds and the kernel, the busiest first', () => {
  const drops = (backlog: number, no_route: number) => [account(1, 1, { backlog, no_route })];
  const [feed] = emptyStats().feeds;
  assert.ok(feed);
  const kernel = (rx_dropped: number) => ({
    ...{ queue: 0, rx_dropped, rx_ring_full: 0, rx_invalid_descs: 9, tx_invalid_descs: 0 },
    ...{ rx_fill_ring_empty_descs: 4, tx_ring_empty_descs: 0 },
  });
  const feeds = (invalid: number) => [{ ...feed, drops: { invalid_checksum: invalid } }];
  const before = reading(0, drops(5, 1), { kernel: [kernel(0)], feeds: feeds(1) });
  const now = reading(1000, drops(5, 3), { kernel: [kernel(8)], feeds: feeds(2) });
  assert.equal(
    dropRows(intervalOf(now, before)).map(({ dropper, name, total, rate }) => {
      return `${dropper} ${name} ${total} ${rate}`;
    }),
    [
      'kernel rx_dropped 8 8',
      'copies no_route 3 2',
      'feeds invalid_checksum 2 1',
      'copies backlog 5 0',
    ],
  );
});

function press(look: Look, rows: number, ...keys: Key[]): Look {
  const extent = { rows, room: roomFor(SIZE) };
  return keys.reduce((each, key) => {
    const next = pressed(each, key, extent);
    assert.ok(next !== null, 'it goes on');
    return next;
  }, look);
}

test('of 4096 subscribers those that fit are drawn, and keys reach each of them', () => {
  const all = Array.from({ length: 4096 }, (_, index) => account(index + 1, index));
  const interval = intervalOf(reading(1000, all), null);
  const byPort = press(firstLook, all.length, { character: '2' });
  for (const look of [byPort, press(byPort, all.length, { name: 'end' })]) {
    const lines = linesOf(interval, look);
    assert.is(lines.length, SIZE.rows - 1);
    const ports = lines.flatMap(({ text }) => /^10\.0\.0\.9 +(\d+)/.exec(text)?.[1] ?? []);
    assert.is(ports.length, roomFor(SIZE));
    const expected = look === byPort ? ['1', '30'] : ['4067', '4096'];
    assert.equal([ports[0], ports.at(-1)], expected);
  }
});

test('keys: what is typed after / is the filter, Enter keeps it, Escape takes it back, q ends', () => {
  const typed = press(firstLook, 9, { character: '/' }, { character: 'q' }, { character: '/' });
  assert.is(typed.filter, 'q/');
  const kept = press(typed, 9, { name: 'enter' });
  assert.equal([kept.filter, kept.filterBefore], ['q/', null]);
  assert.is(
    press(kept, 9, { character: '/' }, { character: 'x' }, { name: 'escape' }).filter,
    'q/',
  );
  assert.is(press(kept, 9, { name: 'escape' }).filter, '');
  for (const key of [{ character: 'q' }, { name: 'interrupt' }] as const)
    assert.is(pressed(kept, key, { rows: 9, room: 3 }), null);
  assert.is(pressed(typed, { name: 'interrupt' }, { rows: 9, room: 3 }), null);
  assert.is(press(firstLook, 9, { name: 'down' }).top, 0, 'all of them are shown');
  assert.is(press(firstLook, 9, { character: '9' }, { name: 'tab' }).view, 'feeds');
});

test('no frame has more lines than its terminal, less one, however small that is', () => {
  const interval = intervalOf(reading(1000, [account(1, 1)]), null);
  for (const rows of [1, 2, 5, 10, 24, 200]) {
    const lines = linesOf(interval, firstLook, { columns: 40, rows });
    assert.ok(lines.length <= Math.max(1, rows - 1), `${lines.length} lines on ${rows} rows`);
  }
});

test.run();
