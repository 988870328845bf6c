/**
 * A real arena without a network card, and a worker's guarded view of it: all that the fuzzing
 * campaign needs of fantail-rx and of the addon's data path.
 *
 * The parent opens the arena: fantail-rx makes it in socket mode, on the loopback, hands it over
 * and is ended. A child attaches to it as its worker 0 and lays it over a filter's memory, as
 * tx-worker.ts does. Neither ever moves a packet.
 */
import { closeSync } from 'node:fs';
import { addon } from '../../src/memory/addon.js';
import { Arena } from '../../src/memory/arena.js';
import { limits, offsetOf, structOf } from '../../src/memory/layout.js';
import { beginRx, startRx } from '../../src/processes/programs.js';
import { untilOpened } from '../../src/processes/rx-protocol.js';
import { atEnd } from '../rig/program.js';

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
  const waiting = startRx('lo');
  const ours = waiting.socket;
  const wake = addon.eventFd();
  const open = {
    interface: 'lo',
    netns: null,
    modes: ['socket'],
    queues: [0],
    layout: 'split',
    workers: 1,
    listen: { ip: '127.0.0.1', port: 0 },
    mtu: 1500,
    order: 'rotate',
    busyPoll: false,
    yields: false,
    checksumFull: false,
    join: null,
  } as const;
  const listener = addon.openAbstract(null); // nobody adopts it
  const receiver = beginRx(waiting, {
    listener,
    wake,
    workerWakes: [wake],
    cpu: null,
    open,
    adopt: null,
  });
  const end = atEnd(() => receiver.kill());
  const ended = new Promise<void>((resolve) => receiver.onEnd(() => resolve()));
  closeSync(listener);
  const { arena, rx, tx } = await untilOpened(ours, open);
  end();
  await ended;
  closeSync(ours);
  const [receiving = -1] = rx;
  const [transmitting = -1] = tx;
  closeSync(receiving);
  return describe(new Arena(arena), [arena, transmitting, wake]);
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
