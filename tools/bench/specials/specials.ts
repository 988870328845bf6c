/**
 * What is measured of fantail alone, once or a few times, beside the rounds that it runs against
 * others: the filter by itself, idling, memory, overload, two workers. Each gives named numbers.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sumOf } from '../../../src/domain/counts.js';
import type { Stats } from '../../../src/domain/statistics.js';
import { COMPILER_FLAGS } from '../../../src/filters/module.js';
import type { CompetitorName } from '../runs/competitors.js';
import type { Setup } from '../runs/contender.js';
import { Engine } from '../runs/engine.js';
import { measureWindow } from '../runs/measure.js';
import type { Sizes } from '../runs/plan.js';
import { ROOT, run, sleep } from '../runs/process.js';
import { searchLossless } from '../runs/search.js';
import { SIZE, type Special } from '../runs/special.js';
import { built, makeWorld, type World } from '../runs/world.js';
import { controlFlood } from './control-flood.js';
import { commandOf, cpuNs, SETTLE_MS, withFantail } from './fantail.js';
import { feedChanges, feeds } from './feeds.js';
import { half } from './half.js';
import { undisturbedSpecials } from './undisturbed.js';

const SUBSCRIBERS = 16;
const SOAK_RATE = 100_000;
/** A soak is measured in pieces of so much. */
const STRETCH_MS = 60_000;
const RECOVERY_RATE = 20_000;
/** /proc counts in USER_HZ, 100 a second everywhere. */
const NS_A_TICK = 1e7;

// ---- The machine by itself ----

const spinner: Special = {
  id: 'spinner',
  title: 'a loop that does nothing but read the clock: what the machine takes from it',
  rounds: 5,
  run({ world }, { windowMs }) {
    const words = [
      '--cpu',
      String(world.cores.others[0] ?? world.cores.source),
      '--ms',
      String(windowMs),
    ];
    const found = JSON.parse(run(built('spinner'), words)) as {
      brief: number;
      longer: number;
      lost_ns: number;
      longest_ns: number;
    }; // our own program
    const values = {
      over_1us_a_second: (found.brief * 1000) / windowMs,
      over_10us_a_second: (found.longer * 1000) / windowMs,
      lost_percent: found.lost_ns / windowMs / 1e4,
      longest_us: found.longest_ns / 1000,
    };
    return Promise.resolve({ command: `spinner ${words.join(' ')}`, mode: '–', values });
  },
};

// ---- The filter by itself ----

const filter: Special = {
  id: 'filter',
  title: 'each filter alone, bursts of 128 jobs',
  rounds: 5,
  async run(_field, { rounds, microMs }) {
    const words = [
      ...COMPILER_FLAGS,
      'dist/tools/bench/specials/micro.js',
      String(rounds),
      String(microMs),
    ];
    // our own program
    const result = JSON.parse(run(process.execPath, words)) as Record<string, number[]>;
    const values = Object.fromEntries(
      Object.entries(result).map(([name, ns]) => [`${name.replace('-', '_')}_ns`, medianOf(ns)]),
    );
    return { command: `node ${words.join(' ')}`, mode: 'memory', values };
  },
};

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

// ---- Idling ----

const idle = (name: CompetitorName): Special => ({
  id: `idle ${name}`,
  title: `${name}: idle without --busy-poll`,
  rounds: 1,
  run: ({ world }, { idleMs }) =>
    withFantail(
      name,
      { world, subscribers: SUBSCRIBERS, size: SIZE, mayIdle: true },
      async (fantail) => {
        await sleep(SETTLE_MS);
        const pids = fantail.pids();
        const [before, start] = [cpuNs(pids), performance.now()];
        await sleep(idleMs);
        const share = (cpuNs(pids) - before) / ((performance.now() - start) * 1e6);
        return { values: { cpu_percent: share * 100, processes: pids.length } };
      },
    ),
});

/**
 * CPU time of those processes in user space and in the kernel, ns: the kernel samples it 100 times
 * a second.
 */
function spentNs(pids: readonly number[]): { user: number; kernel: number } {
  const spent = { user: 0, kernel: 0 };
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // the name before may hold blanks
    const words = text.slice(text.lastIndexOf(')') + 2).split(' ');
    spent.user += Number(words[11]) * NS_A_TICK;
    spent.kernel += Number(words[12]) * NS_A_TICK;
  }
  return spent;
}

// ---- Memory ----

