/**
 * Goal: the dedupe filter lets the first of each sequence out, for each set of feeds apart, and
 * tells exactly which line brought it and what neither did. Method: the module as it is built, on
 * tables of packets, then on random lines against an oracle that remembers everything.
 * `FANTAIL_SEED=n` repeats a random test.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { limits, offsetOf } from '../../../src/memory/layout.js';
import { type Random, random } from '../../rig/random.js';
import { Bench, bytesOf, JOBS, type Job, jobOf, packetOf, plain } from './jobs.js';

const test = suite('dedupe');

interface Mold {
  readonly line: 'A' | 'B';
  readonly session: string;
  readonly sequence: bigint;
  readonly count: number;
  readonly receiveNs?: bigint;
  readonly feeds?: bigint;
}

let clock = 1_700_000_000_000_000_000n;

/** A packet of that payload on that line, to each of the feed's own address. */
function linePacket(next: Random, line: 'A' | 'B', payload: readonly number[]): number[] {
  const packet = packetOf(next, payload);
  packet.splice(26, 4, 10, 0, 0, line === 'A' ? 1 : 2);
  packet.splice(34, 2, 0x1b, 0x58);
  packet.splice(30, 4, 239, 1, 1, line === 'A' ? 1 : 2);
  packet.splice(36, 2, 0x13, line === 'A' ? 0x88 : 0x89);
  return packet;
}

const tick = (): bigint => {
  clock += 1000n;
  return clock;
};

/** A MoldUDP64 packet for each of `rows` subscribers. */
function moldJobs(next: Random, mold: Mold, place: { frame: number; rows: number }): Job[] {
  const payload = Buffer.alloc(20);
  payload.write(mold.session.padEnd(10), 'latin1');
  payload.writeBigUInt64BE(mold.sequence, 10);
  payload.writeUInt16BE(mold.count, 18);
  const packet = linePacket(next, mold.line, [...payload, ...bytesOf(next, 8)]);
  const { receiveNs = tick(), feeds = 3n } = mold;
  return Array.from({ length: place.rows }, (_, row) =>
    jobOf(next, 0, { packet, frame: place.frame, row, receiveNs, feeds }),
  );
}

/**
 * Packets one after the other, for two subscribers: a letter each, `+` for out and `-` for dropped.
 */
function decisions(bench: Bench, next: Random, molds: readonly Mold[]): string {
  return molds
    .map((mold) => {
      const [first, second] = bench.ask(moldJobs(next, mold, { frame: 0, rows: 2 }));
      assert.is(first === null, second === null, 'both subscribers alike');
      return first === null ? '-' : '+';
    })
    .join('');
}

/** `A5` one message, `B5*3` three, `Ah5` heartbeat, `Ae5` end of session; all of one session. */
function molds(text: string, session = 'S1'): Mold[] {
  return text.split(' ').map((word) => {
    const [, line, kind, sequence, count] = /^([AB])([he]?)(\d+)(?:\*(\d+))?$/.exec(word) ?? [];
    const messages = kind === 'h' ? 0 : kind === 'e' ? 0xffff : Number(count ?? 1);
    return { line: line as 'A' | 'B', session, sequence: BigInt(sequence ?? 0), count: messages };
  });
}

const COUNTERS = [
  'packets',
  'duplicates',
  'gaps',
  'missing',
  'late',
  'given_up',
  'replaced',
  'restarts',
] as const;
const counterOf = (bench: Bench, name: (typeof COUNTERS)[number]) =>
  Number(bench.state.readBigUInt64LE(16 + 8 * COUNTERS.indexOf(name)));

