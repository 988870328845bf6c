/**
 * Goal: each gap that a filter reports becomes one event, and a flood of them few. Method: reports
 * written by hand into a block as a worker's filter leaves it, looked at in between; then reports
 * that are given, at times that are given.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Endpoint } from '../../src/domain/endpoint.js';
import type { FilterModule } from '../../src/domain/filter.js';
import type { GapEvent } from '../../src/domain/replicator.js';
import { GAPS_PER_SECOND_MAX, Gaps } from '../../src/filters/gaps.js';
import { type Gap, Reports } from '../../src/filters/reports.js';
import { limits, offsetOf } from '../../src/memory/layout.js';
import type { SubscriberSet } from '../../src/subscribers/sets.js';

const test = suite('gaps');
const AT_MS = 1_700_000_000_000;
/** Two sets of the same feeds, as of two workers, one of another, and one that has ended. */
const FEEDS: Record<number, string[]> = { 7: ['main', 'b'], 8: ['main', 'b'], 9: ['main'] };
const sets = {
  find: (number: bigint): SubscriberSet | undefined => {
    const feeds = FEEDS[Number(number)];
    if (feeds === undefined) return undefined;
    return { number, worker: 0, feeds, param: new Uint8Array(), subscribers: 1 };
  },
};
const feedAt = ({ port }: Endpoint) => (port === 5000 ? 'main' : null);

function moduleOf(owner: number): FilterModule {
  const facts = { abi: 1, state: 2, report: 96, hash: 'aa' };
  return { name: 'ab', bytes: new Uint8Array(), ...facts, slot: 1, module: owner, block: 0, owner };
}

// ---- reading what a filter has written ----------------------------------------------------------

/** One worker's block, and whose it is. */
class Block {
  readonly buffer = new ArrayBuffer(limits.STATE_SIZE + 8);
  readonly view = new DataView(this.buffer);
  readonly workers = 1;
  /** Called before each word that is read. */
  beforeRead = () => {};

  constructor(owner: number) {
    this.view.setBigUint64(limits.STATE_SIZE, BigInt(owner), true);
  }

  filterState(_worker: number, _block: number, field: 'block' | 'owner'): number {
    return field === 'block' ? 0 : limits.STATE_SIZE;
  }

  u64(at: number): bigint {
    this.beforeRead();
    return this.view.getBigUint64(at, true);
  }

  /** The gap of that number, of the one message that bears it. */
  tell(number: number): void {
    const place = (number % limits.REPORT_GAPS) * limits.REPORT_GAP_SIZE;
    const entry = 96 + offsetOf('filter_report', 'gap') + place;
    for (const field of ['from', 'to', 'receive_ns', 'set'])
      this.view.setBigUint64(entry + offsetOf('report_gap', field), BigInt(number), true);
    this.count = number + 1;
  }

  set count(count: number) {
    this.view.setBigUint64(96 + offsetOf('filter_report', 'gap_count'), BigInt(count), true);
  }
}

const numbersOf = ({ gaps }: { gaps: Gap[] }) => gaps.map(({ from }) => Number(from));

test('new gaps are read in order, and of more than are kept the newest', () => {
  const block = new Block(7);
  const reports = new Reports({ arena: block, sets, feedAt });
  assert.equal(reports.gapsSince(moduleOf(7), 0, 0n), { count: 0n, gaps: [] });
  for (let number = 0; number < 5; number++) block.tell(number);
  assert.equal(numbersOf(reports.gapsSince(moduleOf(7), 0, 0n)), [0, 1, 2, 3, 4]);
  assert.equal(numbersOf(reports.gapsSince(moduleOf(7), 0, 3n)), [3, 4]);
  assert.equal(numbersOf(reports.gapsSince(moduleOf(7), 0, 5n)), []);
  for (let number = 5; number < 40; number++) block.tell(number);
  const { count, gaps } = reports.gapsSince(moduleOf(7), 0, 5n);
  assert.is(count, 40n);
  // the place of the 24th may be half overwritten by the 40th
  assert.equal(
    numbersOf({ gaps }),
    Array.from({ length: 15 }, (_, i) => 25 + i),
  );
});

