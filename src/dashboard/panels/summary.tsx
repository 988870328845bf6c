/** The sums at the top, and their course. */
import type { ReactNode } from 'react';
import { sumOf } from '../../domain/counts.js';
import { dropRows, type Interval, sumRates } from '../../domain/reading.js';
import { useDesk } from '../desk.js';
import type { History } from '../link/history.js';
import { latenciesOf } from '../link/latencies.js';
import * as numbers from '../parts/numbers.js';
import { type Line, Plot } from '../parts/plot.js';

interface Sum {
  readonly title: string;
  readonly unit: string;
  readonly value: string;
  readonly note?: string;
  readonly isAlarm?: boolean;
}

function sumsOf(interval: Interval): Sum[] {
  const { now, before } = interval;
  const { stats } = now;
  const total = (field: 'sent' | 'bytes') =>
    sumRates(interval, stats.subscribers, before?.stats.subscribers, endpoint, field);
  const arrived = sumRates(
    interval,
    stats.feeds,
    before?.stats.feeds,
    ({ name }) => name,
    'received',
  );
  const drops = dropRows(interval);
  const dropRate = before === null ? null : drops.reduce((sum, { rate }) => sum + (rate ?? 0), 0);
  const states: Record<string, number> = {};
  for (const { state } of now.subscribers) states[state] = (states[state] ?? 0) + 1;
  const inFlight = sumOf(
    Object.fromEntries(stats.subscribers.map((row) => [endpoint(row), row.in_flight])),
  );
  return [
    { title: 'In', unit: 'packets/s', value: numbers.count(arrived) },
    { title: 'Out', unit: 'copies/s', value: numbers.count(total('sent')) },
    { title: 'Out', unit: 'kB/s', value: numbers.kilobytes(total('bytes')) },
    {
      title: 'Drops',
      unit: '/s',
      value: numbers.count(dropRate),
      isAlarm: (dropRate ?? 0) > 0,
      ...((dropRate ?? 0) > 0 ? { note: `mostly ${drops[0]?.name}` } : {}),
    },
    { title: 'In flight', unit: 'copies', value: numbers.count(inFlight) },
    {
      title: 'Subscribers',
      unit: '',
      value: numbers.count(stats.subscribers.length),
      note: Object.entries(states)
        .map(([state, count]) => `${count} ${state}`)
        .join(', '),
    },
  ];
}

const endpoint = ({ ip, port }: { readonly ip: string; readonly port: number }) => `${ip}:${port}`;

const count = (title: string, dash: readonly number[]): Line => ({
  title,
  dash,
  text: numbers.count,
});
const time = (title: string, dash: readonly number[]): Line => ({
  title,
  dash,
  text: (value) => numbers.microseconds(value === null ? undefined : value * 1000),
});
const RATES = [count('in, packets', []), count('out, copies', [6, 3]), count('drops', [2, 2])];
const TIMES = [
  time('inside p50', []),
  time('p99', [6, 3]),
  time('p99.9', [2, 2]),
  time('window p99', [8, 3, 2, 3]),
];

export function Summary({ history }: { readonly history: History }): ReactNode {
  const { interval } = useDesk().known;
  if (interval === null) return null;
  const { isRecent } = latenciesOf(interval.now.stats.workers);
  return (
    <section aria-label="Summary" className="summary">
      <dl className="sums">
        {sumsOf(interval).map(({ title, unit, value, note, isAlarm }) => (
          <div key={`${title} ${unit}`} className={isAlarm ? 'sum alarm' : 'sum'}>
            <dt>
              {title} <small>{unit}</small>
            </dt>
            <dd>
              {value}
              {note === undefined ? null : <small> {note}</small>}
            </dd>
          </div>
        ))}
      </dl>
      <div className="plots">
        <Plot
          title="Rate"
          unit="/s"
          lines={RATES}
          times={history.times}
          columns={history.rates}
          turn={interval}
        />
        <Plot
          title="Latency"
          unit={isRecent ? 'µs, last second' : 'µs, since start'}
          lines={TIMES}
          times={history.times}
          columns={history.latencies}
          isLogarithmic
          turn={interval}
        />
      </div>
    </section>
  );
}