const tables: readonly [name: string, packets: string, decided: string][] = [
  ['both lines whole', 'A1 B1 A2 B2 B3 A3', '+-+-+-'],
  ['one line lags', 'A1 A2 A3 B1 B2 B3', '+++---'],
  ['A loses 2, B brings it late', 'A1 A3 B1 B2 B3 A2', '++-+--'],
  ['both lose 2', 'A1 B1 A3 B3 A4', '+-+-+'],
  ['reordering in one line', 'A1 A3 A2 B3 B1 B2', '+++---'],
  ['before the first that was seen', 'A100 B98 B99 B100 A98 B99', '+++---'],
  ['several messages', 'A1*3 B1*3 B4*2 A4*2 A6*10 B6*10', '+-+-+-'],
  ['packets cut otherwise', 'A1*4 B1*2 B3*4 A5*2 B7*1', '+-+-+'],
  ['a part of a gap', 'A1 A10*5 B3*2 B3*2 B2*4 B6*4 A2*8', '+++-++-'],
  ['over a gap and past the end', 'A1 A4 B2*5 A2 A3 A5 A6 A7', '+++----+'],
  ['heartbeats of one line', 'A1 Ah2 Bh2 Ah2 Bh2 B2 Bh3 Ah3', '++-+-+-+'],
  ['a stale heartbeat', 'A1*9 Bh5 Bh10 Ah10', '+-+-'],
  ['a heartbeat first', 'Ah7 A7 B7 B6', '++-+'],
  ['end of session, many times', 'A1 Ae2 Be2 Ae2 Be2', '++-+-'],
  [
    'a sequence of nonsense',
    'A1 A9223372036854775808 A2 B2 A3 A18446744073709551615*9 A4',
    '+++-+++',
  ],
];

for (const [name, packets, decided] of tables) {
  test(`dedupe: ${name}`, () => {
    assert.is(decisions(new Bench('dedupe'), random(name), molds(packets)), decided);
  });
}

test('dedupe: the other line’s heartbeats go out once the first has been silent for two seconds', () => {
  const bench = new Bench('dedupe');
  const next = random('silence');
  const at = (line: 'A' | 'B', ms: number): Mold => {
    return {
      line,
      session: 'S',
      sequence: 1n,
      count: 0,
      receiveNs: 1_700_000_000_000_000_000n + BigInt(ms) * 1_000_000n,
    };
  };
  const times = [
    at('A', 0),
    at('B', 900),
    at('A', 1000),
    at('B', 2900),
    at('B', 3001),
    at('A', 3500),
    at('B', 4000),
  ];
  assert.is(decisions(bench, next, times), '+-+-+-+');
});

test('dedupe: its counters tell what happened', () => {
  const bench = new Bench('dedupe');
  decisions(bench, random('counters'), molds('A5 B5 A10 B6*2 A20 B3 Bh21 Ah21'));
  const all = Object.fromEntries(COUNTERS.map((name) => [name, counterOf(bench, name)]));
  assert.equal(all, {
    packets: 8,
    duplicates: 2,
    gaps: 2,
    missing: 13,
    late: 3,
    given_up: 0,
    replaced: 0,
    restarts: 0,
  });
});

test('dedupe: of more gaps than it remembers, the oldest are given up', () => {
  const bench = new Bench('dedupe');
  const next = random('many gaps');
  // 20 gaps of one, after that before the first packet; there are 9 places
  const holes = Array.from({ length: 21 }, (_, index) => `A${2 * index + 2}`).join(' ');
  assert.is(decisions(bench, next, molds(holes)), '+'.repeat(21));
  assert.is(counterOf(bench, 'given_up'), 12);
  assert.is(decisions(bench, next, molds('B1 B3 B23 B25 B41 B41')), '---++-');
  // a gap in the middle is split where there is no room for one more
  const full = new Bench('dedupe');
  decisions(full, next, molds('A100 A200 A300 A400 A500 A600 A700 A800 A900'));
  assert.is(counterOf(full, 'given_up'), 0);
  assert.is(decisions(full, next, molds('B650 B50 B650 B649 B651 B550')), '+--+++');
});

test('dedupe: sessions are apart, and the one that was silent for longest makes room', () => {
  const bench = new Bench('dedupe');
  const next = random('sessions');
  const session = (index: number, text: string) =>
    molds(text, `SESSION-${String.fromCharCode(65 + index)}`);
  for (let index = 0; index < 8; index++)
    assert.is(decisions(bench, next, session(index, 'A1 B1 A2')), '+-+');
  for (let index = 0; index < 8; index++)
    assert.is(decisions(bench, next, session(index, 'B2 A3')), '-+');
  assert.is(counterOf(bench, 'replaced'), 0);
  assert.is(decisions(bench, next, session(8, 'A1 B1')), '+-');
  assert.is(counterOf(bench, 'replaced'), 1);
  assert.is(decisions(bench, next, session(1, 'B3')), '-');
  assert.is(decisions(bench, next, session(0, 'B3')), '+', 'forgotten');
});

