/**
 * What is measured, in which order, and how long: the full run, the quick one, and the one that
 * tests make.
 */
import { type CompetitorName, competitors } from './competitors.js';

export interface Point {
  /** Such as `s16-b200`: subscribers, bytes of payload. */
  readonly id: string;
  readonly subscribers: number;
  readonly size: number;
  /** Packets a second at which latency is measured. */
  readonly rates: readonly number[];
  /** Whether the highest lossless rate is looked for. */
  readonly search: boolean;
  readonly competitors: readonly CompetitorName[];
}

export interface Sizes {
  /** Turns that each competitor has at each point. */
  readonly rounds: number;
  /** A measured window at a fixed rate, and the one before it that is thrown away. */
  readonly windowMs: number;
  readonly warmUpMs: number;
  /** A window of the search. */
  readonly searchMs: number;
  readonly tolerance: number;
  readonly searchMin: number;
  readonly searchMax: number;
  readonly idleMs: number;
  readonly microMs: number;
  readonly floodMs: number;
  readonly soakMs: number;
  /** Short windows in search of quiet ones, and how long each is. */
  readonly quietWindows: number;
  readonly quietMs: number;
}

export interface Plan {
  readonly name: 'full' | 'quick' | 'tiny' | 'tune' | 'soak';
  readonly points: readonly Point[];
  readonly sizes: Sizes;
}

const all = competitors.map(({ name }) => name);
const ofFantail: readonly CompetitorName[] = [
  'fantail inline',
  'fantail split',
  'fantail socket inline',
  'fantail inline bulk',
  'fantail inline auto',
];

/** Those of `names` that can serve so many at all. */
const able = (names: readonly CompetitorName[], subscribers: number) =>
  names.filter((name) =>
    competitors.some((each) => each.name === name && subscribers <= each.subscribersMax),
  );

function point(
  subscribers: number,
  size: number,
  rates: readonly number[],
  names: readonly CompetitorName[] = all,
  search = true,
): Point {
  const chosen = able(names, subscribers);
  return { id: `s${subscribers}-b${size}`, subscribers, size, rates, search, competitors: chosen };
}

const without = (...names: readonly CompetitorName[]) =>
  all.filter((name) => !names.includes(name));
/** Both say little beyond the base point. */
const onAxes = without('fantail socket split', 'fantail C++ filter');
/** Only those go to a thousand subscribers. */
const ofMany: readonly CompetitorName[] = [...ofFantail, 'raw AF_XDP transmit', 'raw bulk relay'];

/**
 * 45 minutes at most on two cores. From 64 subscribers on the latency rates keep the output at
 * 320,000 copies/s.
 */
const full: Plan = {
  name: 'full',
  points: [
    point(1, 200, [20_000, 200_000]),
    point(16, 200, [20_000, 200_000]),
    point(4, 200, [20_000], onAxes),
    point(64, 200, [5000], onAxes),
    point(256, 200, [1250], ofMany),
    point(1024, 200, [312], ofMany),
    point(16, 64, [20_000], onAxes),
    point(16, 1400, [20_000], onAxes),
    point(16, 3400, [20_000], onAxes),
  ],
  sizes: {
    rounds: 5,
    windowMs: 800,
    warmUpMs: 150,
    searchMs: 300,
    tolerance: 1.02,
    searchMin: 20,
    searchMax: 1_500_000,
    idleMs: 3000,
    microMs: 300,
    floodMs: 1000,
    soakMs: 30_000,
    quietWindows: 32,
    quietMs: 20,
  },
};

const quick: Plan = {
  name: 'quick',
  points: [point(1, 200, [20_000, 200_000], onAxes), point(16, 200, [20_000], onAxes)],
  sizes: {
    ...full.sizes,
    rounds: 2,
    windowMs: 400,
    warmUpMs: 80,
    searchMs: 150,
    tolerance: 1.06,
    idleMs: 1000,
    microMs: 50,
    floodMs: 300,
    soakMs: 2000,
    quietWindows: 8,
  },
};

const tiny: Plan = {
  name: 'tiny',
  points: [point(1, 200, [2000]), point(3, 200, [2000], ['fantail inline'], false)],
  sizes: {
    rounds: 1,
    windowMs: 50,
    warmUpMs: 20,
    searchMs: 20,
    tolerance: 1.5,
    searchMin: 500,
    searchMax: 4000,
    idleMs: 100,
    microMs: 5,
    floodMs: 20,
    soakMs: 100,
    quietWindows: 2,
    quietMs: 20,
  },
};

/** See tune.ts. */
const tune: Plan = { name: 'tune', points: [], sizes: full.sizes };

/** Ten minutes of the memory row. */
const soak: Plan = {
  name: 'soak',
  points: [],
  sizes: { ...full.sizes, rounds: 1, soakMs: 600_000 },
};

export const plans = { full, quick, tiny, tune, soak } as const;
