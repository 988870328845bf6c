/**
 * Goal: the dedupe filter lets the first of each sequence out, for each set of subscribers apart,
 * and tells exactly which line brought it and what neither did. Method: the module as it is built,
 * on tables of packets, then on random lines against an oracle that remembers everything.
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
  readonly set?: bigint;
}

const MS = 1_000_000n;
const START_NS = 1_700_000_000_000_000_000n;

let clock = START_NS;

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
  const { receiveNs = tick(), set = 3n } = mold;
  return Array.from({ length: place.rows }, (_, row) =>
    jobOf(next, 0, { packet, frame: place.frame, row, receiveNs, set }),
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

const COUNTERS = ['duplicates', 'late', 'given_up', 'replaced', 'restarts'] as const;
const counterOf = (bench: Bench, name: (typeof COUNTERS)[number]) =>
  Number(bench.state.readBigUInt64LE(8 * COUNTERS.indexOf(name)));

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
  assert.equal(all, { duplicates: 2, late: 3, given_up: 0, replaced: 0, restarts: 0 });
  const { packets, too_short, no_room } = toldBy(bench);
  assert.equal({ packets, too_short, no_room }, { packets: 8, too_short: 0, no_room: 0 });
});

test('dedupe: of more gaps than it remembers, those of which most has come since are given up', () => {
  const bench = new Bench('dedupe');
  const next = random('many gaps');
  const { REPORT_OPEN: places } = limits;
  // gaps of one, after that before the first packet
  const holes = Array.from({ length: places + 12 }, (_, index) => `A${2 * index + 2}`).join(' ');
  assert.is(decisions(bench, next, molds(holes)), '+'.repeat(places + 12));
  assert.is(counterOf(bench, 'given_up'), 12);
  const newest = 2 * (places + 11) + 1;
  const asked = `B1 B3 B23 B25 B${newest} B${newest}`;
  assert.is(decisions(bench, next, molds(asked)), '---++-');
  // a gap in the middle is split where there is no room for one more
  const full = new Bench('dedupe');
  const hundreds = Array.from({ length: places }, (_, index) => `A${100 * (index + 1)}`).join(' ');
  decisions(full, next, molds(hundreds));
  assert.is(counterOf(full, 'given_up'), 0);
  assert.is(decisions(full, next, molds('B650 B50 B650 B649 B651 B550')), '+--+++');
});

const session = (index: number, text: string, ms: number) =>
  at(ms, text, { session: `SESSION-${String.fromCharCode(65 + index)}` });

test('dedupe: sessions are apart; of more than there is room for the ninth goes out undecided, until one has been silent for two seconds', () => {
  const bench = new Bench('dedupe');
  const next = random('sessions');
  for (let index = 0; index < 8; index++)
    assert.is(decisions(bench, next, session(index, 'A1 B1 A2', index)), '+-+');
  for (let index = 0; index < 8; index++)
    assert.is(decisions(bench, next, session(index, 'B2 A3', 10 + index)), '-+');
  assert.is(decisions(bench, next, session(8, 'A1 B1', 1000)), '++', 'no room');
  assert.is(toldBy(bench).no_room, 2);
  for (let index = 1; index < 8; index++)
    assert.is(decisions(bench, next, session(index, 'B3', 1990)), '-');
  assert.is(decisions(bench, next, session(8, 'A2 B2', 2020)), '+-', 'the first was silent');
  assert.is(counterOf(bench, 'replaced'), 1);
  assert.is(decisions(bench, next, session(1, 'A4 B3', 2030)), '+-', 'nothing is forgotten of it');
  assert.is(decisions(bench, next, session(0, 'B3', 4000)), '+', 'it begins anew');
});

test('dedupe: of more sets than there is room for the ninth gets all of both lines, until one has been silent for two seconds', () => {
  const bench = new Bench('dedupe');
  const next = random('sets');
  for (let set = 1n; set <= 8n; set++)
    assert.is(decisions(bench, next, at(Number(set), 'A1 B1', { set })), '+-');
  assert.is(decisions(bench, next, at(10, 'A1 B1', { set: 9n })), '++');
  for (let set = 2n; set <= 8n; set++)
    assert.is(decisions(bench, next, at(1000, 'A2 B2', { set })), '+-');
  assert.is(decisions(bench, next, at(2100, 'A2 B2', { set: 9n })), '+-');
  assert.is(decisions(bench, next, at(2200, 'B2 A3', { set: 2n })), '-+', 'not disturbed');
  assert.equal(
    Object.keys(toldBy(bench).lines).filter((name) => name.startsWith('9')),
    ['9:A', '9:B'],
  );
});

test('dedupe: a set with another number inherits nothing, whatever its subscribers', () => {
  const bench = new Bench('dedupe');
  const next = random('another set');
  assert.is(decisions(bench, next, at(0, 'A1000 B1000 A1002', { set: 7n })), '+-+');
  assert.is(decisions(bench, next, at(10, 'A1 B1 A2', { set: 8n })), '+-+');
  assert.is(decisions(bench, next, at(11, 'B1001', { set: 7n })), '+');
});

test('dedupe: a MoldUDP64 sender that starts anew with the session that it had is silent for 16 packets, unless it is alive elsewhere', () => {
  const next = random('the same session');
  const again = (ms: number) => at(ms, Array.from({ length: 20 }, (_, i) => `A${1 + i}`).join(' '));
  const dead = new Bench('dedupe');
  decisions(dead, next, [...at(0, 'A1'), ...at(1, 'A2*5000')]);
  assert.is(decisions(dead, next, again(3000)), `${'-'.repeat(15)}${'+'.repeat(5)}`);
  assert.is(counterOf(dead, 'restarts'), 1);
  // the packets of the past are a replay if heartbeats tell where the sender is
  const alive = new Bench('dedupe');
  decisions(alive, next, [...at(0, 'A1'), ...at(1, 'A2*5000'), ...at(2500, 'Bh5002')]);
  assert.is(decisions(alive, next, again(3000)), '-'.repeat(20));
  assert.is(counterOf(alive, 'restarts'), 0);
});

test('dedupe: what is no MoldUDP64 goes out, each time', () => {
  const bench = new Bench('dedupe');
  const next = random('no MoldUDP64');
  for (const size of [0, 1, 19, 19]) {
    const job = jobOf(next, 0, { packet: packetOf(next, bytesOf(next, size)) });
    assert.equal(bench.ask([job]), [Buffer.from(plain(job))], `${size}`);
  }
  assert.is(toldBy(bench).too_short, 4);
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

interface Told {
  readonly gaps: { from: bigint; to: bigint; at: bigint; set: bigint }[];
  readonly open: string[];
  readonly count: number;
  readonly missing: number;
  readonly packets: number;
  readonly too_short: number;
  readonly no_room: number;
  readonly lines: Record<
    string,
    { won: number; late: number; leads: number; sum: number; max: number }
  >;
}

const { REPORT_GAPS, REPORT_GAP_SIZE, REPORT_OPEN, REPORT_OPEN_SIZE } = limits;

/** The report, from where the module says that it is. */
function toldBy(bench: Bench): Told {
  const { state, filter } = bench;
  const start = filter.report ?? assert.unreachable('no report') ?? 0;
  const word = (at: number) => state.readBigUInt64LE(start + at);
  const count = (name: string) => Number(word(offsetOf('filter_report', name)));
  const gap_count = count('gap_count');
  const gaps = [];
  for (let i = Math.max(0, gap_count - REPORT_GAPS); i < gap_count; i++) {
    const at = offsetOf('filter_report', 'gap') + (i % REPORT_GAPS) * REPORT_GAP_SIZE;
    const field = (name: string) => word(at + offsetOf('report_gap', name));
    const [from, to, set] = [field('from'), field('to'), field('set')];
    gaps.push({ from, to, at: field('receive_ns'), set });
  }
  const open = [];
  for (let i = 0; i < REPORT_OPEN; i++) {
    const at = offsetOf('filter_report', 'open') + i * REPORT_OPEN_SIZE;
    const field = (name: string) => word(at + offsetOf('report_open', name));
    if (field('receive_ns') !== 0n) open.push(`${field('from')}..${field('end') - 1n}`);
  }
  const lines: Told['lines'] = {};
  for (let i = 0; i < limits.REPORT_LINES; i++) {
    const at = offsetOf('filter_report', 'line') + i * limits.REPORT_LINE_SIZE;
    const field = (name: string) => Number(word(at + offsetOf('report_line', name)));
    if (field('used') === 0) continue;
    const port = state.readUInt16BE(start + at + offsetOf('report_line', 'port'));
    const index = state.readUInt16LE(start + at + offsetOf('report_line', 'set'));
    const set = word(offsetOf('filter_report', 'set') + index * limits.REPORT_SET_SIZE);
    lines[`${set}:${port === 5000 ? 'A' : 'B'}`] = {
      won: field('won'),
      late: field('late'),
      leads: field('leads'),
      sum: field('lead_sum_ns'),
      max: field('lead_max_ns'),
    };
  }
  const [packets, too_short, no_room] = [count('packets'), count('too_short'), count('no_room')];
  return {
    gaps,
    open,
    count: gap_count,
    missing: count('missing'),
    packets,
    too_short,
    no_room,
    lines,
  };
}

