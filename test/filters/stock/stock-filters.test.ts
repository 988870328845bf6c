/**
 * Goal: every stock filter does what its header comment says. Method: each module as it is built,
 * on random packets, subscribers and parameters, against an oracle that says the whole frame byte
 * by byte; then the cases that chance would not find. dedupe has a file of its own.
 * `FANTAIL_SEED=n` repeats a random test.
 *
 * needs: a core
 */
import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFilter } from '../../../src/filters/check/process.js';
import { limits, offsetOf } from '../../../src/memory/layout.js';
import { type Random, random } from '../../rig/random.js';
import {
  Bench,
  datagram,
  ethernet,
  FOLDER,
  ipv4,
  JOBS,
  type Job,
  jobOf,
  moduleOf,
  packetOf,
  plain,
  u16,
  udp,
} from './jobs.js';

const test = suite('stock filters');
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
const BURSTS = 150;
const { WINDOW_JOBS } = limits;

// ---- the oracle ---------------------------------------------------------------------------------

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

test.run();
