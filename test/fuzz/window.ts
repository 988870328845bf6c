/**
 * The borders of a filter's memory, which random addresses are made to hit, and the packets that
 * lie in it.
 */
import { limits, structOf } from '../../src/memory/layout.js';
import type { Chance } from './chance.js';

const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;
const { JOBS_MAX, JOB_SIZE, SLOT_SIZE, STATE_SIZE, FRAME_SIZE, RX_FRAMES } = limits;
const PAGE_SIZE = 0x10000;

/**
 * Bytes of the packets that set a gated module off (frame.ts): of no sample packet of the checker.
 */
export const TRIGGER_LENGTH = 777;

/** Where one kind of memory ends and another begins: of a worker with one queue. */
const BORDERS = [
  0,
  PAGE_SIZE,
  2 * PAGE_SIZE,
  WINDOW_JOBS,
  WINDOW_JOBS + JOBS_MAX * JOB_SIZE,
  WINDOW_SLOTS,
  WINDOW_SLOTS + JOBS_MAX * SLOT_SIZE,
  WINDOW_STATE,
  WINDOW_STATE + STATE_SIZE,
  WINDOW_SUBSCRIBERS,
  WINDOW_SUBSCRIBERS + structOf('table').size,
  WINDOW_SUBSCRIBERS + 2 * structOf('table').size,
  WINDOW_FRAMES,
  WINDOW_FRAMES + FRAME_SIZE,
  WINDOW_FRAMES + RX_FRAMES * FRAME_SIZE,
  2 ** 31,
  2 ** 32,
];
/** How far from a border an address may be: the widest access has 16 bytes. */
export const NEAR = 20;

/** An address less than NEAR bytes from a border, from 0 to a little past 2³². */
export function nearBorder(chance: Chance): number {
  const goal = chance.pick(BORDERS) + chance.below(2 * NEAR + 1) - NEAR;
  return Math.max(goal, 0);
}
