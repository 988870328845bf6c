/**
 * `--tune`: the raw AF_XDP programs with one setting changed at a time, so that the limit that
 * fantail is measured against is the limit indeed. A setting that beats the default here belongs
 * into fantail first, and then becomes the default of both.
 */

import { startBounce, transmitFor } from './competitors.js';
import { measureWindow } from './measure.js';
import type { Special } from './special.js';

/** Flags of peers/afxdp.hpp; the first of each is the default. */
const SETTINGS: Readonly<Record<string, readonly number[]>> = {
  chunk: [4096, 2048],
  'rx-ring': [8192, 2048, 512],
  'tx-ring': [256, 4096, 2048, 1024, 512, 128],
  batch: [64, 16, 32, 128, 256],
  budget: [256, 32, 64, 1024],
  'prefer-busy-poll': [1, 0],
};
const SUBSCRIBERS = 16;
const SIZE = 200;
const RATE = 20_000;
/** What raw transmit sends in its one try, copies a second of the window asked for. */
const OUTPUT = 1_000_000;

function tuned(name: string, flags: readonly string[], rounds: number): Special {
  return {
    id: `tune ${name}`,
    title: `raw AF_XDP, ${name}`,
    rounds,
    async run({ world, engine, seed }, { searchMs, windowMs, warmUpMs }) {
      const bounce = await startBounce({ world, subscribers: 1, size: SIZE }, flags);
      const base = { subscribers: 1, size: SIZE, queues: world.queues, rate: RATE, detail: false };
      try {
        await measureWindow(engine, { ...base, ms: warmUpMs });
        const { latency_ns: ns } = await measureWindow(engine, { ...base, ms: windowMs });
        const setup = { world, subscribers: SUBSCRIBERS, size: SIZE };
        await bounce.stop();
        const count = Math.ceil(((OUTPUT / SUBSCRIBERS) * searchMs) / 1000);
        const { seen, output } = await transmitFor(engine, setup, { count, seed, flags });
        const values = {
          bounce_p50_ns: ns[0],
          bounce_p99_ns: ns[2],
          transmit_cps: output,
          lost: seen.lost,
        };
        return { command: bounce.command, mode: 'copy', values };
      } finally {
        await bounce.stop();
      }
    },
  };
}

export function tuneSpecials(rounds: number): Special[] {
  const variants = Object.entries(SETTINGS).flatMap(([name, [, ...others]]) =>
    others.map((value) => tuned(`${name} ${value}`, [`--${name}`, String(value)], rounds)),
  );
  return [tuned('defaults', [], rounds), ...variants];
}
