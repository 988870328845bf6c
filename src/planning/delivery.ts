/**
 * When the last subscriber of a tree has a packet, and how long after the first one, as
 * distributions over packets, if each member takes a time of its own for each: log-normal,
 * independent of the others. The last of many members is slower than any one of them is as a rule,
 * and that is what this is for.
 *
 * It goes by how long the packet waits before the widest members (waiting.ts), which all of their
 * level do alike. What they took for the packets before it differs, though, and adds up for as long
 * as they have not been idle: n packets, of which the wait tells. Given that, from the last level
 * up: a member of the last level ends at its own time; one above when the last of its children has
 * ended, each of which begins when its copy is there.
 */
import type { Figures } from './figures.js';
import type { Member } from './member.js';
import { normal, normalQuantile, REACH, Z99 } from './normal.js';
import { bisect, Waiting } from './waiting.js';

/** Below that all times count as equal: the grid could not show it. */
const SIGMA_MIN = 0.002;
/** Points of a distribution. */
const GRID = 1024;
/** Times of one member that stand for all it may take. */
const FACTORS = 32;
/** Of more children the sum over each becomes an integral. */
const SUM_MAX = 24;
/** exp() of less is 0. */
const LOG_MIN = -745;
/** The waits of the packets that wait at all, in parts within which n counts as the same. */
const PARTS = [0, 0.25, 0.5, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 0.993, 0.997, 0.9995];
/** Waits of each part that stand for all. */
const WAITS = 12;

/** Of a log-normal distribution with median 1. */
export const sigmaOf = ({ jitter_ratio }: Figures): number => Math.log(jitter_ratio) / Z99;

/** Packets whose waits are about the same. */
interface Part {
  /** Of all packets. */
  readonly share: number;
  readonly waits_us: readonly number[];
  /** P(the last copy is there, so long after the packet came, but for its wait). */
  readonly end: (t_us: number) => number;
  readonly endMost_us: number;
  /** When the first copy is there, by the same clock. */
  readonly first_us: number;
}

/** The level of members that are busy the longest, and how they are. */
interface Bottleneck {
  readonly level: number;
  readonly service_us: number;
  readonly waiting: Waiting;
}

export class Delivery {
  private readonly parts: readonly Part[];

  /** `waits` false: as if each packet were the only one. */
  constructor(
    private readonly member: Member,
    private readonly fanOuts: readonly number[],
    private readonly sigma: number,
    waits: boolean,
  ) {
    const widest = Math.max(...fanOuts);
    const mean = Math.exp(sigma ** 2 / 2);
    const variation = Math.exp(sigma ** 2) - 1;
    const load = member.utilisation(widest) * mean;
    const bottleneck = {
      level: fanOuts.lastIndexOf(widest),
      // longer by what varies: Pollaczek and Khinchine
      service_us: member.busy_us(widest) * mean * (1 + variation),
      waiting: new Waiting(waits ? load : 0),
    };
    this.parts = this.partsOf(bottleneck, waits ? load : 0);
  }

  /** From a packet's coming to its last copy's. */
  latency_us(share: number): number {
    const most_us = Math.max(
      ...this.parts.map((part) => Math.max(...part.waits_us) + part.endMost_us),
    );
    return bisect(0, most_us, (t_us) => {
      let sum = 0;
      for (const { share: weight, waits_us, end } of this.parts)
        for (const wait_us of waits_us) sum += (weight / waits_us.length) * end(t_us - wait_us);
      return sum >= share;
    });
  }

  /** From its first copy's. */
  window_us(share: number): number {
    const most_us = Math.max(
      ...this.parts.map(({ endMost_us, first_us }) => endMost_us - first_us),
    );
    return bisect(0, most_us, (t_us) => {
      const sum = this.parts.reduce(
        (all, part) => all + part.share * part.end(t_us + part.first_us),
        0,
      );
      return sum >= share;
    });
  }

  private partsOf(bottleneck: Bottleneck, load: number): Part[] {
    const { waiting, service_us } = bottleneck;
    const idle = this.part(bottleneck, { share: 1 - load, waits_us: [0], before: 0 });
    if (load === 0) return [idle];
    const grows = growth(load) - 1;
    const parts = PARTS.map((from, index) => {
      const to = PARTS[index + 1] ?? 1;
      const waits = Array.from({ length: WAITS }, (_, i) =>
        waiting.quantile(1 - load + load * (from + ((to - from) * (i + 0.5)) / WAITS)),
      );
      const middle = waits[WAITS >> 1] ?? 0;
      return this.part(bottleneck, {
        share: load * (to - from),
        waits_us: waits.map((services) => services * service_us),
        before: 1 + middle / grows, // one at least, or it would not wait
      });
    });
    return [idle, ...parts];
  }

  /** `before`: so many packets kept the members busy when this one came. */
  private part(
    { level, service_us }: Bottleneck,
    { share, waits_us, before }: { share: number; waits_us: readonly number[]; before: number },
  ): Part {
    const { member, fanOuts, sigma } = this;
    // the top is one member: what it took before is in the wait
    const lag_us = level === 0 ? 0 : before * service_us;
    const levels = fanOuts.map((children, each) =>
      each === level && lag_us > 0
        ? { children, lag_us, sigma: sigma / Math.sqrt(1 + before) }
        : { children, lag_us: 0, sigma },
    );
    const first_us = fanOuts.length * member.after_us(1);
    const early_us = Math.min(
      waits_us[waits_us.length >> 1] ?? 0,
      this.earlier_us(level, lag_us, before),
    );
    return { share, waits_us, ...endOf(member, levels), first_us: first_us - early_us };
  }

