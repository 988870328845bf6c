/**
 * Goal: every stock filter does what its header comment says. Method: each module as it is built,
 * on random packets, subscribers and parameters, against an oracle that says the whole frame byte
 * by byte; then the cases that chance would not find. `FANTAIL_SEED=n` repeats a random test.
 *
 * needs: a core
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFilter } from '../../src/filters/check/process.js';
import { type Filter, instantiate } from '../../src/filters/module.js';
import { limits, membersOf, offsetOf } from '../../src/memory/layout.js';
import { ROOT } from '../rig/program.js';
import { type Random, random } from '../rig/random.js';
import { foldedSum, internetChecksum, type Subscriber } from './rewrite-oracle.js';

const test = suite('stock filters');
const FOLDER = join(ROOT, 'build', 'filters');
const NAMES = [
  'dedupe',
  'dscp-ttl',
  'gre',
  'keep-source',
  'match',
  'rewrite',
  'sample',
  'stamp',
  'vlan',
];
/** Jobs of a call. */
const JOBS = 64;
const BURSTS = 150;
const { WINDOW_FRAMES, WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS } = limits;

const moduleOf = (name: string) => readFileSync(join(FOLDER, `${name}.wasm`));

// ---- one packet for one subscriber, and the window that it is asked in --------------------------

interface Job extends Subscriber {
  /** From Ethernet on. */
  readonly packet: readonly number[];
  /** Where it lies; jobs of one packet share it. */
  readonly frame: number;
  readonly receiveNs: bigint;
  readonly row: number;
  readonly epoch: bigint;
  readonly param: string;
  readonly checksum: 'zero' | 'full';
}

/** A loaded filter and its window. */
class Bench {
  readonly memory: WebAssembly.Memory;
  readonly filter: Filter;
  readonly #bytes: Buffer;

  constructor(name: string) {
    const pages = (WINDOW_FRAMES + JOBS * limits.FRAME_SIZE) / 0x10000;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#bytes = Buffer.from(this.memory.buffer);
    this.filter = instantiate(new WebAssembly.Module(moduleOf(name)), this.memory);
  }

  get state(): Buffer {
    return this.#bytes.subarray(WINDOW_STATE, WINDOW_STATE + limits.STATE_SIZE);
  }

  /**
   * Frames as they would be sent, null where the filter drops. The burst is asked in the given
   * parts.
   */
  ask(
    jobs: readonly Job[],
    parts: readonly [first: number, count: number][] = [[0, jobs.length]],
  ): (Buffer | null)[] {
    for (const [index, job] of jobs.entries()) this.#put(index, job);
    for (const [first, count] of parts) this.filter.burst(WINDOW_JOBS, first, count);
    return jobs.map((job, index) => this.#frame(index, job));
  }

  #put(index: number, job: Job): void {
    const packet = WINDOW_FRAMES + job.frame * limits.FRAME_SIZE + 256;
    this.#bytes.set(job.packet, packet);
    const record = WINDOW_SUBSCRIBERS + job.row * limits.SUBSCRIBER_SIZE;
    const field = (name: string) => record + offsetOf('subscriber', name);
    this.#bytes.set(job.targetIp, field('ip'));
    this.#bytes.writeUInt16BE(job.targetPort, field('port'));
    this.#bytes.set(job.targetMac, field('target_mac'));
    this.#bytes.set(job.sourceMac, field('source_mac'));
    this.#bytes.set(job.sourceIp, field('source_ip'));
    this.#bytes.writeUInt16BE(job.sourcePort, field('source_port'));
    this.#bytes[field('ttl')] = job.ttl;
    this.#bytes.writeBigUInt64LE(job.epoch, field('epoch'));
    this.#bytes.writeUInt16LE(job.param.length, field('param_length'));
    this.#bytes.fill(0, field('param'), field('param') + limits.PARAM_SIZE);
    this.#bytes.write(job.param, field('param'), 'latin1');
    const put = (name: string, value: number) =>
      this.#bytes.writeUInt32LE(
        value,
        WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', name),
      );
    put('packet', packet);
    put('length', job.packet.length);
    put('slot', WINDOW_SLOTS + index * limits.SLOT_SIZE);
    put('subscriber', record);
    put('verdict', limits.VERDICT_UNSET);
    put(
      'payload_sum',
      job.checksum === 'zero' ? limits.VERDICT_UNSET : foldedSum(job.packet.slice(42)),
    );
    this.#bytes.writeBigUInt64LE(
      job.receiveNs,
      WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', 'receive_ns'),
    );
  }

  #frame(index: number, { packet }: Job): Buffer | null {
    const at = (name: string) => WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', name);
    const verdict = membersOf('filter_verdict')[this.#bytes.readUInt32LE(at('verdict'))];
    assert.ok(verdict === 'send' || verdict === 'drop_copy', `job ${index}: ${verdict}`);
    if (verdict === 'drop_copy') return null;
    const start = this.#bytes.readUInt16LE(at('header_start'));
    const end = start + this.#bytes.readUInt16LE(at('header_length'));
    const replaced = this.#bytes.readUInt32LE(at('replaced'));
    assert.ok(end <= limits.SLOT_SIZE && replaced <= packet.length, `job ${index}: out of bounds`);
    const slot = WINDOW_SLOTS + index * limits.SLOT_SIZE;
    return Buffer.concat([
      this.#bytes.subarray(slot + start, slot + end),
      Buffer.from(packet.slice(replaced)),
    ]);
  }
}