test('dedupe: what is no MoldUDP64 goes out, each time', () => {
  const bench = new Bench('dedupe');
  const next = random('no MoldUDP64');
  for (const size of [0, 1, 19, 19]) {
    const job = jobOf(next, 0, { packet: packetOf(next, bytesOf(next, size)) });
    assert.equal(bench.ask([job]), [Buffer.from(plain(job))], `${size}`);
  }
});

test('dedupe: a call that begins in the middle of a packet decides as the one before', () => {
  const next = random('parts');
  const bench = new Bench('dedupe');
  const jobs = [...molds('A1 B1 A2'), ...molds('B2 A3')].flatMap((mold, frame) =>
    moldJobs(next, mold, { frame, rows: 4 }),
  );
  for (const parts of [
    [
      [0, 2],
      [2, 18],
    ],
    [
      [0, 6],
      [6, 14],
    ],
    [
      [0, 20],
      [17, 3],
    ],
  ] as [number, number][][]) {
    bench.state.fill(0);
    const out = bench
      .ask(jobs, parts)
      .map((frame) => (frame === null ? '-' : '+'))
      .join('');
    assert.is(out, '++++----++++----++++', JSON.stringify(parts));
  }
});

test('dedupe: a successor goes on with the state', () => {
  const next = random('successor');
  const first = new Bench('dedupe');
  assert.is(decisions(first, next, molds('A1 A2 A5')), '+++');
  const second = new Bench('dedupe');
  second.state.set(first.state);
  assert.is(second.filter.state, first.filter.state);
  assert.is(decisions(second, next, molds('B1 B2 B3 B4 B5 B6')), '--++-+');
});

/** One line of a session: its packets in order, some lost, some twice, some overtaken. */
function lineOf(next: Random, line: 'A' | 'B', session: string, messages: number): Mold[] {
  const found: Mold[] = [];
  for (let sequence = 1; sequence <= messages; ) {
    const count = Math.min(1 + next.below(4), messages - sequence + 1);
    const packet: Mold = { line, session, sequence: BigInt(sequence), count };
    if (next.below(20) !== 0) found.push(packet);
    if (next.below(25) === 0) found.push(packet);
    const [last, before] = [found.at(-1), found.at(-2)];
    if (next.below(15) === 0 && last !== undefined && before !== undefined)
      found.splice(-2, 2, last, before);
    sequence += count;
  }
  return found;
}

test('dedupe: of two random lines of several sessions, a packet goes out if it brings a message that is new', () => {
  const next = random('two lines');
  const bench = new Bench('dedupe');
  const lines = ['X', 'Y', 'Z'].flatMap((session) =>
    (['A', 'B'] as const).map((line) => lineOf(next, line, session, 1500)),
  );
  const seen = new Set<string>();
  // The lines of a session keep within a few packets of each other, as those of an exchange do.
  while (lines.some((line) => line.length > 0)) {
    const index = next.below(lines.length);
    const [mine = [], other = []] = [lines[index], lines[index ^ 1]];
    const packet = mine.length + 4 < other.length ? other.shift() : mine.shift();
    if (packet === undefined) continue;
    const messages = Array.from(
      { length: packet.count },
      (_, at) => `${packet.session}${packet.sequence + BigInt(at)}`,
    );
    const isNew = messages.some((message) => !seen.has(message));
    for (const message of messages) seen.add(message);
    const what = `seed ${next.seed}: ${packet.line} ${packet.session} ${packet.sequence}*${packet.count}`;
    assert.is(decisions(bench, next, [packet]), isNew ? '+' : '-', what);
  }
});

// ---- what it tells of gaps and lines ------------------------------------------------------------

const MS = 1_000_000n;
const START_NS = 1_700_000_000_000_000_000n;

interface Told {
  readonly gaps: { from: bigint; to: bigint; at: bigint; feeds: bigint }[];
  readonly count: number;
  readonly missing: number;
  readonly lines: Record<
    string,
    { won: number; late: number; leads: number; sum: number; max: number }
  >;
}

