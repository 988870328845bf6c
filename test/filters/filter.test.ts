/**
 * The default filter against the oracle, and its compiled text against the golden one.
 *
 * The filter is compiled here, in memory, from assembly/ as it stands, for both targets. `SEED=n`
 * repeats a random test; `UPDATE_GOLDEN=1` rewrites test/filters/golden/ after a change of the
 * filter or of the compiler has been read.
 *
 * needs: a core
 * takes: 30 s
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFilter } from '../../src/filters/check/process.js';
import { instantiate } from '../../src/filters/module.js';
import { limits, membersOf, offsetOf } from '../../src/memory/layout.js';
import { foldedSum, plainSum, rewrittenHeader, type Subscriber } from './rewrite-oracle.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const HEADERS = 100_000;
const BURST = 256;
const OUTPUTS = ['--outFile', 'filter.wasm', '--textFile', 'filter.wat'];
const TARGETS = ['release', 'debug'] as const;
type Target = (typeof TARGETS)[number];

interface Compiled {
  readonly wasm: Uint8Array;
  readonly text: string;
}

const compiled = new Map<Target, Promise<Compiled>>();

/** The default filter as `asc --target` makes it; once per target. */
function compile(target: Target): Promise<Compiled> {
  const found = compiled.get(target) ?? compileNow(target);
  compiled.set(target, found);
  return found;
}

async function compileNow(target: Target, source?: string): Promise<Compiled> {
  const files = new Map<string, string | Uint8Array>();
  const entry = source === undefined ? 'assembly/filters/rewrite.ts' : 'assembly/filters/user.ts';
  const { error, stderr } = await asc.main(
    [entry, '--config', 'asconfig.json', '--target', target, '--baseDir', ROOT, ...OUTPUTS],
    {
      readFile: (name: string) =>
        name === entry && source !== undefined ? source : readOrNull(name),
      writeFile: (name: string, contents: string | Uint8Array) => void files.set(name, contents),
    },
  );
  assert.is(error, null, `${error?.message} ${stderr.toString()}`);
  const named = (end: string) => [...files].find(([name]) => name.endsWith(end))?.[1];
  const wasm = named('.wasm');
  const text = named('.wat');
  assert.ok(
    wasm instanceof Uint8Array && typeof text === 'string',
    'asc wrote no module or no text',
  );
  return { wasm, text };
}

const filter = suite('filter');