test('an entry that is overwritten while it is read is not believed', () => {
  const block = new Block(7);
  const reports = new Reports({ arena: block, sets, feedAt });
  let next = 0;
  for (; next < 10; next++) block.tell(next);
  for (const every of [1, 3, 7, 20]) {
    const since = next - 10;
    let reads = 0;
    block.beforeRead = () => {
      if (reads++ % every === every - 1) block.tell(next++);
    };
    const read = reports.gapsSince(moduleOf(7), 0, BigInt(since));
    block.beforeRead = () => {};
    assert.ok(every < 20 || read.gaps.length > 0, 'a slow writer is read');
    for (const gap of read.gaps)
      assert.is(new Set([gap.from, gap.to, gap.receive_ns, gap.set]).size, 1, 'of one gap');
  }
});

test('the block of another owner is not read, nor what a burst that was undone has taken back', () => {
  const block = new Block(7);
  const reports = new Reports({ arena: block, sets, feedAt });
  block.tell(0);
  assert.is(reports.gapCount(moduleOf(8), 0), null);
  assert.equal(reports.gapsSince(moduleOf(8), 0, 0n), { count: 0n, gaps: [] });
  const none = { gaps: 0, missing: 0, too_short: 0, no_room: 0, sets: [] };
  assert.equal(reports.row(moduleOf(8)), { report: none });
  block.tell(1);
  assert.is(reports.gapsSince(moduleOf(7), 0, 0n).count, 2n);
  block.count = 1;
  assert.equal(reports.gapsSince(moduleOf(7), 0, 2n), { count: 2n, gaps: [] });
  assert.equal(reports.row({ ...moduleOf(7), report: null }), {});
});

// ---- telling ------------------------------------------------------------------------------------

/** Gaps over reports that a test gives, at times that it gives. */
class Scene {
  readonly events: GapEvent[] = [];
  readonly found = [[], []] as Gap[][];
  readonly open = [[], []] as Gap[][];
  packets = 0n;
  /** What happens while what is open is read. */
  whileRead = () => {};
  modules = [moduleOf(1)];
  now = 0;
  readonly gaps: Gaps;

  constructor(workers = 1, before = 0) {
    for (let number = 0; number < before; number++) this.find(number);
    this.gaps = new Gaps({
      filters: { loaded: () => this.modules },
      reports: {
        gapCount: (_, worker) => BigInt(this.found[worker]?.length ?? 0),
        gapsSince: (_, worker, since) => {
          const all = this.found[worker] ?? [];
          return { count: BigInt(all.length), gaps: all.slice(Number(since)) };
        },
        packets: () => this.packets,
        openGaps: (_, worker) => {
          this.whileRead();
          return this.open[worker] ?? [];
        },
      },
      sets,
      workers,
      now: () => this.now,
    });
  }

  find(from: number, worker = 0, later_ns = 0n): void {
    this.packets += 1n;
    this.found[worker]?.push(this.gap(from, worker, later_ns));
  }

  /** Of a set of that worker. */
  gap(from: number, worker = 0, later_ns = 0n): Gap {
    const receive_ns = BigInt(AT_MS) * 1_000_000n + later_ns;
    return { from: BigInt(from), to: BigInt(from) + 1n, receive_ns, set: BigInt(7 + worker) };
  }

  /** Looks as often as the pulse does. */
  lookFor(ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now += 100) this.gaps.look();
  }

  listen(): () => void {
    return this.gaps.onGap((gap) => this.events.push(gap));
  }
}

test('a gap is told once, to who listens then; what an earlier supervisor has seen is not', () => {
  const scene = new Scene(1, 3);
  const end = scene.listen();
  scene.gaps.look();
  assert.equal(scene.events, []);
  scene.find(10);
  scene.gaps.look();
  scene.gaps.look();
  assert.equal(scene.events, [{ feeds: ['main', 'b'], from: 10, to: 11, at_ms: AT_MS }]);
  end();
  scene.find(20);
  scene.gaps.look();
  scene.listen();
  scene.gaps.look();
  assert.is(scene.events.length, 1, 'nobody listened');
});

