/** The sums at the top, and their course. */
import type { ReactNode } from 'react';
import type { Interval } from '../../domain/reading.js';
import { useDesk } from '../desk.js';
import type { History } from '../link/history.js';
import { sumsOf } from '../link/sums.js';
import * as numbers from '../parts/numbers.js';
import { type Line, Plot } from '../parts/plot.js';

interface Sum {
  readonly title: string;
  readonly unit: string;
  readonly value: string;
  readonly note?: string;
  readonly isAlarm?: boolean;
}

function figuresOf(interval: Interval): Sum[] {
  const { arrived, sent, bytes, drops, dropped, inFlight, states } = sumsOf(interval);
  const isDropping = (dropped ?? 0) > 0;
  return [
    { title: 'In', unit: 'packets/s', value: numbers.count(arrived) },
    { title: 'Out', unit: 'copies/s', value: numbers.count(sent) },
    { title: 'Out', unit: 'kB/s', value: numbers.kilobytes(bytes) },
    {
      title: 'Drops',
      unit: '/s',
      value: numbers.count(dropped),
      isAlarm: isDropping,
      ...(isDropping ? { note: `mostly ${drops[0]?.name}` } : {}),
    },
    { title: 'In flight', unit: 'copies', value: numbers.count(inFlight) },
    {
      title: 'Subscribers',
      unit: '',
      value: numbers.count(interval.now.stats.subscribers.length),
      note: Object.entries(states)
        .map(([state, count]) => `${count} ${state}`)
        .join(', '),
    },
  ];
}

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
  return (
    <section aria-label="Summary" className="summary">
      <dl className="sums">
        {figuresOf(interval).map(({ title, unit, value, note, isAlarm }) => (
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
          unit="µs"
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