// ---- the oracle's pieces ------------------------------------------------------------------------

const u16 = (value: number) => [Math.floor(value / 256), value % 256];

interface Datagram {
  readonly sourceIp: readonly number[];
  readonly targetIp: readonly number[];
  readonly tos: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly content: readonly number[];
}

function ipv4({ sourceIp, targetIp, tos, ttl, protocol, content }: Datagram): number[] {
  const before = [0x45, tos, ...u16(20 + content.length), 0, 0, 0x40, 0, ttl, protocol];
  const addresses = [...sourceIp, ...targetIp];
  return [
    ...before,
    ...u16(internetChecksum([...before, 0, 0, ...addresses])),
    ...addresses,
    ...content,
  ];
}

interface Ends {
  readonly sourceIp: readonly number[];
  readonly targetIp: readonly number[];
  readonly ports: readonly number[];
  readonly checksum: 'zero' | 'full';
}

function udp({ sourceIp, targetIp, ports, checksum }: Ends, payload: readonly number[]): number[] {
  const length = u16(8 + payload.length);
  if (checksum === 'zero') return [...ports, ...length, 0, 0, ...payload];
  const sum = internetChecksum([
    ...sourceIp,
    ...targetIp,
    0,
    17,
    ...length,
    ...ports,
    ...length,
    0,
    0,
    ...payload,
  ]);
  return [...ports, ...length, ...u16(sum === 0 ? 0xffff : sum), ...payload];
}

interface Changes {
  readonly sourceIp?: readonly number[];
  readonly sourcePort?: readonly number[];
  readonly tos?: number;
  readonly ttl?: number;
  readonly payload?: readonly number[];
}

/** The IPv4 datagram of the plain rewrite, from the packet's own port, but for the changes. */
function datagram(job: Job, changes: Changes = {}): number[] {
  const { targetIp, checksum } = job;
  const {
    sourceIp = job.sourceIp,
    tos = 0,
    ttl = job.ttl,
    payload = job.packet.slice(42),
  } = changes;
  const ports = [...(changes.sourcePort ?? job.packet.slice(36, 38)), ...u16(job.targetPort)];
  const content = udp({ sourceIp, targetIp, ports, checksum }, payload);
  return ipv4({ sourceIp, targetIp, tos, ttl, protocol: 17, content });
}

const ethernet = (job: Job, ...rest: number[]) => [...job.targetMac, ...job.sourceMac, ...rest];
const plain = (job: Job, changes: Changes = {}) =>
  ethernet(job, 0x08, 0x00, ...datagram(job, changes));

/** The parameter's words by key; null if one is no key=value of those keys, or comes twice. */
function wordsOf(param: string, keys: readonly string[]): Map<string, string> | null {
  const found = new Map<string, string>();
  for (const word of param.split(/[\0-\x20]+/).filter((each) => each !== '')) {
    const key = word.slice(0, word.indexOf('='));
    if (!word.includes('=') || !keys.includes(key) || found.has(key)) return null;
    found.set(key, word.slice(key.length + 1));
  }
  return found;
}