interface Resident {
  /** Bytes of the arena that are mapped and touched. */
  readonly arena: number;
  readonly rest: number;
}

function residentOf(pid: number): Resident {
  let isArena = false;
  let arena = 0;
  let rest = 0;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isArena = line.includes('/memfd:fantail');
    const size = Number(/^Rss: +(\d+) kB$/.exec(line)?.[1] ?? 0) * 1024;
    if (isArena) arena += size;
    else rest += size;
  }
  return { arena, rest };
}

/** Bytes beside the arena: of the RX process, and of all. */
function footprint(pids: readonly number[]): { rx: number; all: number } {
  const rows = pids.map((pid) => ({ name: commandOf(pid), ...residentOf(pid) }));
  const sum = (chosen: typeof rows) => chosen.reduce((total, { rest }) => total + rest, 0);
  return { rx: sum(rows.filter(({ name }) => name === 'fantail-rx')), all: sum(rows) };
}

const MIB = 1024 * 1024;

const memory = (name: CompetitorName): Special => ({
  id: `memory ${name}`,
  title: `${name}: memory beside the arena, 100k packets/s`,
  rounds: 1,
  run: ({ world, engine }, { soakMs, warmUpMs }) =>
    withFantail(name, { world, subscribers: 1, size: SIZE }, async (fantail) => {
      const stretch = {
        subscribers: 1,
        size: SIZE,
        queues: world.queues,
        rate: SOAK_RATE,
        detail: false,
      };
      await measureWindow(engine, { ...stretch, ms: warmUpMs });
      await sleep(SETTLE_MS);
      const before = footprint(fantail.pids());
      let lost = 0;
      for (let left = soakMs; left > 0; left -= STRETCH_MS)
        lost += (await measureWindow(engine, { ...stretch, ms: Math.min(left, STRETCH_MS) })).lost;
      const after = footprint(fantail.pids());
      return {
        values: {
          rx_mib: after.rx / MIB,
          all_mib: after.all / MIB,
          growth_mib: (after.all - before.all) / MIB,
          rx_growth_mib: (after.rx - before.rx) / MIB,
          seconds: soakMs / 1000,
          lost,
        },
      };
    }),
});

// ---- Overload ----

/** Everything that says where packets and copies went, by name; zeros left out. */
function lossesOf({ xdp, kernel, feed, subscribers }: Stats): Record<string, number> {
  const losses: Record<string, number> = {};
  const add = (name: string, count: number) => {
    if (count !== 0) losses[name] = (losses[name] ?? 0) + count;
  };
  for (const [name, count] of Object.entries(xdp))
    if (name !== 'redirect') add(`xdp_${name}`, count);
  for (const row of kernel) {
    add('rx_dropped', row.rx_dropped);
    add('rx_ring_full', row.rx_ring_full);
  }
  for (const [name, count] of Object.entries(feed.drops)) add(name, count);
  for (const row of subscribers)
    for (const [name, count] of Object.entries(row.drops)) add(`copies_${name}`, count);
  return losses;
}

/**
 * Packets that XDP gave away and nobody counts; copies owed that no counter explains. Both must be
 * 0.
 */
function unexplained({ xdp, kernel, feed, subscribers }: Stats): {
  packets: number;
  copies: number;
} {
  const lost = kernel.reduce((sum, row) => sum + row.rx_dropped + row.rx_ring_full, 0);
  const invalid = sumOf(feed.drops);
  const copies = subscribers.reduce((sum, row) => {
    return sum + Math.abs(row.received - row.sent - row.in_flight - sumOf(row.drops));
  }, 0);
  return { packets: (xdp.redirect ?? 0) - feed.received - invalid - lost, copies };
}