const rangesOf = (bench: Bench) => toldBy(bench).gaps.map(({ from, to }) => `${from}..${to}`);
/** Packets after so many milliseconds since START_NS, a nanosecond apart. */
const at = (ms: number, text: string, more: Partial<Mold> = {}): Mold[] =>
  molds(text).map((mold, index) => ({
    ...mold,
    receiveNs: START_NS + BigInt(Math.round(ms * 1e6) + index),
    ...more,
  }));

test('dedupe: a gap is told once it has been open for 100 ms, once, and as of when it opened', () => {
  const bench = new Bench('dedupe');
  const next = random('a gap is told');
  decisions(bench, next, [...at(0, 'A1'), ...at(1, 'A5'), ...at(100, 'A6')]);
  assert.equal(rangesOf(bench), []);
  decisions(bench, next, at(101, 'A7'));
  assert.equal(toldBy(bench).gaps, [{ from: 2n, to: 4n, at: START_NS + MS, set: 3n }]);
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
  const odd = Array.from({ length: limits.REPORT_OPEN + 2 }, (_, i) => at(i, `A${1 + 2 * i}`));
  decisions(full, next, odd.flat());
  assert.equal(rangesOf(full), ['2..2'], 'the first to go was before all, the next is told');
  const ended = new Bench('dedupe');
  decisions(ended, next, [...at(0, 'A1'), ...at(1, 'A3')]);
  assert.equal(toldBy(ended).open, ['2..2']);
  for (let set = 4n; set < 12n; set++) decisions(ended, next, at(50, 'A1', { set }));
  for (let set = 4n; set < 12n; set++) decisions(ended, next, at(2100, 'A2', { set }));
  assert.equal(rangesOf(ended), ['2..2'], 'its set has gone');
});

