/**
 * The check that nothing vanishes uncounted: what `stats --check` compares. Pure: samples come in.
 *
 *   a subscriber, at any time:  received = sent + in_flight + sum of drops
 *   XDP, once all is quiet:     redirect + slow_path = received + sum of drops, of all feeds
 *                                          + rx_dropped + rx_ring_full
 *
 * `in_flight` is what the account has not ended, so the first line can only fail by a sum that is
 * negative, by more in flight than a worker has frames and ring slots for, or by copies that stay
 * in flight when the feed pauses.
 *
 * Under traffic the two sides of the second line are read a moment apart, so only its bounds can be
 * checked: what one side had counted at the first sample, the other must have counted by the last.
 */

import { sumOf } from '../domain/counts.js';
import type { Stats } from '../domain/statistics.js';
import { limits } from '../memory/layout.js';

/** Of one worker: on its TX ring, awaiting completion, and in kernel sockets. */
const IN_FLIGHT_MAX = 2 * limits.TX_FRAMES + limits.KERNEL_COPIES_MAX;

/** True once a sample can be believed as it is, so that no further one is needed. */
export function isSettled(stats: Stats): boolean {
  const inFlight = stats.subscribers.some((row) => row.in_flight !== 0);
  return !inFlight && (stats.mode === 'socket' || taken(stats) === accounted(stats));
}

/** One sentence for each equation that does not hold. `first` and `last` may be the same sample. */
export function differences(first: Stats, last: Stats): string[] {
  return [
    ...last.subscribers.flatMap(accountDifference),
    ...stuckCopies(first, last),
    ...xdpDifference(first, last),
  ];
}

/** What one account says that cannot be, at any time. */
export function accountDifference(row: Stats['subscribers'][number]): string[] {
  const drops = sumOf(row.drops);
  const difference = row.received - (row.sent + row.in_flight + drops);
  if (difference !== 0) {
    const sum = `sent ${row.sent} + in_flight ${row.in_flight} + drops ${drops}`;
    return [
      `${row.ip}:${row.port}: received ${row.received} is not ${sum}; difference ${difference}`,
    ];
  }
  if (row.in_flight <= IN_FLIGHT_MAX) return [];
  return [
    `${row.ip}:${row.port}: ${row.in_flight} in flight, more than the ${IN_FLIGHT_MAX} that can be; ` +
      'copies have vanished',
  ];
}

/**
 * Copies in flight are no difference while the feed flows; if it does not, they will never
 * complete.
 */
function stuckCopies(first: Stats, last: Stats): string[] {
  if (first === last || cameOf(first).received !== cameOf(last).received) return [];
  const stuck = last.subscribers.filter((row) => row.in_flight !== 0);
  return stuck.map(
    (row) =>
      `${row.ip}:${row.port}: ${row.in_flight} in flight without traffic; they do not complete`,
  );
}

function xdpDifference(first: Stats, last: Stats): string[] {
  if (last.mode === 'socket') return [];
  const [before, after] = [taken(first), taken(last)];
  const difference = after - accounted(last);
  const flows = after !== before;
  const holds = flows ? before <= accounted(last) && accounted(first) <= after : difference === 0;
  if (holds) return [];
  const { received, drops, slow_path } = cameOf(last);
  const kernel = `rx_dropped ${kernelSum(last, 'rx_dropped')} + rx_ring_full ${kernelSum(last, 'rx_ring_full')}`;
  const sum = `feed received ${received} + feed drops ${drops} + ${kernel}`;
  const slow = slow_path === 0 ? '' : ` + slow_path ${slow_path}`;
  return [`xdp: redirect ${last.xdp.redirect}${slow} is not ${sum}; difference ${difference}`];
}

/** What came to the receivers: frames that XDP redirected, datagrams that the kernel delivered. */
function taken(stats: Stats): number {
  return (stats.xdp.redirect ?? 0) + cameOf(stats).slow_path;
}

/** What became of it. */
function accounted(stats: Stats): number {
  const kernel = kernelSum(stats, 'rx_dropped') + kernelSum(stats, 'rx_ring_full');
  const { received, drops } = cameOf(stats);
  return received + drops + kernel;
}

function kernelSum(stats: Stats, name: 'rx_dropped' | 'rx_ring_full'): number {
  return stats.kernel.reduce((sum, row) => sum + row[name], 0);
}

/** Of all feeds, those that are removed among them. */
function cameOf({ feeds, removed_feeds }: Stats) {
  const came = { received: 0, slow_path: 0, drops: 0 };
  for (const { received, slow_path, drops } of [...feeds, removed_feeds]) {
    came.received += received;
    came.slow_path += slow_path;
    came.drops += sumOf(drops);
  }
  return came;
}