/** xorshift32 (Marsaglia 2003): a seed says all. */
function random(seed: number): () => number {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function seedOf(what: string): number {
  const seed = Number(process.env.SEED ?? Date.now() % 0xffffffff) >>> 0;
  console.log(`${what}: SEED=${seed}`);
  return seed;
}

/**
 * The window of a filter beside a mirror of what it must become. Inputs are written to both; the
 * oracle answers in the mirror; then all of both must be equal, so that a store to anywhere else is
 * seen.
 */
class Window {
  readonly memory: WebAssembly.Memory;
  readonly mirror: DataView;
  readonly #actual: Uint8Array;

  constructor(next: () => number) {
    const pages = (limits.WINDOW_FRAMES + BURST * limits.FRAME_SIZE) / 0x10000;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const words = new Uint32Array(this.memory.buffer);
    for (let index = 0; index < words.length; index++) words[index] = next();
    this.#actual = new Uint8Array(this.memory.buffer);
    this.mirror = new DataView(this.memory.buffer.slice(0));
  }

  /** Makes the filter's memory what the mirror is. */
  send(): void {
    this.#actual.set(new Uint8Array(this.mirror.buffer));
  }

  difference(): string | null {
    const wanted = new Uint8Array(this.mirror.buffer);
    if (Buffer.compare(this.#actual, wanted) === 0) return null;
    const address = this.#actual.findIndex((byte, index) => byte !== wanted[index]);
    const job = Math.floor((address - limits.WINDOW_JOBS) / limits.JOB_SIZE);
    const slot = Math.floor((address - limits.WINDOW_SLOTS) / limits.SLOT_SIZE);
    return `0x${address.toString(16)} (job ${job} or slot ${slot}): ${this.#actual[address]} for ${wanted[address]}`;
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.mirror.buffer, address, length);
  }
}

/** As asc wants it: null for one of the places it looks in where there is no file. */
function readOrNull(name: string): string | null {
  const path = isAbsolute(name) ? name : join(ROOT, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

interface Job {
  /** Address of its subscriber's record; jobs may share one. */
  readonly record: number;
  /** That of the packet. */
  readonly packet: number;
  readonly length: number;
  readonly payload: Uint8Array;
  readonly checksum: 'zero' | 'full';
}

/**
 * Writes job `index` into the mirror, with a random packet and record, and says what was written.
 */
function writeJob(window: Window, index: number, next: () => number): Job {
  const { mirror } = window;
  const packet = limits.WINDOW_FRAMES + index * limits.FRAME_SIZE + (next() % 512);
  const record =
    limits.WINDOW_SUBSCRIBERS + (next() % limits.SUBSCRIBERS_MAX) * limits.SUBSCRIBER_SIZE;
  const length = lengthOf(next);
  for (let offset = 0; offset < 64; offset += 4) {
    mirror.setUint32(record + offset, extreme(next));
    // a header of nonsense: none of it may matter but the port that it is sent to
    mirror.setUint32(packet + offset, next());
  }
  const payload = window.bytes(packet + 42, Math.max(0, length - 42));
  for (let at = 0; at < payload.length; at += 5) payload[at] = next();
  const checksum = next() % 2 === 0 ? 'zero' : 'full';
  const job = limits.WINDOW_JOBS + index * limits.JOB_SIZE;
  const put = (field: string, value: number) =>
    mirror.setUint32(job + offsetOf('job', field), value, true);
  put('packet', packet);
  put('length', length);
  put('slot', limits.WINDOW_SLOTS + index * limits.SLOT_SIZE);
  put('subscriber', record);
  put('verdict', limits.VERDICT_UNSET);
  const sum = next() % 2 === 0 ? foldedSum : plainSum; // either is allowed
  put('payload_sum', checksum === 'zero' ? limits.VERDICT_UNSET : sum([...payload]));
  return { record, packet, length, payload, checksum };
}

/**
 * Mostly small packets, some up to what an MTU of 3498 takes, some too short for the three headers.
 */
function lengthOf(next: () => number): number {
  const kind = next() % 20;
  if (kind === 0) return next() % 42;
  if (kind === 1) return 42 + (next() % 3471);
  return 42 + (next() % 200);
}

/** Random, with the values at which carries turn over more often than chance would have them. */
function extreme(next: () => number): number {
  const kind = next() % 16;
  return kind === 0 ? 0 : kind === 1 ? 0xffffffff : kind === 2 ? 0xffff0000 : next();
}

/** A copy leaves from the port that the packet was sent to: its feed's. */
function readSubscriber(window: Window, { record, packet }: Job): Subscriber {
  const at = (field: string, size: number) => [
    ...window.bytes(record + offsetOf('subscriber', field), size),
  ];
  const port = (field: string) => window.mirror.getUint16(record + offsetOf('subscriber', field));
  return {
    targetMac: at('target_mac', 6),
    sourceMac: at('source_mac', 6),
    sourceIp: at('source_ip', 4),
    sourcePort: window.mirror.getUint16(packet + 36),
    ttl: window.mirror.getUint8(record + 44),
    targetIp: at('ip', 4),
    targetPort: port('port'),
  };
}

/** What the filter must make of the job, in the mirror. */
function answer(window: Window, index: number, job: Job): void {
  const at = (field: string) =>
    limits.WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', field);
  const verdict = job.length < 42 ? 'drop_copy' : 'send';
  window.mirror.setUint32(at('verdict'), membersOf('filter_verdict').indexOf(verdict), true);
  if (verdict === 'drop_copy') return;
  window.mirror.setUint16(at('header_start'), 64, true);
  window.mirror.setUint16(at('header_length'), 42, true);
  window.mirror.setUint32(at('replaced'), 42, true);
  const header = rewrittenHeader(readSubscriber(window, job), job.payload, job.checksum);
  window.bytes(limits.WINDOW_SLOTS + index * limits.SLOT_SIZE + 64, 42).set(header);
}

for (const target of TARGETS) {
  filter(
    `${target}: ${HEADERS} random jobs are answered as the oracle does, and nothing else is written`,
    async () => {
      const next = random(seedOf(`${target} filter against the oracle`));
      const window = new Window(next);
      const { burst } = instantiate(
        new WebAssembly.Module((await compile(target)).wasm),
        window.memory,
      );
      for (let done = 0; done < HEADERS; ) {
        const first = next() % (BURST / 2);
        const count = Math.min(HEADERS - done, next() % (BURST - first + 1));
        const all = Array.from({ length: BURST }, (_, index) => {
          const asked = index >= first && index < first + count;
          return asked || next() % 8 === 0 ? writeJob(window, index, next) : null;
        });
        window.send();
        burst(limits.WINDOW_JOBS, first, count);
        for (let index = first; index < first + count; index++) {
          answer(window, index, all[index] as Job); // each of these was written
        }
        assert.is(window.difference(), null, `jobs [${first}, ${first + count}) after ${done}`);
        done += count;
      }
    },
  );

  filter(`${target}: a UDP checksum that comes out zero is sent as all ones`, async () => {
    const window = new Window(random(1));
    const { burst } = instantiate(
      new WebAssembly.Module((await compile(target)).wasm),
      window.memory,
    );
    const job = writeJob(window, 0, random(2));
    const subscriber = readSubscriber(window, job);
    const before = rewrittenHeader(subscriber, new Uint8Array(2), 'full');
    // What the sum lacks to all ones, whose complement is zero.
    const payload = Uint8Array.from(before.slice(40));
    const field = (name: string) => limits.WINDOW_JOBS + offsetOf('job', name);
    window.mirror.setUint32(field('length'), 44, true);
    window.mirror.setUint32(field('payload_sum'), foldedSum([...payload]), true);
    window.send();
    burst(limits.WINDOW_JOBS, 0, 1);
    assert.equal(rewrittenHeader(subscriber, payload, 'full').slice(40), [0xff, 0xff]);
    answer(window, 0, { ...job, length: 44, payload, checksum: 'full' });
    assert.is(window.difference(), null);
  });

  filter(
    `${target}: the default filter passes the checker, and imports env.memory alone`,
    async () => {
      const { wasm } = await compile(target);
      await checkFilter(wasm);
      const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm));
      assert.equal(imports, [{ module: 'env', name: 'memory', kind: 'memory' }]);
    },
  );
}

/**
 * The parameter's first byte replaces that of the target MAC; packets above 1000 bytes are not
 * sent.
 */
const USER_FILTER = `
  import { SUBSCRIBER_PARAM } from '../layout';
  import { Job, burst } from '../sdk';
  export { fantail_abi } from '../sdk';

  @unmanaged
  class Mine extends Job {
    filter(): void {
      if (!this.fits || this.length > 1000) return this.drop();
      this.rewrite();
      store<u8>(this.header, load<u8>(this.subscriber, SUBSCRIBER_PARAM));
      this.send_rewritten();
    }
  }

  export function fantail_burst(jobs: usize, first: u32, count: u32): void {
    burst<Mine>(jobs, first, count);
  }`;

for (const target of TARGETS) {
  filter(
    `${target}: a user's filter is one function over the SDK, and passes the checker`,
    async () => {
      const { wasm } = await compileNow(target, USER_FILTER);
      await checkFilter(wasm);
      const next = random(3);
      const window = new Window(next);
      const job = writeJob(window, 0, next);
      window.mirror.setUint32(limits.WINDOW_JOBS + offsetOf('job', 'length'), 200, true);
      window.mirror.setUint8(job.record + offsetOf('subscriber', 'param'), 0x06);
      window.send();
      instantiate(new WebAssembly.Module(wasm), window.memory).burst(limits.WINDOW_JOBS, 0, 1);
      assert.is(new Uint8Array(window.memory.buffer)[limits.WINDOW_SLOTS + 64], 0x06);
    },
  );
}

filter('the release build is the golden text: a compiler upgrade is a diff to read', async () => {
  const path = join(ROOT, 'test', 'filters', 'golden', 'rewrite.release.wat');
  const { text } = await compile('release');
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(path, text);
  assert.fixture(
    text,
    readFileSync(path, 'utf8'),
    'UPDATE_GOLDEN=1 npm test -- filter rewrites it',
  );
});

filter.run();