/** Its number; `otherwise` without one; NaN if it is none of that range. */
function numberIn(
  text: string | undefined,
  [least, most]: [number, number],
  otherwise: number,
): number {
  if (text === undefined) return otherwise;
  if (!/^[0-9]+$/.test(text)) return Number.NaN;
  return Number(text) >= least && Number(text) <= most ? Number(text) : Number.NaN;
}

type Oracle = (job: Job) => number[] | null;

const oracles: Readonly<Record<string, Oracle>> = {
  rewrite: (job) => plain(job),

  'keep-source': (job) =>
    plain(job, { sourceIp: job.packet.slice(26, 30), sourcePort: job.packet.slice(34, 36) }),

  'dscp-ttl': (job) => {
    const words = wordsOf(job.param, ['dscp', 'ttl']);
    const dscp = numberIn(words?.get('dscp'), [0, 63], 0);
    const ttl = numberIn(words?.get('ttl'), [1, 255], job.ttl);
    return words === null || Number.isNaN(dscp + ttl) ? null : plain(job, { tos: dscp * 4, ttl });
  },

  vlan: (job) => {
    const words = wordsOf(job.param, ['vid', 'pcp']);
    const vid = numberIn(words?.get('vid'), [1, 4094], Number.NaN);
    const pcp = numberIn(words?.get('pcp'), [0, 7], 0);
    if (words === null || Number.isNaN(vid + pcp)) return null;
    return ethernet(job, 0x81, 0x00, ...u16(pcp * 8192 + vid), 0x08, 0x00, ...datagram(job));
  },

  gre: (job) => {
    const words = wordsOf(job.param, ['inner']);
    const inner = words?.get('inner') ?? 'subscriber';
    if (words === null || (inner !== 'subscriber' && inner !== 'feed')) return null;
    const content = [0, 0, 0x08, 0x00, ...(inner === 'feed' ? feedDatagram(job) : datagram(job))];
    const { sourceIp, targetIp } = job;
    return ethernet(
      job,
      0x08,
      0x00,
      ...ipv4({ sourceIp, targetIp, tos: 0, ttl: job.ttl, protocol: 47, content }),
    );
  },

  match: (job) => {
    const words = wordsOf(job.param, ['offset', 'text', 'hex']);
    const offset = numberIn(words?.get('offset'), [0, 65535], 0);
    const texts = words?.get('text')?.split(',') ?? [];
    const hexes = words?.get('hex')?.split(',') ?? [];
    const isMeant =
      texts.every((each) => each !== '') && hexes.every((each) => /^([0-9a-f]{2})+$/i.test(each));
    if (words === null || Number.isNaN(offset) || !isMeant) return null;
    const wanted = [
      ...texts.map((each) => Buffer.from(each, 'latin1')),
      ...hexes.map((each) => Buffer.from(each, 'hex')),
    ];
    const rest = Buffer.from(job.packet.slice(42 + offset));
    return wanted.some((bytes) => rest.subarray(0, bytes.length).equals(bytes)) ? plain(job) : null;
  },

  stamp: (job) => {
    const words = wordsOf(job.param, ['offset']);
    const offset = numberIn(words?.get('offset'), [0, 206], Number.NaN);
    if (words === null || Number.isNaN(offset)) return null;
    const payload = job.packet.slice(42);
    if (payload.length < offset + 8) return plain(job);
    const stamp = Buffer.alloc(8);
    stamp.writeBigUInt64BE(job.receiveNs);
    payload.splice(offset, 8, ...stamp);
    return plain(job, { payload });
  },
};

/** As it came, but for the UDP checksum. */
function feedDatagram(job: Job): number[] {
  const [sourceIp, targetIp] = [job.packet.slice(26, 30), job.packet.slice(30, 34)];
  const ends = { sourceIp, targetIp, ports: job.packet.slice(34, 38), checksum: job.checksum };
  return [...job.packet.slice(14, 34), ...udp(ends, job.packet.slice(42))];
}

