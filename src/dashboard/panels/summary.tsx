/** The sums at the top, and their course. */
import type { ReactNode } from 'react';
import type { Interval } from '../../domain/reading.js';
import { useDesk } from '../desk.js';
import type { History } from '../link/history.js';
import { sumsOf } from '../link/sums.js';
import * as numbers from '../parts/numbers.js';
import { type Line, Plot } from '../parts/plot.js';
import { type Sum, Sums } from '../parts/sums.js';

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
      <Sums sums={figuresOf(interval)} />
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
