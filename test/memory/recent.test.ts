/**
 * The latencies of the last seconds, by a clock that the test sets, against percentiles of what was
 * measured then. The same over a real link: test/path/recent.test.ts.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bucketStart, type Histograms, percentile } from '../../src/memory/arena.js';
import { limits } from '../../src/memory/layout.js';
import { Recent } from '../../src/memory/recent.js';
import { random } from '../rig/random.js';

const test = suite('recent latencies');
const NOTHING = { p50: 0, p99: 0, p999: 0 };

/** Two workers' histograms that only grow, and a clock. */
class Workers {
  now_ms = 1000;
  readonly workers = 2;
  readonly recent: Recent;
  private readonly all = Array.from({ length: this.workers }, () => ({
    inside_ns: this.empty(),
    kick_ns: this.empty(),
    window_ns: this.empty(),
  }));

  constructor() {
    this.recent = new Recent(this, () => this.now_ms);
    this.recent.close(); // the test looks
  }

  histograms(worker: number): Histograms {
    const { inside_ns = [], kick_ns = [], window_ns = [] } = this.all[worker] ?? {};
    return { inside_ns: [...inside_ns], kick_ns: [...kick_ns], window_ns: [...window_ns] };
  }

  measure(worker: number, name: keyof Histograms, bucket: number, count = 1): void {
    const counts = this.all[worker]?.[name] ?? [];
    counts[bucket] = (counts[bucket] ?? 0) + count;
  }

  of(worker: number) {
    return this.recent.of(worker, this.histograms(worker));
  }

  empty(): number[] {
    return new Array<number>(limits.HISTOGRAM_BUCKETS).fill(0);
  }
}

const endOf = (bucket: number) => bucketStart(bucket + 1) - 1;

test('they are of what came after a look that is at least a second old, and of each worker its own', () => {
  const workers = new Workers();
  workers.measure(0, 'inside_ns', 200, 1000); // slow, before anybody looked again
  workers.now_ms += 1000;
  workers.recent.look();
  workers.measure(0, 'inside_ns', 50, 10);
  workers.measure(1, 'window_ns', 60);
  workers.now_ms += 999;
  // the newest look is too young: the one before counts
  assert.is(workers.of(0).inside_ns.p50, endOf(200));
  workers.now_ms += 1;
  const slow = endOf(50);
  assert.equal(workers.of(0).inside_ns, { p50: slow, p99: slow, p999: slow });
  assert.equal(workers.of(0).window_ns, NOTHING);
  assert.equal(workers.of(1).inside_ns, NOTHING);
  assert.is(workers.of(1).window_ns.p50, endOf(60));
});

test('nothing is told for a second after the first look, and after a supervisor stood still', () => {
  const workers = new Workers();
  workers.measure(0, 'kick_ns', 90);
  workers.now_ms += 999;
  assert.equal(workers.of(0).kick_ns, NOTHING);
  workers.now_ms += 1;
  assert.is(workers.of(0).kick_ns.p50, endOf(90));
  workers.now_ms += 3_600_000;
  assert.equal(workers.of(0).kick_ns, NOTHING, 'asked before the next look');
  workers.recent.look();
  workers.measure(0, 'kick_ns', 40);
  assert.equal(workers.of(0).kick_ns, NOTHING, 'and after it');
  workers.now_ms += 1000;
  assert.is(workers.of(0).kick_ns.p999, endOf(40));
});

test('a look that comes somewhat early leaves one of sufficient age', () => {
  const workers = new Workers();
  workers.now_ms += 1000;
  workers.recent.look();
  workers.measure(0, 'inside_ns', 50);
  workers.now_ms += 995; // the timer was late before
  workers.recent.look();
  workers.now_ms += 4;
  assert.is(workers.of(0).inside_ns.p50, endOf(50));
});

test('with a look a second they are of the last one to two seconds, whatever was measured when', () => {
  const next = random('recent latencies');
  const workers = new Workers();
  const measured: { at_ms: number; bucket: number }[] = [];
  let looked_ms = workers.now_ms;
  for (let step = 0; step < 3000; step++) {
    workers.now_ms += next.below(100);
    if (workers.now_ms >= looked_ms + 1000) {
      workers.recent.look();
      looked_ms = workers.now_ms;
    }
    if (next.below(3) > 0) {
      const bucket = next.below(limits.HISTOGRAM_BUCKETS - 1);
      workers.measure(0, 'inside_ns', bucket);
      measured.push({ at_ms: workers.now_ms, bucket });
    }
    if (workers.now_ms < 4000) continue;
    const { p99 } = workers.of(0).inside_ns;
    // what it may have been of: looks are at most 1.1 s apart
    const since = (age_ms: number) =>
      measured.filter(({ at_ms }) => at_ms > workers.now_ms - age_ms).map(({ bucket }) => bucket);
    const [least, most] = [since(1000), since(2200)];
    assert.ok(most.map(endOf).includes(p99) || (p99 === 0 && least.length === 0), `${p99}`);
  }
  const counts = workers.empty();
  for (const { bucket } of measured) counts[bucket] = (counts[bucket] ?? 0) + 1;
  assert.equal(workers.histograms(0).inside_ns, counts);
  assert.ok(percentile(counts, 0.5) > 0);
});

test.run();