// ---- random jobs --------------------------------------------------------------------------------

const bytesOf = (next: Random, count: number) =>
  Array.from({ length: count }, () => next.below(256));

/** Sums turn over at all zeros and all ones. */
function extremeBytes(next: Random, count: number): number[] {
  const kind = next.below(8);
  return kind < 2 ? Array<number>(count).fill(kind * 255) : bytesOf(next, count);
}

/** Mostly small, some up to the largest MTU, some empty. */
function payloadSizeOf(next: Random): number {
  const kind = next.below(12);
  return kind === 0 ? next.below(3471) : kind === 1 ? 0 : next.below(260);
}

function packetOf(next: Random, payload: readonly number[]): number[] {
  const [sourceIp, targetIp] = [bytesOf(next, 4), bytesOf(next, 4)];
  const ends = { sourceIp, targetIp, ports: bytesOf(next, 4), checksum: 'zero' as const };
  const parts = { sourceIp, targetIp, tos: next.below(256), ttl: next.below(256), protocol: 17 };
  return [...bytesOf(next, 12), 0x08, 0x00, ...ipv4({ ...parts, content: udp(ends, payload) })];
}

function jobOf(next: Random, index: number, given: Partial<Job> = {}): Job {
  const size = payloadSizeOf(next);
  return {
    packet: packetOf(
      next,
      next.below(6) === 0 ? Array<number>(size).fill(0x41) : bytesOf(next, size),
    ),
    frame: index,
    receiveNs: 1_700_000_000_000_000_000n + BigInt(next.below(0xffffffff)) * 977n,
    row: index,
    targetMac: bytesOf(next, 6),
    sourceMac: bytesOf(next, 6),
    sourceIp: extremeBytes(next, 4),
    sourcePort: next.below(65536),
    targetIp: extremeBytes(next, 4),
    targetPort: next.below(65536),
    ttl: 1 + next.below(255),
    epoch: BigInt(next.below(1000)),
    param: '',
    checksum: next.below(2) === 0 ? 'zero' : 'full',
    ...given,
  };
}

// never empty
const pick = <T>(next: Random, from: readonly T[]): T => from[next.below(from.length)] as T;

const params: Readonly<Record<string, readonly string[]>> = {
  rewrite: ['', 'whatever'],
  'keep-source': ['', 'ttl=3'],
  'dscp-ttl': [
    '',
    'dscp=46',
    'ttl=8',
    'dscp=46 ttl=8',
    ' ttl=255   dscp=0 ',
    'dscp=63\tttl=1',
    'ttl=0064',
  ],
  vlan: ['vid=100', 'vid=1 pcp=7', 'pcp=3 vid=4094', 'vid=0002'],
  gre: ['', 'inner=feed', 'inner=subscriber'],
  match: [
    'text=A',
    'offset=3 text=AAAA,B',
    'hex=41',
    'offset=200 hex=4141,00',
    'text=AA hex=fF,Ff',
    'text=\xff,\x80',
  ],
  stamp: ['offset=0', 'offset=1', 'offset=20', 'offset=77', 'offset=206', 'offset=8'],
};

/** None of them means anything; every filter with a parameter must drop, and none may trap. */
const malformed = [
  'x',
  '=',
  '=5',
  'ttl',
  'ttl=',
  'ttl=0',
  'ttl=256',
  'ttl=-1',
  'ttl=8x',
  'ttl=8 ttl=8',
  'TTL=8',
  'dscp=64',
  'dscp=99999999999999999999999999999999999999999999',
  'dscp=46,ttl=8',
  'ttl=8 vid=1 offset=1 inner=feed',
  'vid=0',
  'vid=4095',
  'vid=7 pcp=8',
  'pcp=3',
  'vid=7 vid=8',
  'inner=',
  'inner=feeds',
  'inner=fee',
  'inner=feed inner=feed',
  'text=',
  'text=A,',
  'text=,A',
  'hex=4',
  'hex=4,41',
  'hex=4g',
  'hex=41,',
  'offset=65536 hex=41',
  'offset=1 offset=1',
  'offset=207',
  'n=0',
  'n=4294967296',
  '\0\0',
  '='.repeat(64),
  'hex='.padEnd(64, '4'),
  'text='.padEnd(64, 'A,'),
  '\xff'.repeat(64),
];

