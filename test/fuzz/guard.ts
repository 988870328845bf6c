/**
 * A worker's guarded view of a real arena: all that the fuzzing campaign needs of the addon's data
 * path.
 *
 * The parent opens the arena. A child attaches to it as its worker 0 and lays it over a filter's
 * memory, as tx-worker.ts does. Neither ever moves a packet.
 */
import { addon } from '../../src/memory/addon.js';
import { Arena } from '../../src/memory/arena.js';
import { limits, offsetOf, structOf } from '../../src/memory/layout.js';
import { openBareArena } from '../rig/arena.js';

const PAGE_SIZE = 0x10000;
const WORD_SIZE = 4;
const { JOBS_MAX, JOB_SIZE, SLOT_SIZE, STATE_SIZE } = limits;
const HEADER = 'arena_header';

/** A child finds them at these numbers. */
const ARENA_FD = 4;
const TX_FD = 5;
const WAKE_FD = 6;

export interface OpenedArena {
  readonly bytes: Uint8Array;
  /** Parts of the arena that a filter of worker 0 may write: [start, end). */
  readonly writable: readonly (readonly [number, number])[];
  /**
   * Parts whose bytes nobody looks at as long as no table lists a row and no packet moves: records
   * and frames.
   */
  readonly patterned: readonly (readonly [number, number])[];
  /** For a child's `stdio`, from ARENA_FD on. */
  readonly descriptors: readonly number[];
}

export async function openArena(): Promise<OpenedArena> {
  const { arena, tx, wake } = await openBareArena();
  return describe(new Arena(arena), [arena, tx, wake]);
}

function describe(arena: Arena, descriptors: readonly number[]): OpenedArena {
  const region = (name: string) => Number(arena.u64(offsetOf(HEADER, name)));
  const frames = region('umem');
  const slots = frames + (arena.header('rx_frames') + limits.TX_FRAMES) * limits.FRAME_SIZE;
  const regions = [
    { start: region('jobs'), size: JOBS_MAX * JOB_SIZE },
    { start: slots, size: JOBS_MAX * SLOT_SIZE },
    // block 0, without the worker's copy behind it
    { start: region('filter_state'), size: STATE_SIZE },
  ];
  return {
    bytes: new Uint8Array(arena.buffer),
    writable: regions.map(({ start, size }) => [start, start + size] as const),
    patterned: [
      ...[0, 1].map((buffer) => {
        const table = region('table') + buffer * structOf('table').size;
        return [table + offsetOf('table', 'rows'), table + structOf('table').size] as const;
      }),
      [frames, slots],
    ],
    descriptors,
  };
}

/** The memories of two filters over one arena. */
export interface Guarded {
  readonly plain: WebAssembly.Memory;
  /** With a block of state, for a module that says that it keeps some. */
  readonly stateful: WebAssembly.Memory;
}

/** In a child. */
export function attachGuarded(): Guarded {
  const descriptors = {
    arena: ARENA_FD,
    worker: 0,
    rx: [],
    tx: TX_FD,
    pages: null,
    program: null,
    pump: null,
    slowPath: null,
    feedChannel: WAKE_FD, // nobody sends there
    intakes: [],
    wake: WAKE_FD,
    workerWakes: [WAKE_FD],
    kernelSockets: [],
  };
  const calls = new Uint32Array(structOf('filter_calls').size / WORD_SIZE);
  const size = addon.attachWorker(descriptors, calls);
  const over = (slot: number, block: number | null) => {
    const pages = Math.ceil(size / PAGE_SIZE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    addon.overlayWindow(memory.buffer, { slot, module: 1 + slot, block, owner: 1 + slot });
    return memory;
  };
  const guarded = { plain: over(0, null), stateful: over(1, 0) };
  addon.dropPrivileges('worker');
  return guarded;
}