const overload = (name: CompetitorName): Special => ({
  id: `overload ${name}`,
  title: `${name}: a flood to 16, then 20k packets/s`,
  rounds: 3,
  run: ({ world, engine }, { floodMs, windowMs, warmUpMs }) =>
    withFantail(name, { world, subscribers: SUBSCRIBERS, size: SIZE }, async (fantail) => {
      const base = { subscribers: SUBSCRIBERS, size: SIZE, queues: world.queues };
      const warm = await measureWindow(engine, {
        ...base,
        rate: RECOVERY_RATE,
        ms: warmUpMs,
        detail: false,
      });
      await engine.begin(SUBSCRIBERS, SIZE, world.queues);
      const busy = fantail.pids();
      const before = spentNs(busy);
      const flood = await engine.flood(floodMs);
      const spent = spentNs(busy);
      const during = await engine.collect({
        expect: flood.sent,
        quietMs: 0,
        limitMs: 0,
        detail: false,
      });
      await engine.begin(SUBSCRIBERS, SIZE, world.queues);
      const sent = await engine.send(RECOVERY_RATE, Math.ceil((RECOVERY_RATE * windowMs) / 1000));
      const after = await engine.collect({
        expect: sent.sent,
        quietMs: 60,
        limitMs: 4000,
        detail: false,
      });
      const stats = await fantail.stats();
      if (stats === null) throw new Error('fantail has counters');
      const seconds = (flood.end_ns - flood.start_ns) / 1e9;
      const nobody = unexplained(stats);
      return {
        values: {
          offered_pps: flood.sent / seconds,
          output_cps: during.received / seconds,
          // Nothing idles in a flood: what a copy costs, by side of the system-call boundary.
          user_ns_a_copy: (spent.user - before.user) / during.received,
          kernel_ns_a_copy: (spent.kernel - before.kernel) / during.received,
          // From the flood's end to the last packet that was not carried.
          recovery_ms:
            after.lost === 0
              ? 0
              : (sent.start_ns - flood.end_ns) / 1e6 + (after.last_gap / RECOVERY_RATE) * 1000,
          corrupt: during.corrupt + after.corrupt,
          duplicated: during.duplicated + after.duplicated,
          // Sent, but never seen by an XDP program: the link's own queue was full.
          link_lost: warm.sent + flood.sent + sent.sent - sumOf(stats.xdp),
          unexplained_packets: nobody.packets,
          unexplained_copies: nobody.copies,
          ...lossesOf(stats),
        },
      };
    }),
});

// ---- Two workers, and eight filters ----

/** The highest lossless output of two set-ups, and the second's as a share of the first's. */
async function compared(
  setup: { world: World; engine: Engine },
  sizes: Sizes,
  pair: readonly [name: string, more: Partial<Setup>][],
): Promise<{ command: string; mode: string; values: Record<string, number> }> {
  const { world, engine } = setup;
  const limit = (more: Partial<Setup>) =>
    withFantail(
      'fantail inline',
      { world, subscribers: SUBSCRIBERS, size: SIZE, ...more },
      async () => {
        const base = { subscribers: SUBSCRIBERS, size: SIZE, queues: world.queues, detail: false };
        const { searchMin: min, searchMax: max, tolerance, searchMs: ms } = sizes;
        const found = await searchLossless(
          { guess: 20_000, step: 1.5, tolerance, min, max, tries: 2 },
          (rate) => measureWindow(engine, { ...base, rate, ms }),
        );
        return { output: found.best?.trial.output ?? 0 };
      },
    );
  const values: Record<string, number> = {};
  let last = { command: '', mode: '', output: 0 };
  let first = 0;
  for (const [name, more] of pair) {
    last = await limit(more);
    first ||= last.output;
    values[`${name}_cps`] = last.output;
  }
  return {
    command: last.command,
    mode: last.mode,
    values: { ...values, ratio: last.output / first },
  };
}

const workers: Special = {
  id: 'workers',
  title: 'fantail inline: 1 and 2 workers to 16, 2 queues',
  rounds: 3,
  async run({ seed }, sizes) {
    const world = makeWorld(2);
    const engine = await Engine.start(world, seed);
    try {
      return await compared({ world, engine }, sizes, [
        ['one', { workers: 1 }],
        ['two', { workers: 2 }],
      ]);
    } finally {
      await engine.stop();
      world.close();
    }
  },
};

const filters: Special = {
  id: 'filters',
  title: 'fantail inline: all of 16 on one filter, and on 8 different ones',
  rounds: 3,
  run({ world, engine }, sizes) {
    return compared({ world, engine }, sizes, [
      ['one', {}],
      ['eight', { filters: 8 }],
    ]);
  },
};

export const specials: readonly Special[] = [
  spinner,
  ...undisturbedSpecials,
  filter,
  idle('fantail inline'),
  idle('fantail split'),
  memory('fantail inline'),
  memory('fantail split'),
  overload('fantail inline'),
  overload('fantail split'),
  workers,
  filters,
  feeds,
  feedChanges,
  controlFlood,
  half,
];

/** Builds what the programs of tools/bench need; nothing happens where they are fresh. */
export function prepare(): void {
  run('make', ['--no-print-directory', '-C', join(ROOT, 'tools', 'bench'), '-j2']);
}