test('dedupe: a clock that is set back delays no gap for long', () => {
  const bench = new Bench('dedupe');
  const next = random('clock');
  decisions(bench, next, [...at(5000, 'A1'), ...at(5001, 'A3'), ...at(0, 'A4')]);
  assert.equal(rangesOf(bench), ['2..2']);
});

test('dedupe: what is open is there to be read, as long as it has not come and is not told', () => {
  const bench = new Bench('dedupe');
  const next = random('open');
  decisions(bench, next, [...at(0, 'A1'), ...at(1, 'A5'), ...at(2, 'A9')]);
  assert.equal(toldBy(bench).open, ['2..4', '6..8']);
  decisions(bench, next, [...at(3, 'B3'), ...at(4, 'B6*3')]);
  assert.equal(toldBy(bench).open.sort(), ['2..2', '4..4']);
  decisions(bench, next, at(110, 'A10'));
  assert.equal(toldBy(bench).open, []);
  assert.equal(rangesOf(bench).sort(), ['2..2', '4..4']);
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
    const jobs = rows.map((row) => ({ ...job, row, set: sets[row] ?? 0n }));
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
    set: 3n,
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
      jobOf(next, 0, { packet, param, row, receiveNs, set: BigInt(row + 1) }),
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
  for (const [index, param] of bad.entries()) {
    const job = jobOf(next, 0, { param, set: BigInt(index + 1) });
    assert.equal(bench.ask([job]), [null], `'${param}'`);
  }
  const job = jobOf(next, 0, { packet: packetOf(next, bytesOf(next, 4)), param: 'seq=0,4' });
  assert.equal(bench.ask([{ ...job, set: 99n }]), [Buffer.from(plain(job))], 'they took no place');
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

test('dedupe: lines that it has no place for are decided and not measured, until one has been silent for two seconds', () => {
  const next = random('many lines');
  const bench = new Bench('dedupe');
  const lines = (ms: number, text: string) =>
    [1n, 2n, 3n, 4n, 5n].map((set) => decisions(bench, next, at(ms, text, { set }))).join(' ');
  assert.is(lines(0, 'A1 B1'), '+- +- +- +- +-');
  const four = ['1:A', '1:B', '2:A', '2:B', '3:A', '3:B', '4:A', '4:B'];
  assert.equal(Object.keys(toldBy(bench).lines), four);
  assert.is(lines(2500, 'A2'), '+ + + + +');
  const { lines: now } = toldBy(bench);
  assert.equal(now['5:A'], { won: 1, late: 0, leads: 0, sum: 0, max: 0 });
  assert.equal(now['4:A']?.won, 2);
});

test.run();
