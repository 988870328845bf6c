/**
 * The supervisor's view of the arena: where things are (regions from its header, fields from
 * layout.ts), its own words, and reads of everybody's.
 *
 * The supervisor writes `control`, the subscriber tables and the leases, and nothing else.
 */

import { Failure } from '../domain/errors.js';
import type { Latencies, Latency, Transmit } from '../domain/statistics.js';
import { addon } from './addon.js';
import { layoutVersion, limits, membersOf, offsetOf, structOf } from './layout.js';

const HEADER = 'arena_header';
const BULK = membersOf('transmit').indexOf('bulk');

/** Words of a row as the addon's readConsistent copies it: those of an account. */
const ROW_WORDS = structOf('counters').size / 8;

/** A stage is in the middle of a commit, and has been longer than one takes on a core. */
export class InCommit extends Error {
  constructor(
    /** Where its journal is in the arena. */
    readonly journal: number,
  ) {
    super('a stage is in the middle of a commit');
  }
}

/** Those of one worker, as counts by bucket. */
export type Histograms = Readonly<Record<keyof Latencies, readonly number[]>>;

/** What a worker counts of one module. */
export type FilterCounter =
  | 'calls'
  | 'jobs'
  | 'sent'
  | 'dropped'
  | 'bad_answers'
  | 'too_big'
  | 'traps'
  | 'timed_jobs'
  | 'timed_ns';

// More members than 15: one for each region that is read, so that callers name what they read.
export class Arena {
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  /** As it was at first: any process of the data path can write to the shared one. */
  private readonly headerCopy: DataView;
  private readonly words: BigUint64Array;
  private readonly row = new BigUint64Array(ROW_WORDS);
  /** The same memory: numbers are made of halves faster than of BigInts. */
  private readonly halves = new Uint32Array(this.row.buffer);
  private readonly numbers = new Float64Array(ROW_WORDS);
  /** By journal: the commit that a stage was seen to be stuck in. */
  private readonly stopped = new Map<number, bigint>();

  constructor(fd: number) {
    this.buffer = addon.mapArena(fd);
    this.view = new DataView(this.buffer);
    this.headerCopy = new DataView(this.buffer.slice(0, structOf(HEADER).size));
    this.words = new BigUint64Array(this.buffer, 0, Math.floor(this.buffer.byteLength / 8));
    const magic = this.view.getBigUint64(offsetOf(HEADER, 'magic'), true);
    const version = this.header('layout_version');
    if (magic !== limits.MAGIC || version !== layoutVersion())
      throw new Failure(
        `the arena has layout ${version}, this program ${layoutVersion()}: stop all of fantail, run npm run build`,
      );
  }

  /** A u32 of the header. */
  header(field: string): number {
    return this.headerCopy.getUint32(offsetOf(HEADER, field), true);
  }

  /**
   * Offset of a field of the struct at that index of a region; regions bear their structs' names.
   */
  private at(struct: string, index: number, field: string): number {
    const start = Number(this.headerCopy.getBigUint64(offsetOf(HEADER, struct), true));
    return start + index * structOf(struct).size + offsetOf(struct, field);
  }

  get workers(): number {
    return this.header('workers');
  }

  get receivers(): number {
    return this.header('receivers');
  }

  control(field: string): number {
    return this.at('control', 0, field);
  }

  receiver(index: number, field: string): number {
    return this.at('receiver', index, field);
  }

  worker(index: number, field: string): number {
    return this.at('worker', index, field);
  }

  /** In the one of two buffers that a generation of the subscriber table is in. */
  table(generation: bigint, field: string): number {
    return this.at('table', Number(generation & 1n), field);
  }

  /** Of a module, over all workers; a slot that still holds another one counts nothing for it. */
  filterCount({ slot, module }: { slot: number; module: number }, counter: FilterCounter): number {
    let sum = 0;
    for (let worker = 0; worker < this.workers; worker++) {
      const read = (field: string) =>
        this.count(this.at('filter_slot', worker * limits.FILTERS_MAX + slot, field));
      if (read('module') === module) sum += read(counter);
    }
    return sum;
  }

  /** A block of state of that worker. */
  filterState(worker: number, block: number, field: 'block' | 'owner'): number {
    return this.at('filter_state', worker * limits.FILTERS_MAX + block, field);
  }

  counters(row: number, field: string): number {
    return this.at('counters', row, field);
  }

  /** What a receiver counts at the index of a feed. */
  feedCounters(receiver: number, feed: number): number {
    return this.at('feed_counters', receiver * limits.FEEDS_MAX + feed, 'received');
  }

  /** Packets that each receiver has ever handed to each worker, or that those have taken. */
  forwarded(cursor: 'tail' | 'head'): bigint[] {
    const word = (field: string) =>
      Number(this.headerCopy.getBigUint64(offsetOf(HEADER, field), true));
    const [start, size] = [word('forward'), word('forward_size')];
    return Array.from({ length: this.receivers * this.workers }, (_, ring) =>
      this.u64(start + size * ring + offsetOf('ring_header', cursor)),
    );
  }

  lease(row: number): number {
    return this.at('lease', row, 'until');
  }

