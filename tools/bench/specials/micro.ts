/**
 * What a filter costs a packet, alone: the default one, the same in C++, and each of the stock, in
 * turns, over bursts of jobs as a worker makes them. Run by the benchmark in a process of its own
 * with the worker's V8 flags; prints one line of JSON: nanoseconds per job, one number a round, by
 * name.
 *
 * micro.js rounds milliseconds
 */
import { readFileSync } from 'node:fs';
import { instantiate } from '../../../src/filters/module.js';
import { limits, offsetOf } from '../../../src/memory/layout.js';
import { loadRewrite } from './rewrite.js';

const { JOB_SIZE, SLOT_SIZE, SUBSCRIBER_SIZE, FRAME_SIZE, VERDICT_UNSET, JOBS_AIM } = limits;
const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;
const SUBSCRIBERS = 16;
const PACKETS = JOBS_AIM / SUBSCRIBERS;
const PACKET_SIZE = 242;
/** Between two looks at the clock. */
const BURSTS = 1000;

/** A window as a worker's: 16 packets of 200 bytes for 16 subscribers. */
function makeMemory(param = ''): WebAssembly.Memory {
  const pages = Math.ceil((WINDOW_FRAMES + PACKETS * FRAME_SIZE) / 0x10000);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const view = new DataView(memory.buffer);
  new Uint8Array(memory.buffer).fill(
    0x5a,
    WINDOW_SUBSCRIBERS,
    WINDOW_FRAMES + PACKETS * FRAME_SIZE,
  );
  for (let i = 0; i < JOBS_AIM; i++) {
    const word = (field: string, value: number) =>
      view.setUint32(WINDOW_JOBS + i * JOB_SIZE + offsetOf('job', field), value, true);
    word('packet', WINDOW_FRAMES + Math.floor(i / SUBSCRIBERS) * FRAME_SIZE);
    word('length', PACKET_SIZE);
    word('slot', WINDOW_SLOTS + i * SLOT_SIZE);
    word(
      'subscriber',
      WINDOW_SUBSCRIBERS + offsetOf('table', 'rows') + (i % SUBSCRIBERS) * SUBSCRIBER_SIZE,
    );
    word('payload_sum', VERDICT_UNSET);
  }
  const bytes = new Uint8Array(memory.buffer);
  for (let row = 0; row < SUBSCRIBERS; row++) {
    const record = WINDOW_SUBSCRIBERS + offsetOf('table', 'rows') + row * SUBSCRIBER_SIZE;
    view.setUint16(record + offsetOf('subscriber', 'param_length'), param.length, true);
    bytes.fill(0, record + offsetOf('subscriber', 'param'), record + SUBSCRIBER_SIZE);
    bytes.set(Buffer.from(param), record + offsetOf('subscriber', 'param'));
  }
  return memory;
}

/**
 * The stock, each with a parameter that lets it work; `match` looks at the bytes that makeMemory()
 * fills packets with.
 */
const STOCK: Readonly<Record<string, string>> = {
  'keep-source': '',
  'dscp-ttl': 'dscp=46 ttl=8',
  vlan: 'vid=100',
  gre: '',
  sample: 'n=10',
  match: 'offset=10 hex=5a5a5a5a',
  dedupe: '',
  stamp: 'offset=20',
};

type Burst = (jobs: number, first: number, count: number) => void;

function nsPerJob(burst: Burst, ms: number): number {
  const start = process.hrtime.bigint();
  const end = start + BigInt(Math.round(ms * 1e6));
  let bursts = 0;
  let now = start;
  for (; now < end; now = process.hrtime.bigint()) {
    for (let i = 0; i < BURSTS; i++) burst(WINDOW_JOBS, 0, JOBS_AIM);
    bursts += BURSTS;
  }
  return Number(now - start) / (bursts * JOBS_AIM);
}

const [rounds = 5, ms = 200] = process.argv.slice(2).map(Number);
const memory = makeMemory();
const wasm = instantiate(
  new WebAssembly.Module(readFileSync('build/filters/rewrite.wasm')),
  memory,
).burst;
const rewrite = loadRewrite();
rewrite.attach(memory.buffer);
const native: Burst = rewrite.burst;
const all: [name: string, burst: Burst][] = [
  ['wasm', wasm],
  ['cpp', native],
  ...Object.entries(STOCK).map(([name, param]): [string, Burst] => [
    name,
    instantiate(
      new WebAssembly.Module(readFileSync(`build/filters/${name}.wasm`)),
      makeMemory(param),
    ).burst,
  ]),
];
const result: Record<string, number[]> = Object.fromEntries(all.map(([name]) => [name, []]));
for (const [, burst] of all) nsPerJob(burst, ms / 4);
for (let round = 0; round < rounds; round++)
  for (const [name, burst] of all) result[name]?.push(nsPerJob(burst, ms));
process.stdout.write(`${JSON.stringify(result)}\n`);
