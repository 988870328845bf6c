/**
 * The processes that a random module could crash, so that it does not crash the campaign. Started
 * with its role:
 *
 *     check   takes a module to checkModule(), and what that accepts to checkFilter(), as the
 *             supervisor does
 *     run     runs it on the guarded memory of a worker, whatever the checker has said of it
 *
 * It answers each module with one Report. What it does not foresee it reports as `odd`, which fails
 * the campaign.
 */
import { setFlagsFromString } from 'node:v8';
import { createContext, Script } from 'node:vm';
import { FantailError, messageOf } from '../../src/domain/errors.js';
import { checkModule } from '../../src/filters/check/checker.js';
import { checkFilter } from '../../src/filters/check/process.js';
import { type Burst, COMPILER_FLAGS, instantiate, STATE_EXPORT } from '../../src/filters/module.js';
import { limits, offsetOf } from '../../src/memory/layout.js';
import { attachGuarded, type Guarded } from './guard.js';
import { TRIGGER_LENGTH } from './window.js';

export type Report =
  | { readonly is: 'ready' | 'accepted' | 'returned' | 'trapped' | 'timed out' }
  /** By the checker, or by the loader where only one of the two looks. */
  | { readonly is: 'refused'; readonly sentence: string }
  | { readonly is: 'odd'; readonly what: string };

/** A filter gets as long for one call; the real worker is replaced after 100 ms. */
const CALL_MS_MAX = 40;
/** For compiling, which nothing interrupts, and fantail_abi. */
const LOAD_MS_MAX = 2000;
/** Jobs of a call, at each end of the job array. */
const JOBS = 4;

const {
  JOBS_MAX,
  JOB_SIZE,
  SLOT_SIZE,
  FRAME_SIZE,
  RX_FRAMES,
  SUBSCRIBER_SIZE,
  STATE_SIZE,
  VERDICT_UNSET,
} = limits;
const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;
const VERDICT = offsetOf('job', 'verdict');

// ---- check ----

async function check(bytes: Uint8Array): Promise<Report> {
  try {
    checkModule(bytes);
    await checkFilter(bytes);
    return { is: 'accepted' };
  } catch (error) {
    if (
      error instanceof FantailError &&
      error.code === 'FILTER_REJECTED' &&
      error.message.length > 0
    ) {
      return { is: 'refused', sentence: error.message };
    }
    return { is: 'odd', what: `the checker throws ${messageOf(error)}` };
  }
}

// ---- run ----

const context = createContext({ call: null as (() => void) | null });
const script = new Script('call()');

/** Nothing of a module runs without this limit. */
function limited(timeout: number, call: () => void): void {
  context.call = call;
  script.runInContext(context, { timeout });
}

/** As tx-worker.ts knows it. */
const isTrap = (error: unknown) =>
  error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
const isLate = (error: unknown) =>
  (error as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';

/** One filter's memory, laid out anew for each module. */
class Window {
  readonly #memory: WebAssembly.Memory;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
  }

  run(module: Uint8Array): Report {
    this.#bytes.fill(0, 0, WINDOW_JOBS);
    this.#bytes.fill(0, WINDOW_SLOTS, WINDOW_SLOTS + JOBS_MAX * SLOT_SIZE);
    this.#bytes.fill(0, WINDOW_STATE, WINDOW_STATE + STATE_SIZE);
    for (let index = 0; index < JOBS_MAX; index++) this.#writeJob(index);
    try {
      const burst = this.#load(module);
      const trapped = this.#answer(burst, 0) || this.#answer(burst, JOBS_MAX - JOBS);
      return { is: trapped ? 'trapped' : 'returned' };
    } catch (error) {
      if (isLate(error)) return { is: 'timed out' };
      if (isTrap(error)) return { is: 'trapped' }; // before the first burst
      if (error instanceof FantailError) return { is: 'refused', sentence: error.message };
      return { is: 'odd', what: `the filter throws ${messageOf(error)}` };
    }
  }

  #load(module: Uint8Array): Burst {
    let burst: Burst | null = null;
    limited(LOAD_MS_MAX, () => {
      burst = instantiate(new WebAssembly.Module(module), this.#memory).burst;
    });
    if (burst === null) throw new Error('the loader gives no burst');
    return burst;
  }

  /** A burst, and after each trap the rest of it, as the worker does. True if there was a trap. */
  #answer(burst: Burst, first: number): boolean {
    let trapped = false;
    for (let next = first; next < first + JOBS; ) {
      try {
        limited(CALL_MS_MAX, () => burst(WINDOW_JOBS, next, first + JOBS - next));
        return trapped;
      } catch (error) {
        if (!isTrap(error)) throw error;
        trapped = true;
        while (next < first + JOBS && this.#verdict(next) !== VERDICT_UNSET) next++;
        next++; // the one that trapped
      }
    }
    return trapped;
  }

  #verdict(index: number): number {
    return this.#view.getUint32(WINDOW_JOBS + index * JOB_SIZE + VERDICT, true);
  }

  /** Packets of the first frames, and the very last bytes of the last. */
  #writeJob(index: number): void {
    const put = (name: string, value: number) =>
      this.#view.setUint32(WINDOW_JOBS + index * JOB_SIZE + offsetOf('job', name), value, true);
    const isLast = index === JOBS_MAX - 1;
    const packet = isLast
      ? RX_FRAMES * FRAME_SIZE - TRIGGER_LENGTH
      : (index % RX_FRAMES) * FRAME_SIZE + 256;
    put('packet', WINDOW_FRAMES + packet);
    put('length', TRIGGER_LENGTH);
    put('slot', WINDOW_SLOTS + index * SLOT_SIZE);
    put('subscriber', WINDOW_SUBSCRIBERS + offsetOf('table', 'rows') + index * SUBSCRIBER_SIZE);
    put('verdict', VERDICT_UNSET);
    put('header_start', 0);
    put('replaced', 0);
    put('payload_sum', VERDICT_UNSET);
  }
}

// ---- both ----

/** Read from its exports, as the supervisor does: what it answers is no matter here. */
function keepsState(module: Uint8Array): boolean {
  const exports = WebAssembly.Module.exports(new WebAssembly.Module(module));
  return exports.some(({ name }) => name === STATE_EXPORT);
}

type Answer = (module: Uint8Array) => Report | Promise<Report>;

function answerer(role: string | undefined): Answer {
  if (role === 'check') return check;
  // As a worker compiles: what the optimising compiler makes of a store is what is tried here.
  for (const flag of COMPILER_FLAGS) setFlagsFromString(flag);
  const { plain, stateful }: Guarded = attachGuarded();
  const [first, second] = [new Window(plain), new Window(stateful)];
  return (module) => (keepsState(module) ? second : first).run(module);
}

const send = (report: Report) => process.send?.(report);
const answer = answerer(process.argv[2]);
// the campaign sends nothing else
process.on('message', async (message) => send(await answer(message as Uint8Array)));
process.on('disconnect', () => process.exit(0));
send({ is: 'ready' });