  /**
   * Packets that a row's subscriber received and that have not ended. Exact for a row that nobody
   * serves any more: `received` stands still then, and what has ended only grows.
   */
  inFlight(row: number): bigint {
    const word = (field: string, i = 0) => this.u64(this.counters(row, field) + 8 * i);
    const drops = membersOf('drop').map((_, i) => word('drop', i));
    return drops.reduce((left, count) => left - count, word('received') - word('sent'));
  }

  u32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  u64(offset: number): bigint {
    return Atomics.load(this.words, offset / 8);
  }

  /** A u64 as a number: exact to 2^53, 285 years at a million a second; past it a RangeError. */
  count(offset: number): number {
    return exact(this.u64(offset));
  }

  /** Stores after everything before it: what it publishes is whole when it is seen. */
  publish(offset: number, value: bigint): void {
    Atomics.store(this.words, offset / 8, value);
  }

  /** Tells every process of the data path to end. */
  halt(): void {
    this.setState('halt');
  }

  setState(state: 'run' | 'halt'): void {
    this.publish(this.control('state'), BigInt(membersOf('run_state').indexOf(state)));
  }

  /** How a worker sends. */
  path(worker: number): Transmit {
    return this.u32(this.worker(worker, 'path')) === BULK ? 'bulk' : 'ring';
  }

  /** How it is to, if it has both ways. */
  wantedPath(worker: number): Transmit {
    return (this.u64(this.control('bulk_wanted')) >> BigInt(worker)) & 1n ? 'bulk' : 'ring';
  }

  wantPath(worker: number, path: Transmit): void {
    const [word, bit] = [this.control('bulk_wanted'), 1n << BigInt(worker)];
    const others = this.u64(word) & ~bit;
    this.publish(word, path === 'bulk' ? others | bit : others);
  }

  /**
   * The fence: from that moment of CLOCK_MONOTONIC on (ns, as process.hrtime.bigint() tells it) no
   * worker serves anybody, whether a supervisor still runs or not. null: there is none. It stands
   * for the next supervisor, too.
   */
  serveUntil(moment: bigint | null): void {
    this.publish(this.control('serve_until_ns'), moment ?? 0n);
  }

  servesUntil(): bigint | null {
    const moment = this.u64(this.control('serve_until_ns'));
    return moment === 0n ? null : moment;
  }

  /** That worker has found the fence passed; it says so a turn later, asleep within a second. */
  isFenced(worker: number): boolean {
    return this.u32(this.worker(worker, 'fenced')) !== 0;
  }

  beat(): void {
    this.publish(this.control('heartbeat_ns'), process.hrtime.bigint());
  }

  /**
   * A row of counters of a receiver or worker, none of its commits in between, as numbers (see
   * count). The copy is overwritten by the next call. Throws InCommit, within a millisecond, if the
   * stage does not come out of its commit; ask again once it has had time to get its core back.
   */
  consistent(journal: number, source: number): Float64Array {
    if (!addon.readConsistent(this.buffer, journal, source, this.row)) {
      if (this.stopped.get(journal) !== this.u64(journal)) throw new InCommit(journal);
      for (let i = 0; i < ROW_WORDS; i++) this.row[i] = this.u64(source + 8 * i);
    }
    for (let i = 0; i < ROW_WORDS; i++) {
      this.numbers[i] = exact((this.halves[2 * i + 1] ?? 0) * 2 ** 32 + (this.halves[2 * i] ?? 0));
    }
    return this.numbers;
  }

  /**
   * A stage that has been in the middle of a commit for long is stopped, or dead and not replaced
   * yet: its words are read as they are, until it goes on.
   */
  takeForStopped(journal: number): void {
    this.stopped.set(journal, this.u64(journal));
  }

  /** A latency histogram of a worker as counts by bucket. */
  histogram(worker: number, field: keyof Latencies): number[] {
    const start = this.worker(worker, field);
    return Array.from({ length: limits.HISTOGRAM_BUCKETS }, (_, i) => this.count(start + 8 * i));
  }

  histograms(worker: number): Histograms {
    const of = (field: keyof Latencies) => this.histogram(worker, field);
    return { inside_ns: of('inside_ns'), kick_ns: of('kick_ns'), window_ns: of('window_ns') };
  }
}

function exact(value: number | bigint): number {
  if (value > Number.MAX_SAFE_INTEGER) throw new RangeError(`a counter is past 2^53: ${value}`);
  return Number(value);
}

/** The lowest value of a bucket of native/shm/histogram.hpp: 8 buckets to an octave. */
export function bucketStart(bucket: number): number {
  if (bucket < 8) return bucket;
  const octave = Math.floor(bucket / 8) - 1;
  return (8 + (bucket % 8)) * 2 ** octave;
}

/**
 * The value that this share of all counts does not exceed (the end of its bucket); 0 for an empty
 * histogram.
 */
export function percentile(counts: readonly number[], share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return 0;
  let seen = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) {
    seen += counts[bucket] ?? 0;
    if (seen >= total * share) return bucketStart(bucket + 1) - 1;
  }
  return bucketStart(counts.length);
}

function latencyOf(counts: readonly number[]): Latency {
  return {
    p50: percentile(counts, 0.5),
    p99: percentile(counts, 0.99),
    p999: percentile(counts, 0.999),
  };
}

export function latenciesOf({ inside_ns, kick_ns, window_ns }: Histograms): Latencies {
  return {
    inside_ns: latencyOf(inside_ns),
    kick_ns: latencyOf(kick_ns),
    window_ns: latencyOf(window_ns),
  };
}