/** The report, from where the module says that it is. */
function toldBy(bench: Bench): Told {
  const { state, filter } = bench;
  const start = filter.report ?? assert.unreachable('no report') ?? 0;
  const word = (at: number) => state.readBigUInt64LE(start + at);
  const count = Number(word(offsetOf('filter_report', 'gap_count')));
  const gaps = [];
  for (let i = Math.max(0, count - limits.REPORT_GAPS); i < count; i++) {
    const at = offsetOf('filter_report', 'gap') + (i % limits.REPORT_GAPS) * limits.REPORT_GAP_SIZE;
    const field = (name: string) => word(at + offsetOf('report_gap', name));
    gaps.push({
      from: field('from'),
      to: field('to'),
      at: field('receive_ns'),
      feeds: field('feeds'),
    });
  }
  const lines: Told['lines'] = {};
  for (let i = 0; i < limits.REPORT_LINES; i++) {
    const at = offsetOf('filter_report', 'line') + i * limits.REPORT_LINE_SIZE;
    const field = (name: string) => Number(word(at + offsetOf('report_line', name)));
    if (field('used') === 0) continue;
    const port = state.readUInt16BE(start + at + offsetOf('report_line', 'port'));
    lines[`${field('feeds')}:${port === 5000 ? 'A' : 'B'}`] = {
      won: field('won'),
      late: field('late'),
      leads: field('leads'),
      sum: field('lead_sum_ns'),
      max: field('lead_max_ns'),
    };
  }
  return { gaps, count, missing: Number(word(offsetOf('filter_report', 'missing'))), lines };
}

const rangesOf = (bench: Bench) => toldBy(bench).gaps.map(({ from, to }) => `${from}..${to}`);
/** One packet after so many milliseconds since START_NS. */
const at = (ms: number, text: string, more: Partial<Mold> = {}): Mold[] =>
  molds(text).map((mold) => ({
    ...mold,
    receiveNs: START_NS + BigInt(Math.round(ms * 1e6)),
    ...more,
  }));

test('dedupe: a gap is told once it has been open for 100 ms, once, and as of when it opened', () => {
  const bench = new Bench('dedupe');
  const next = random('a gap is told');
  decisions(bench, next, [...at(0, 'A1'), ...at(1, 'A5'), ...at(100, 'A6')]);
  assert.equal(rangesOf(bench), []);
  decisions(bench, next, at(101, 'A7'));
  assert.equal(toldBy(bench).gaps, [{ from: 2n, to: 4n, at: START_NS + MS, feeds: 3n }]);
  decisions(bench, next, [...at(202, 'A8'), ...at(900, 'A9')]);
  assert.is(toldBy(bench).count, 1);
  assert.is(toldBy(bench).missing, 3);
});

test('dedupe: a gap that the other line fills in time is not told, and of one that it fills in part the rest is', () => {
  const bench = new Bench('dedupe');
  const next = random('a gap is filled');
  const filled = [...at(0, 'A1'), ...at(1, 'A5'), ...at(99, 'B2*3'), ...at(300, 'A6')];
  assert.is(decisions(bench, next, filled), '++++');
  assert.equal(rangesOf(bench), []);
  decisions(bench, next, [
    ...at(301, 'A20'),
    ...at(302, 'B10*2'),
    ...at(303, 'B19'),
    ...at(402, 'A21'),
  ]);
  assert.equal(rangesOf(bench), ['7..9', '12..18']);
});

test('dedupe: what was before the first packet is no gap, nor what a session’s heartbeat does not skip', () => {
  const bench = new Bench('dedupe');
  const next = random('no gap');
  decisions(bench, next, [...at(0, 'A1000'), ...at(200, 'Ah1001'), ...at(400, 'A1001')]);
  assert.equal(rangesOf(bench), []);
});

test('dedupe: a heartbeat that is ahead tells what the lines have lost at their end', () => {
  const bench = new Bench('dedupe');
  const next = random('heartbeat ahead');
  const late = [...at(0, 'A1'), ...at(1, 'Ah4'), ...at(2, 'B3'), ...at(3, 'B3'), ...at(120, 'Ah4')];
  assert.is(decisions(bench, next, late), '+++-+');
  assert.equal(rangesOf(bench), ['2..2']);
});

