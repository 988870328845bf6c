/** What is summed over all rows of a reading: once for each, however many parts of the page ask. */
import { endpointText } from '../../domain/endpoint.js';
import { type DropRow, dropRows, type Interval, sumRates } from '../../domain/reading.js';

/** Rates are per second; null where there is nothing to compare with. */
export interface Sums {
  readonly arrived: number | null;
  readonly sent: number | null;
  readonly bytes: number | null;
  /** The busiest first. */
  readonly drops: readonly DropRow[];
  readonly dropped: number | null;
  readonly inFlight: number;
  /** Subscribers by their state. */
  readonly states: Readonly<Record<string, number>>;
}

const made = new WeakMap<Interval, Sums>();

export function sumsOf(interval: Interval): Sums {
  const sums = made.get(interval) ?? make(interval);
  made.set(interval, sums);
  return sums;
}

function make(interval: Interval): Sums {
  const { now, before } = interval;
  const total = (field: 'sent' | 'bytes') =>
    sumRates(interval, now.stats.subscribers, before?.stats.subscribers, endpointText, field);
  const drops = dropRows(interval);
  const states: Record<string, number> = {};
  for (const { state } of now.subscribers) states[state] = (states[state] ?? 0) + 1;
  return {
    arrived: sumRates(
      interval,
      now.stats.feeds,
      before?.stats.feeds,
      ({ name }) => name,
      'received',
    ),
    sent: total('sent'),
    bytes: total('bytes'),
    drops,
    dropped: before === null ? null : drops.reduce((sum, { rate }) => sum + (rate ?? 0), 0),
    inFlight: now.stats.subscribers.reduce((sum, row) => sum + row.in_flight, 0),
    states,
  };
}
