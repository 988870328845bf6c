/**
 * What must hold between a plan and its simulation.
 *
 * Nowhere may a plan promise less loss than there was. Where queues are short its latencies are
 * right within 10 %; longer ones hang on a few bursts, so that two simulations differ by more than
 * that.
 */
import type { Compared } from './page.js';

/** Members that are busy for no more of the time have short queues. */
export const SHORT_QUEUES_MAX = 0.5;
const WITHIN = 0.1;
/** A window's p99 is that of the two members that differ most. */
const WINDOW_P99_WITHIN = 0.2;

/** A sentence for each bound that does not hold. */
export function faultsOf({ plan, simulated }: Compared): string[] {
  const what = `${plan.subscribers} subscribers, ${plan.members} members`;
  const faults: string[] = [];
  if (simulated.lost_share > plan.lost_share)
    faults.push(`${what}: ${simulated.lost_share} lost, and the plan said ${plan.lost_share}`);
  const busiest = Math.max(...plan.levels.map(({ utilisation }) => utilisation));
  if (busiest > SHORT_QUEUES_MAX) return faults;
  const pairs: [name: string, planned: number, seen: number, within: number][] = [
    ['latency p50', plan.latency_us?.p50 ?? Infinity, simulated.latency_us.p50, WITHIN],
    ['latency p99', plan.latency_us?.p99 ?? Infinity, simulated.latency_us.p99, WITHIN],
    ['window p50', plan.window_us.p50, simulated.window_us.p50, WITHIN],
    ['window p99', plan.window_us.p99, simulated.window_us.p99, WINDOW_P99_WITHIN],
  ];
  for (const [name, planned, seen, within] of pairs)
    if (!(Math.abs(planned / seen - 1) <= within))
      faults.push(`${what}: ${name} ${seen} µs, and the plan said ${planned}`);
  return faults;
}