  /** How far the first of the last members is before most, by what they took for packets before. */
  private earlier_us(level: number, lag_us: number, before: number): number {
    if (lag_us === 0 || this.sigma < SIGMA_MIN) return 0;
    const deviation_us = (lag_us * this.sigma) / Math.sqrt(before);
    const spread_us = this.fanOuts
      .slice(0, level)
      .reduce((sum, children) => sum + (children - 1) * this.member.copy_us, 0);
    const members = this.fanOuts.slice(0, level).reduce((all, children) => all * children, 1);
    // only those that get their copies early enough
    const many = Math.max(2, members * Math.min(1, deviation_us / Math.max(1e-9, spread_us)));
    return deviation_us * normalQuantile(1 - Math.LN2 / many);
  }
}

/**
 * How fast a queue grows while it grows long, in packets a service: ρe^θ, where ρ(e^θ - 1) = θ > 0
 * (the change of measure of large deviations, as in Asmussen, Applied Probability and Queues).
 */
function growth(load: number): number {
  const theta = bisect(1e-9, 50, (x) => load * Math.expm1(x) >= x && x > 1 - load);
  return load * Math.exp(theta);
}

// ---- the last of many ---------------------------------------------------------------------------

interface Level {
  readonly children: number;
  readonly sigma: number;
  /** Time that members of this level took before, in which they have come to differ. */
  readonly lag_us: number;
}

/** A distribution on a grid that begins at 0: logarithms of P(at most). */
interface Grid {
  readonly logs: Float64Array<ArrayBuffer>;
  readonly step_us: number;
}

function endOf(member: Member, levels: readonly Level[]): Pick<Part, 'end' | 'endMost_us'> {
  const fixed_us = levels.reduce((sum, { children }) => sum + member.after_us(children), 0);
  if (levels.every(({ sigma }) => sigma < SIGMA_MIN))
    return { end: (t_us) => (t_us >= fixed_us ? 1 : 0), endMost_us: fixed_us };
  const endMost_us = levels.reduce((sum, { children, sigma, lag_us }) => {
    return sum + (member.after_us(children) + lag_us) * Math.exp(REACH * sigma) - lag_us;
  }, 0);
  const step_us = endMost_us / (GRID - 1);
  const [last = { children: 1, sigma: 0, lag_us: 0 }, ...above] = [...levels].reverse();
  const own_us = member.after_us(last.children) + last.lag_us;
  const logs = Float64Array.from({ length: GRID }, (_, i) =>
    logOf(normal(Math.log((i * step_us + last.lag_us) / own_us) / last.sigma)),
  );
  let grid: Grid = { logs, step_us };
  for (const level of above) grid = endAbove(member, level, grid);
  const at = interpolated(grid.logs, step_us);
  return { end: (t_us) => Math.exp(at(t_us)), endMost_us };
}

/** The same of a member above: all its children have ended. */
function endAbove(member: Member, { children, sigma, lag_us }: Level, below: Grid): Grid {
  const { step_us } = below;
  const at = interpolated(below.logs, step_us);
  const sums = new Float64Array(GRID + 1);
  for (let i = 0; i < GRID; i++) sums[i + 1] = (sums[i] ?? 0) + (below.logs[i] ?? 0) * step_us;
  const until = interpolated(sums, step_us);
  const logOfAll = (t_us: number, factor: number) => {
    const first_us = t_us + lag_us - (member.after_us(1) + lag_us) * factor;
    const copy_us = member.copy_us * factor;
    if (children <= SUM_MAX) {
      let sum = 0;
      for (let i = 0; i < children && sum > LOG_MIN; i++) sum += at(first_us - i * copy_us);
      return sum;
    }
    // each child stands for half a copy to both sides of it
    const latest_us = first_us + copy_us / 2;
    const earliest_us = latest_us - children * copy_us;
    if (earliest_us <= 0) return LOG_MIN;
    return (until(latest_us) - until(earliest_us)) / copy_us;
  };
  const factors = Array.from({ length: FACTORS }, (_, node) =>
    Math.exp(sigma * normalQuantile((node + 0.5) / FACTORS)),
  );
  const logs = Float64Array.from({ length: GRID }, (_, i) => {
    let sum = 0;
    for (const factor of factors) sum += Math.exp(logOfAll(i * step_us, factor));
    return logOf(sum / FACTORS);
  });
  return { logs, step_us };
}

/** Before the grid certainly not; behind it as at its end. */
function interpolated(values: Float64Array, step_us: number): (t_us: number) => number {
  const end = values.length - 1;
  return (t_us) => {
    const place = t_us / step_us;
    if (place < 0) return LOG_MIN;
    if (place >= end) return values[end] ?? 0;
    const before = Math.floor(place);
    const low = values[before] ?? 0;
    return low + ((values[before + 1] ?? 0) - low) * (place - before);
  };
}

const logOf = (share: number) => (share <= 0 ? LOG_MIN : Math.max(LOG_MIN, Math.log(share)));
