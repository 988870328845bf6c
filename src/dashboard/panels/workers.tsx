/** Who sends: latency and delivery window of each worker. */
import type { ReactNode } from 'react';
import { type Interval, rateOf } from '../../domain/reading.js';
import type { Latency, WorkerRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { type Latencies, latencyOf } from '../link/latencies.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';

interface Worker {
  readonly row: WorkerRow;
  readonly latencies: Latencies;
  readonly bursts: number | null;
}

function workersOf(interval: Interval): Worker[] {
  const then = new Map(interval.before?.stats.workers.map((row) => [row.worker, row]));
  return interval.now.stats.workers.map((row) => ({
    row,
    latencies: latencyOf(row),
    bursts: rateOf(interval, row.bursts, then.get(row.worker)?.bursts),
  }));
}

const latency = (
  title: string,
  of: (latencies: Latencies) => Latency | null,
  percentile: keyof Latency,
  name: string,
): Column<Worker> => ({
  title: `${title} ${name}`,
  unit: 'µs',
  width: 7.75,
  isNumber: true,
  cell: ({ latencies }) => numbers.microseconds(of(latencies)?.[percentile]),
  order: ({ latencies }) => of(latencies)?.[percentile] ?? null,
});

const threeOf = (title: string, of: (latencies: Latencies) => Latency | null) => [
  latency(title, of, 'p50', 'p50'),
  latency(title, of, 'p99', 'p99'),
  latency(title, of, 'p999', 'p99.9'),
];

const COLUMNS: readonly Column<Worker>[] = [
  { title: 'Worker', width: 4.5, cell: ({ row }) => row.worker, order: ({ row }) => row.worker },
  { title: 'Process', width: 5, cell: ({ row }) => row.pid },
  { title: 'Transmit', width: 5, cell: ({ row }) => row.transmit.path },
  ...threeOf('Inside', ({ inside }) => inside),
  ...threeOf('Window', ({ window }) => window),
  ...threeOf('Kick', ({ kick }) => kick).slice(0, 2),
  {
    title: 'Bursts',
    unit: '/s',
    width: 5.5,
    isNumber: true,
    cell: ({ bursts }) => numbers.count(bursts),
    order: ({ bursts }) => bursts,
  },
  {
    title: 'Restarts',
    width: 5.5,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.restarts),
    order: ({ row }) => row.restarts,
  },
];

const nameOf = ({ row }: Worker) => String(row.worker);

export function Workers(): ReactNode {
  const { interval } = useDesk().known;
  const rows = interval === null ? [] : workersOf(interval);
  const isRecent = rows.some(({ latencies }) => latencies.isRecent);
  return (
    <Panel
      title="Workers"
      counted={String(rows.length)}
      aside={<span className="note">{isRecent ? 'of the last second' : 'since the start'}</span>}
    >
      <Grid
        label="Workers"
        rows={rows}
        columns={COLUMNS}
        keyOf={nameOf}
        sortedBy={null}
        none="There is no worker."
      />
    </Panel>
  );
}
