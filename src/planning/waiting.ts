/**
 * How long a packet waits before one server with Poisson arrivals and constant service (M/D/1).
 *
 * The formula is Franx's, A simple solution for the M/D/c waiting time distribution, Operations
 * Research Letters 29 (2001): only positive terms, so that it holds in doubles where the older
 * alternating one does not. One queue is enough for a whole tree: of servers in a row with constant
 * times the sum of waits is that before the slowest alone (Avi-Itzhak, A sequence of service
 * stations with arbitrary input and regular service times, Management Science 11, 1965).
 */

/** Of the probability of long queues so much is left out. */
const TAIL = 1e-12;
/** A queue of more is left out, too. */
const STATES_MAX = 4096;

export class Waiting {
  /** P(at most so many wait, beside the one that is served). */
  private readonly queued: number[] = [];

  /** `utilisation`: 0 to below 1. */
  constructor(private readonly utilisation: number) {
    if (!(utilisation >= 0 && utilisation < 1)) throw new RangeError(`utilisation ${utilisation}`);
    const inSystem = states(utilisation);
    let sum = inSystem[0] ?? 1;
    for (let n = 1; n < inSystem.length; n++) {
      sum += inSystem[n] ?? 0;
      this.queued.push(Math.min(1, sum));
    }
  }

  /** P(wait ≤ `services` times the service). */
  atMost(services: number): number {
    if (services < 0) return 0;
    const k = Math.floor(services) + 1;
    const x = this.utilisation * (k - services);
    let term = Math.exp(-x);
    let sum = 0;
    for (let j = 0; j < k; j++) {
      sum += term * (this.queued[k - 1 - j] ?? 1);
      term *= x / (j + 1);
    }
    return Math.min(1, sum);
  }

  /** In services; 0 where so many do not wait at all. */
  quantile(share: number): number {
    let high = 1;
    while (this.atMost(high) < share && high < STATES_MAX) high *= 2;
    return bisect(0, high, (services) => this.atMost(services) >= share);
  }
}

/** The least of `low` to `high` for which it holds; `high` if for none. */
export function bisect(low: number, high: number, holds: (x: number) => boolean): number {
  const STEPS = 40;
  if (holds(low)) return low;
  let [no, yes] = [low, high];
  for (let step = 0; step < STEPS; step++) {
    const middle = (no + yes) / 2;
    if (holds(middle)) yes = middle;
    else no = middle;
  }
  return yes;
}

/**
 * P(n in the system), from 0 on: what goes up past n is what comes down. During a service of which
 * i were there at the start, n is passed if more than n - i + 1 come.
 */
function states(utilisation: number): number[] {
  const comes = [Math.exp(-utilisation)];
  const none = comes[0] ?? 1;
  const more = [1 - none]; // P(more than k come in one service)
  const found = [1 - utilisation];
  let sum = 1 - utilisation;
  for (let n = 0; n + 1 < STATES_MAX && 1 - sum > TAIL; n++) {
    let up = (found[0] ?? 0) * (more[n] ?? 0);
    for (let i = 1; i <= n; i++) up += (found[i] ?? 0) * (more[n - i + 1] ?? 0);
    const next = up / none;
    found.push(next);
    sum += next;
    const come = ((comes[n] ?? 0) * utilisation) / (n + 1);
    comes.push(come);
    more.push(Math.max(0, (more[n] ?? 0) - come));
  }
  return found;
}
