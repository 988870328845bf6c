/** Who sends: latency and delivery window of each worker. */
import type { ReactNode } from 'react';
import { type Interval, rateOf } from '../../domain/reading.js';
import type { Latencies, WorkerRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';

interface Worker {
  readonly row: WorkerRow;
  readonly bursts: number | null;
}

function workersOf(interval: Interval): Worker[] {
  const then = new Map(interval.before?.stats.workers.map((row) => [row.worker, row]));
  return interval.now.stats.workers.map((row) => ({
    row,
    bursts: rateOf(interval, row.bursts, then.get(row.worker)?.bursts),
  }));
}

interface Measured {
  readonly title: string;
  /** Of its columns, for the longest of their titles. */
  readonly width: number;
  readonly of: keyof Latencies;
}

const PERCENTILES = [
  ['p50', 'p50'],
  ['p99', 'p99'],
  ['p999', 'p99.9'],
] as const;

const columnsOf = ({ title, width, of }: Measured): Column<Worker>[] =>
  PERCENTILES.map(([percentile, name]) => ({
    title: `${title} ${name}`,
    unit: 'µs',
    width,
    isNumber: true,
    cell: ({ row }) => numbers.microseconds(row.recent[of][percentile]),
    order: ({ row }) => row.recent[of][percentile],
  }));

const COLUMNS: readonly Column<Worker>[] = [
  { title: 'Worker', width: 5, cell: ({ row }) => row.worker, order: ({ row }) => row.worker },
  { title: 'Process', width: 5.25, cell: ({ row }) => row.pid },
  { title: 'Transmit', width: 5.5, cell: ({ row }) => row.transmit.path },
  ...columnsOf({ title: 'Inside', width: 8, of: 'inside_ns' }),
  ...columnsOf({ title: 'Window', width: 9, of: 'window_ns' }),
  ...columnsOf({ title: 'Kick', width: 7, of: 'kick_ns' }).slice(0, 2),
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
  return (
    <Panel
      title="Workers"
      counted={String(rows.length)}
      aside={<span className="note">latency of the last one to two seconds</span>}
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