for (const [name, oracle] of Object.entries(oracles)) {
  test(`${name}: random jobs come out as the oracle says`, () => {
    const next = random(name);
    const bench = new Bench(name);
    for (let burst = 0; burst < BURSTS; burst++) {
      const jobs = Array.from({ length: JOBS }, (_, index) => {
        const param =
          next.below(5) === 0 ? pick(next, malformed) : pick(next, params[name] ?? ['']);
        const job = jobOf(next, index, { param, row: index + JOBS * next.below(60) });
        return next.below(50) === 0 ? { ...job, packet: job.packet.slice(0, next.below(42)) } : job;
      });
      for (const [index, frame] of bench.ask(jobs).entries()) {
        const job = jobs[index] as Job; // as many answers as jobs
        const wanted = job.packet.length < 42 ? null : oracle(job);
        const what = `seed ${next.seed}, burst ${burst}, job ${index}, param '${job.param}', ${job.checksum}`;
        assert.is(
          frame?.toString('hex') ?? 'drop',
          wanted === null ? 'drop' : Buffer.from(wanted).toString('hex'),
          what,
        );
      }
    }
  });
}

test('each module of the folder is known here, passes the checker, and only dedupe has state', async () => {
  const there = readdirSync(FOLDER).filter(
    (file) => file.endsWith('.wasm') && !file.endsWith('.debug.wasm'),
  );
  assert.equal(
    there.sort(),
    NAMES.map((name) => `${name}.wasm`),
  );
  for (const name of NAMES) {
    await checkFilter(moduleOf(name));
    assert.is(new Bench(name).filter.state !== 0, name === 'dedupe', name);
  }
});

test('a parameter that changes, or a record that is another subscriber now, is read again', () => {
  const next = random('changing parameters');
  const bench = new Bench('dscp-ttl');
  for (const param of ['ttl=8', 'ttl=9', 'dscp=1 ttl=9 ', 'dscp=1 ttl=9', 'ttl=x', '', 'ttl=8']) {
    for (const row of [0, 4096, 0, 8192]) {
      // these share a place
      const job = jobOf(next, 0, { param, row });
      const wanted = oracles['dscp-ttl']?.(job) ?? null;
      assert.equal(
        bench.ask([job]),
        [wanted === null ? null : Buffer.from(wanted)],
        `'${param}' ${row}`,
      );
    }
  }
});

test('a copy in a tunnel may have the longest length that IPv4 can state, and not one more', () => {
  const bench = new Bench('gre');
  const next = random('long tunnel');
  // The filter reads a length and no payload, so none needs to be there.
  const longest = 14 + 0xffff - 24;
  const job = jobOf(next, 0, { packet: packetOf(next, []), checksum: 'zero' });
  bench.ask([job]);
  const words = new DataView(bench.memory.buffer);
  for (const [length, verdict] of [
    [longest, 1],
    [longest + 1, 0],
    [0xffffffff, 0],
  ] as const) {
    words.setUint32(WINDOW_JOBS + offsetOf('job', 'length'), length, true);
    bench.filter.burst(WINDOW_JOBS, 0, 1);
    assert.is(
      words.getUint32(WINDOW_JOBS + offsetOf('job', 'verdict'), true),
      verdict,
      `${length}`,
    );
  }
});

// ---- sample -------------------------------------------------------------------------------------

