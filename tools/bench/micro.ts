/**
 * What the rewrite costs a packet, alone: the release filter and the same in C++, in turns, over bursts of jobs as a
 * worker makes them. Run by the benchmark in a process of its own with the worker's V8 flags; prints one line of JSON:
 * nanoseconds per job, one number a round.
 *
 * micro.js rounds milliseconds
 */
import { readFileSync } from 'node:fs';
import { loadFilter } from '../../src/filter.js';
import { limits, offsetOf } from '../../src/layout.js';
import { loadRewrite } from './rewrite.js';

const { JOB_SIZE, SLOT_SIZE, SUBSCRIBER_SIZE, FRAME_SIZE, VERDICT_UNSET, JOBS_AIM } = limits;
const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;
const SUBSCRIBERS = 16;
const PACKETS = JOBS_AIM / SUBSCRIBERS;
const PACKET_SIZE = 242;
/** Between two looks at the clock. */
const BURSTS = 1000;

/** A window as a worker's: 16 packets of 200 bytes for 16 subscribers. */
function makeMemory(): WebAssembly.Memory {
  const pages = Math.ceil((WINDOW_FRAMES + PACKETS * FRAME_SIZE) / 0x10000);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const view = new DataView(memory.buffer);
  new Uint8Array(memory.buffer).fill(0x5a, WINDOW_SUBSCRIBERS, WINDOW_FRAMES + PACKETS * FRAME_SIZE);
  for (let i = 0; i < JOBS_AIM; i++) {
    const word = (field: string, value: number) =>
      view.setUint32(WINDOW_JOBS + i * JOB_SIZE + offsetOf('job', field), value, true);
    word('packet', WINDOW_FRAMES + Math.floor(i / SUBSCRIBERS) * FRAME_SIZE);
    word('length', PACKET_SIZE);
    word('slot', WINDOW_SLOTS + i * SLOT_SIZE);
    word('subscriber', WINDOW_SUBSCRIBERS + offsetOf('table', 'rows') + (i % SUBSCRIBERS) * SUBSCRIBER_SIZE);
    word('payload_sum', VERDICT_UNSET);
  }
  return memory;
}

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
const wasm = loadFilter(readFileSync('build/filters/rewrite.wasm'), memory).burst;
const rewrite = loadRewrite();
rewrite.attach(memory.buffer);
const native: Burst = rewrite.burst;
for (const burst of [wasm, native]) nsPerJob(burst, ms / 4);
const result = { wasm: [] as number[], cpp: [] as number[] };
for (let round = 0; round < rounds; round++) {
  result.wasm.push(nsPerJob(wasm, ms));
  result.cpp.push(nsPerJob(native, ms));
}
process.stdout.write(`${JSON.stringify(result)}\n`);