test('dedupe: packets of other sessions let a gap be told, and one that is given up or whose session goes is told at once', () => {
  const next = random('told by others');
  const bench = new Bench('dedupe');
  decisions(bench, next, [...at(0, 'A1'), ...at(1, 'A3')]);
  decisions(bench, next, at(150, 'A1', { session: 'other' }));
  assert.equal(rangesOf(bench), ['2..2']);
  const full = new Bench('dedupe');
  decisions(full, next, Array.from({ length: 11 }, (_, i) => at(i, `A${1 + 2 * i}`)).flat());
  assert.equal(rangesOf(full), ['2..2'], 'the first to go was before all, the next is told');
  const replaced = new Bench('dedupe');
  decisions(replaced, next, [...at(0, 'A1'), ...at(1, 'A3')]);
  for (let i = 0; i < 8; i++) decisions(replaced, next, at(2 + i, 'A1', { session: `s${i}` }));
  assert.equal(rangesOf(replaced), ['2..2']);
});

test('dedupe: a clock that is set back delays no gap for long', () => {
  const bench = new Bench('dedupe');
  const next = random('clock');
  decisions(bench, next, [...at(5000, 'A1'), ...at(5001, 'A3'), ...at(0, 'A4')]);
  assert.equal(rangesOf(bench), ['2..2']);
});

test('dedupe: subscribers of other feeds do not disturb each other, in whatever order they are asked', () => {
  const next = random('sets of feeds');
  const bench = new Bench('dedupe');
  const sets = [1n, 2n, 3n, 2n, 3n, 1n];
  const lines = { A: lineOf(next, 'A', 'S', 800), B: lineOf(next, 'B', 'S', 800) };
  const seen = new Map<bigint, Set<bigint>>([1n, 2n, 3n].map((set) => [set, new Set()]));
  let now = START_NS;
  while (lines.A.length + lines.B.length > 0) {
    const line = lines.B.length > lines.A.length || lines.A.length === 0 ? 'B' : 'A';
    const mold = lines[line].shift() as Mold; // there is one
    now += BigInt(1 + next.below(1000)); // never the same: a packet is told by it
    const rows = sets.flatMap((set, row) => ((set & (line === 'A' ? 1n : 2n)) === 0n ? [] : [row]));
    const [job] = moldJobs(next, { ...mold, receiveNs: now }, { frame: 0, rows: 1 }) as [Job];
    const jobs = rows.map((row) => ({ ...job, row, feeds: sets[row] ?? 0n }));
    const cut = next.below(jobs.length + 1);
    const parts: [number, number][] = [
      [0, cut],
      [cut, jobs.length - cut],
    ];
    const messages = Array.from({ length: mold.count }, (_, i) => mold.sequence + BigInt(i));
    const frames = bench.ask(jobs, parts);
    for (const [i, row] of rows.entries()) {
      const known = seen.get(sets[row] ?? 0n) ?? new Set();
      const isNew = messages.some((message) => !known.has(message));
      assert.is(
        frames[i] !== null,
        isNew,
        `seed ${next.seed}: ${line} ${mold.sequence} row ${row}`,
      );
    }
    for (const row of rows) for (const message of messages) seen.get(sets[row] ?? 0n)?.add(message);
  }
  assert.is(counterOf(bench, 'replaced'), 0);
  assert.equal(Object.keys(toldBy(bench).lines).sort(), ['1:A', '2:B', '3:A', '3:B']);
});

// ---- two lines at a rate, against an oracle that remembers everything ---------------------------

interface Arrival {
  readonly line: 'A' | 'B';
  readonly sequence: number;
  readonly ns: bigint;
}

/** A sequence each 20 µs on both lines, B behind by 0.1 ms or so, each losing one in a hundred. */
function arrivalsOf(next: Random, count: number): Arrival[] {
  const all: Arrival[] = [];
  for (let sequence = 1; sequence <= count; sequence++)
    for (const line of ['A', 'B'] as const) {
      if (next.below(100) === 0) continue;
      const behind = line === 'A' ? 0 : 100_000 + next.below(15_000);
      all.push({ line, sequence, ns: START_NS + BigInt(sequence * 20_000 + behind) });
    }
  return all.sort((a, b) => (a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : 0));
}