test('sample: each subscriber gets exactly one packet in N, whatever the bursts, and those of others differ', () => {
  const next = random('sample');
  const bench = new Bench('sample');
  const every = [1, 2, 10, 7, 10];
  const got = every.map((): number[] => []);
  const packets = 700;
  for (let packet = 0; packet < packets; ) {
    const inBurst = Math.min(1 + next.below(8), packets - packet);
    const jobs = Array.from({ length: inBurst * every.length }, (_, index) => {
      const row = index % every.length;
      const frame = Math.floor(index / every.length);
      const receiveNs = 1_700_000_000_000_000_000n + BigInt(packet); // one time a burst
      return jobOf(next, 0, {
        row,
        frame,
        receiveNs,
        epoch: BigInt(row),
        param: `n=${every[row]}`,
        packet: packetOf(next, []),
      });
    });
    const cut = next.below(jobs.length);
    for (const [index, frame] of bench
      .ask(jobs, [
        [0, cut],
        [cut, jobs.length - cut],
      ])
      .entries()) {
      const { row, frame: place } = jobs[index] as Job;
      if (frame !== null) got[row]?.push(packet + place);
    }
    packet += inBurst;
  }
  for (const [row, n] of every.entries()) {
    const mine = got[row] ?? [];
    assert.is(mine.length, packets / n, `1 in ${n}`);
    assert.ok(
      mine.every((packet, index) => packet === (mine[0] ?? 0) + index * n),
      `1 in ${n}: evenly`,
    );
  }
  assert.not.equal(got[2], got[4]);
});

test('sample: without a number that it can read, nothing goes out', () => {
  const next = random('sample without');
  const bench = new Bench('sample');
  for (const param of ['', ...malformed])
    assert.equal(bench.ask([jobOf(next, 0, { param })]), [null], param);
});

// ---- dedupe -------------------------------------------------------------------------------------

interface Mold {
  readonly line: 'A' | 'B';
  readonly session: string;
  readonly sequence: bigint;
  readonly count: number;
  readonly receiveNs?: bigint;
}

let clock = 1_700_000_000_000_000_000n;

/** A MoldUDP64 packet for each of `rows` subscribers. */
function moldJobs(next: Random, mold: Mold, place: { frame: number; rows: number }): Job[] {
  const payload = Buffer.alloc(20);
  payload.write(mold.session.padEnd(10), 'latin1');
  payload.writeBigUInt64BE(mold.sequence, 10);
  payload.writeUInt16BE(mold.count, 18);
  const packet = packetOf(next, [...payload, ...bytesOf(next, 8)]);
  packet.splice(26, 4, 10, 0, 0, mold.line === 'A' ? 1 : 2);
  packet.splice(34, 2, 0x1b, 0x58);
  clock += 1000n;
  const { receiveNs = clock } = mold;
  return Array.from({ length: place.rows }, (_, row) =>
    jobOf(next, 0, { packet, frame: place.frame, row, receiveNs }),
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
] as const;
const counterOf = (bench: Bench, name: (typeof COUNTERS)[number]) =>
  Number(bench.state.readBigUInt64LE(24 + 8 * COUNTERS.indexOf(name)));

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
  });
});

test('dedupe: of more gaps than it remembers, the oldest are given up', () => {
  const bench = new Bench('dedupe');
  const next = random('many gaps');
  // 20 gaps of one, after that before the first packet: 13 remain to be filled of 12 places
  const holes = Array.from({ length: 21 }, (_, index) => `A${2 * index + 2}`).join(' ');
  assert.is(decisions(bench, next, molds(holes)), '+'.repeat(21));
  assert.is(counterOf(bench, 'given_up'), 9);
  assert.is(decisions(bench, next, molds('B1 B3 B17 B19 B41 B41')), '---++-');
  // a gap in the middle is split where there is no room for one more
  const full = new Bench('dedupe');
  decisions(full, next, molds('A100 A200 A300 A400 A500 A600 A700 A800 A900 A1000 A1100 A1200'));
  assert.is(counterOf(full, 'given_up'), 0);
  assert.is(decisions(full, next, molds('B650 B50 B650 B649 B651 B550')), '+--+++');
});

test('dedupe: sessions are apart, and the one that was silent for longest makes room', () => {
  const bench = new Bench('dedupe');
  const next = random('sessions');
  const session = (index: number, text: string) =>
    molds(text, `SESSION-${String.fromCharCode(65 + index)}`);
  for (let index = 0; index < 15; index++)
    assert.is(decisions(bench, next, session(index, 'A1 B1 A2')), '+-+');
  for (let index = 0; index < 15; index++)
    assert.is(decisions(bench, next, session(index, 'B2 A3')), '-+');
  assert.is(counterOf(bench, 'replaced'), 0);
  assert.is(decisions(bench, next, session(15, 'A1 B1')), '+-');
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

test.run();