test('a gap that two workers have found is told once, and one that comes again for one of them again', () => {
  const scene = new Scene(2);
  scene.listen();
  scene.find(10, 0);
  scene.find(10, 1, 50_000n);
  scene.find(30, 1);
  scene.gaps.look();
  assert.equal(
    scene.events.map(({ from }) => from),
    [10, 30],
  );
  scene.find(10, 0, 60_000_000_000n);
  scene.gaps.look();
  assert.equal(
    scene.events.map(({ from }) => from),
    [10, 30, 10],
  );
});

test('at most 100 are told in any second, and the next one tells how many were not', () => {
  const scene = new Scene();
  scene.listen();
  const times: number[] = [];
  let found = 0;
  for (; scene.now < 5000; scene.now += 50) {
    for (let i = 0; i < 13; i++) scene.find(found++ * 10);
    const before = scene.events.length;
    scene.gaps.look();
    for (let i = before; i < scene.events.length; i++) times.push(scene.now);
  }
  for (const [index, time] of times.entries()) {
    const within = times[index + GAPS_PER_SECOND_MAX];
    assert.ok(within === undefined || within - time > 1000, `101 from ${time} to ${within}`);
  }
  assert.ok(times.length > 400, `${times.length} of 500`);
  scene.now += 2000;
  scene.find(found++ * 10);
  scene.gaps.look();
  const suppressed = scene.events.reduce((sum, event) => sum + (event.suppressed ?? 0), 0);
  assert.is(scene.events.length + suppressed, found);
  assert.ok(!scene.events.slice(0, 100).some((event) => 'suppressed' in event));
});

test('a gap that is open is told once no packet has come for a while, and not again when its filter tells what is left of it', () => {
  const scene = new Scene();
  scene.listen();
  const from = () => scene.events.map((event) => event.from);
  scene.open[0]?.push(scene.gap(10), scene.gap(20, 0, 5n));
  for (let i = 0; i < 20; i++) {
    scene.packets += 1n;
    scene.lookFor(100);
  }
  assert.equal(from(), [], 'packets come: one of them may fill it');
  scene.lookFor(200);
  assert.equal(from(), [], 'not yet');
  scene.lookFor(400);
  assert.equal(from(), [10, 20]);
  scene.lookFor(5000);
  assert.is(scene.events.length, 2, 'once');
  scene.find(11); // of the packet that skipped 10, too
  scene.find(20, 0, 5n);
  scene.find(30, 0, 9n);
  scene.open[0]?.splice(0);
  scene.lookFor(1000);
  assert.equal(from(), [10, 20, 30]);
  assert.ok(scene.events.every(({ suppressed }) => suppressed === undefined));
});

test('what is open is not believed if a packet has come while it was read, nor told to who was not there', () => {
  const scene = new Scene();
  scene.open[0]?.push(scene.gap(10));
  scene.packets = 1n;
  scene.lookFor(1000);
  scene.listen();
  scene.lookFor(1000);
  assert.equal(scene.events, [], 'it was found when nobody listened');
  scene.open[0]?.push(scene.gap(20, 0, 5n));
  scene.whileRead = () => {
    scene.packets += 1n;
  };
  scene.lookFor(2000);
  assert.equal(scene.events, []);
});

test('of a set that nobody knows any more nothing is told', () => {
  const scene = new Scene();
  scene.listen();
  scene.found[0]?.push({ ...scene.gap(10), set: 99n });
  scene.gaps.look();
  assert.equal(scene.events, []);
});

test('the gaps of a module that is loaded later are told from its first on', () => {
  const scene = new Scene(1, 2);
  scene.listen();
  scene.modules = [];
  scene.gaps.look();
  scene.modules = [moduleOf(2)];
  scene.gaps.look();
  assert.is(scene.events.length, 2);
});

test.run();