/** Remembers when each of the last 64 sequences went out, by which line. */
class Ledger {
  readonly out = new Set<number>();
  readonly lines: Told['lines'] = {};
  private readonly places = new Map<number, Arrival>();

  takes(arrival: Arrival): boolean {
    const { line, sequence, ns } = arrival;
    const mine = this.line(line);
    if (!this.out.has(sequence)) {
      this.out.add(sequence);
      this.places.set(sequence % 64, arrival);
      mine.won++;
      return true;
    }
    mine.late++;
    const first = this.places.get(sequence % 64);
    if (first === undefined || first.sequence !== sequence || first.line === line) return false;
    const other = this.line(first.line);
    const lead = Number(ns - first.ns);
    other.leads++;
    other.sum += lead;
    other.max = Math.max(other.max, lead);
    return false;
  }

  private line(name: 'A' | 'B') {
    const none = { won: 0, late: 0, leads: 0, sum: 0, max: 0 };
    this.lines[`3:${name}`] ??= none;
    return this.lines[`3:${name}`] ?? none;
  }
}

test('dedupe: of two lines of 50k/s that each lose 1 %, all that came on either goes out once, the ledger is exact, and what both lost is told', () => {
  const next = random('two lines at a rate');
  const bench = new Bench('dedupe');
  const count = 25_000;
  const arrivals = arrivalsOf(next, count);
  const ledger = new Ledger();
  const told: string[] = [];
  for (let from = 0; from < arrivals.length; from += JOBS) {
    const burst = arrivals.slice(from, from + JOBS);
    const jobs = burst.flatMap(({ line, sequence, ns }, frame) => {
      const mold = { line, session: 'S', sequence: BigInt(sequence), count: 1, receiveNs: ns };
      return moldJobs(next, mold, { frame, rows: 1 });
    });
    const before = toldBy(bench).count;
    for (const [i, frame] of bench.ask(jobs).entries()) {
      const arrival = burst[i] as Arrival; // as many answers as jobs
      const what = `seed ${next.seed}: ${arrival.line} ${arrival.sequence}`;
      assert.is(frame !== null, ledger.takes(arrival), what);
    }
    const { count: after } = toldBy(bench);
    assert.ok(after - before <= limits.REPORT_GAPS, `seed ${next.seed}: ${after - before} at once`);
    if (after > before) told.push(...rangesOf(bench).slice(before - after));
  }
  const report = toldBy(bench);
  assert.equal(report.lines, ledger.lines, `seed ${next.seed}`);
  const first = arrivals[0]?.sequence ?? 1;
  const last = arrivals.at(-1) as Arrival;
  const lost: number[] = [];
  for (let sequence = first; sequence <= count; sequence++)
    if (!ledger.out.has(sequence)) lost.push(sequence);
  // those that both lost in a row are one gap if A skipped them at once: compare them one by one
  const singles = told.flatMap((range) => {
    const [from = 0, to = 0] = range.split('..').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
  // what was lost less than 100 ms before the end is not told yet: 5000 sequences, and B's delay
  const settled = last.sequence - 5100;
  const untold = lost.filter((each) => each <= settled && !singles.includes(each));
  assert.equal(untold, [], `seed ${next.seed}: not told`);
  assert.equal(
    singles.filter((each) => !lost.includes(each)),
    [],
    `seed ${next.seed}: told, and not lost`,
  );
  assert.is(new Set(singles).size, singles.length, `seed ${next.seed}: told once`);
});

// ---- other numbers than MoldUDP64's -------------------------------------------------------------

interface Form {
  readonly size: 1 | 2 | 4 | 8;
  readonly offset: number;
  readonly le: boolean;
}

/** A packet of one message whose number is there. */
function numberedJob(
  next: Random,
  form: Form,
  given: { line: 'A' | 'B'; number: bigint; ns?: bigint },
): Job {
  const { size, offset, le } = form;
  const payload = Buffer.from(bytesOf(next, offset + size + next.below(20)));
  const word = Buffer.alloc(8);
  if (le) word.writeBigUInt64LE(BigInt.asUintN(8 * size, given.number));
  else word.writeBigUInt64BE(BigInt.asUintN(8 * size, given.number));
  word.subarray(...(le ? [0, size] : [8 - size, 8])).copy(payload, offset);
  return jobOf(next, 0, {
    packet: linePacket(next, given.line, [...payload]),
    param: `seq=${offset},${size}${le ? ',le' : ''}`,
    feeds: 3n,
    receiveNs: given.ns ?? tick(),
  });
}

const asked = (bench: Bench, job: Job) => (bench.ask([job])[0] === null ? '-' : '+');

for (const size of [1, 2, 4, 8] as const)
  for (const le of [false, true])
    test(`dedupe: numbers of ${size} bytes${le ? ', little-endian,' : ''} are arbitrated, over their wrap too`, () => {
      const next = random(`numbers of ${size}${le ? ' le' : ''}`);
      const bench = new Bench('dedupe');
      const form: Form = { size, le, offset: next.below(300) };
      const span = 1n << BigInt(8 * size);
      // 8 bytes do not wrap: nobody has counted to 2^64
      const start = size === 8 ? 1n << 40n : span - 60n;
      const seen = new Set<bigint>();
      const queue = { A: start, B: start };
      for (let packets = 0; packets < 600; packets++) {
        // no further apart than a number of one byte can tell
        const line =
          queue.A > queue.B + 40n || (queue.B < queue.A && next.below(2) === 0) ? 'B' : 'A';
        const number = queue[line]++;
        if (next.below(10) === 0) continue;
        const what = `seed ${next.seed}: ${line} ${number}`;
        const out = asked(bench, numberedJob(next, form, { line, number }));
        assert.is(out, seen.has(number) ? '-' : '+', what);
        seen.add(number);
      }
      assert.is(counterOf(bench, 'restarts'), 0);
    });

test('dedupe: a gap over the wrap is told in the numbers of the packets', () => {
  const bench = new Bench('dedupe');
  const next = random('gap over the wrap');
  const form: Form = { size: 2, offset: 3, le: false };
  const packet = (number: number, ms: number) =>
    asked(
      bench,
      numberedJob(next, form, {
        line: 'A',
        number: BigInt(number),
        ns: START_NS + BigInt(ms) * MS,
      }),
    );
  assert.is([packet(65530, 0), packet(3, 1), packet(4, 200)].join(''), '+++');
  assert.equal(rangesOf(bench), ['65531..2']);
  assert.is(toldBy(bench).missing, 8);
});

test('dedupe: a sequence that starts anew is silent for a second and 16 packets at most, and a last packet that is repeated starts none', () => {
  const next = random('restart');
  for (const size of [2, 4, 8] as const) {
    const bench = new Bench('dedupe');
    const form: Form = { size, offset: 0, le: false };
    let ms = 0;
    const packet = (number: number) => {
      ms += 10;
      return asked(
        bench,
        numberedJob(next, form, {
          line: 'A',
          number: BigInt(number),
          ns: START_NS + BigInt(ms) * MS,
        }),
      );
    };
    for (let number = 1000; number < 5000; number++) assert.is(packet(number), '+');
    for (let i = 0; i < 500; i++) assert.is(packet(4999), '-', 'repeated');
    ms += 2000;
    // those before the first that was seen would go out late
    const again = Array.from({ length: 40 }, (_, i) => packet(1001 + i)).join('');
    assert.is(again, `${'-'.repeat(15)}${'+'.repeat(25)}`, `size ${size}`);
    assert.is(counterOf(bench, 'restarts'), 1);
    assert.equal(rangesOf(bench), []);
  }
});

test('dedupe: a line that lags by less than a second is none that starts anew', () => {
  const next = random('no restart');
  const bench = new Bench('dedupe');
  const form: Form = { size: 4, offset: 0, le: true };
  const packet = (line: 'A' | 'B', number: number, ms: number) =>
    asked(
      bench,
      numberedJob(next, form, { line, number: BigInt(number), ns: START_NS + BigInt(ms) * MS }),
    );
  for (let number = 1; number <= 900; number++) assert.is(packet('A', number, number), '+');
  // A is dead; B brings the same up to 0.9 s later, then goes on
  for (let number = 1; number <= 900; number++) assert.is(packet('B', number, number + 900), '-');
  assert.is(packet('B', 901, 1801), '+');
  assert.is(counterOf(bench, 'restarts'), 0);
});

test('dedupe: subscribers that number otherwise do not disturb each other, and packets too short go out as they are', () => {
  const next = random('forms');
  const bench = new Bench('dedupe');
  const packet = linePacket(next, 'A', [
    ...Buffer.from('\0\0\0\x07'),
    ...Array<number>(16).fill(9),
  ]);
  const params = [
    '',
    'proto=moldudp64',
    'seq=0,4',
    'seq=3,1',
    'seq=0,4,le',
    'seq=19,2',
    ' seq=0,4 ',
  ];
  const ask = () => {
    const receiveNs = tick();
    const jobs = params.map((param, row) =>
      jobOf(next, 0, { packet, param, row, receiveNs, feeds: 1n }),
    );
    return bench
      .ask(jobs)
      .map((frame) => (frame === null ? '-' : '+'))
      .join('');
  };
  assert.is(ask(), '+++++++');
  assert.is(ask(), '-----+-', 'two bytes at 19 are not there');
});

test('dedupe: with a parameter that it cannot read, nothing goes out', () => {
  const next = random('malformed');
  const bench = new Bench('dedupe');
  const bad = [
    ...[
      'proto',
      'proto=',
      'proto=mold',
      'proto=moldudp64 proto=moldudp64',
      'proto=moldudp64 seq=0,4',
    ],
    ...[
      'seq=0,4 proto=moldudp64',
      'seq',
      'seq=',
      'seq=0',
      'seq=0,',
      'seq=,4',
      'seq=0,3',
      'seq=0,16',
    ],
    ...['seq=0,4,', 'seq=0,4,l', 'seq=0,4,be', 'seq=0,4,lex', 'seq=4096,4', 'seq=-1,4', 'seq=x,4'],
    ...[
      'seq=99999999999999999999,4',
      'seq=0,4 seq=0,4',
      'seq=0,0',
      'seq=0,4 x',
      'SEQ=0,4',
      'ttl=8',
    ],
  ];
  for (const param of bad)
    assert.equal(bench.ask([jobOf(next, 0, { param })]), [null], `'${param}'`);
});

test('dedupe: a burst that is undone and done again by a successor decides and tells the same', () => {
  const next = random('undone');
  const bench = new Bench('dedupe');
  const arrivals = arrivalsOf(next, 4000);
  const jobsOf = (burst: readonly Arrival[]) =>
    burst.flatMap(({ line, sequence, ns }, frame) =>
      moldJobs(
        next,
        { line, session: 'S', sequence: BigInt(sequence), count: 1, receiveNs: ns },
        { frame, rows: 1 },
      ),
    );
  const ledger = new Ledger();
  let present = bench;
  for (let from = 0; from < arrivals.length; from += JOBS) {
    const burst = arrivals.slice(from, from + JOBS);
    const jobs = jobsOf(burst);
    const before = Buffer.from(present.state);
    const once = present.ask(jobs);
    const after = Buffer.from(present.state);
    if (next.below(3) === 0) {
      if (next.below(8) === 0) present = new Bench('dedupe');
      present.state.set(before);
      const again = present.ask(jobs);
      assert.equal(again, once, `seed ${next.seed}`);
      assert.ok(present.state.equals(after), `seed ${next.seed}: the state`);
    }
    for (const [i, frame] of once.entries())
      assert.is(frame !== null, ledger.takes(burst[i] as Arrival), `seed ${next.seed}`);
  }
  assert.equal(toldBy(present).lines, ledger.lines, `seed ${next.seed}`);
});

test('dedupe: of more lines than it has places for, those silent for longest are forgotten', () => {
  const next = random('many lines');
  const bench = new Bench('dedupe');
  for (let feeds = 1n; feeds <= 12n; feeds++)
    decisions(bench, next, at(Number(feeds), 'A1', { feeds }));
  const names = Object.keys(toldBy(bench).lines);
  assert.equal(names.sort(), [5, 6, 7, 8, 9, 10, 11, 12].map((feeds) => `${feeds}:A`).sort());
});

test.run();
