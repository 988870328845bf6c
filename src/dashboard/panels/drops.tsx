/** Every reason that has dropped something, the busiest first. */
import type { ReactNode } from 'react';
import type { DropRow } from '../../domain/reading.js';
import { useDesk } from '../desk.js';
import { sumsOf } from '../link/sums.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';

const COLUMNS: readonly Column<DropRow>[] = [
  { title: 'Reason', width: 9, cell: ({ name }) => name, order: ({ name }) => name },
  { title: 'Of', width: 5, cell: ({ dropper }) => dropper, order: ({ dropper }) => dropper },
  {
    title: 'Rate',
    unit: '/s',
    width: 5.5,
    isNumber: true,
    cell: ({ rate }) => numbers.count(rate),
    order: ({ rate }) => rate,
  },
  {
    title: 'Total',
    width: 7.5,
    isNumber: true,
    cell: ({ total }) => numbers.count(total),
    order: ({ total }) => total,
  },
];

const NO_ROWS: readonly DropRow[] = [];
const nameOf = ({ dropper, name }: DropRow) => `${dropper} ${name}`;
const isDropping = ({ rate }: DropRow) => (rate ?? 0) > 0;

export function Drops(): ReactNode {
  const { interval } = useDesk().known;
  const rows = interval === null ? NO_ROWS : sumsOf(interval).drops;
  return (
    <Panel title="Drops" counted={String(rows.length)}>
      <Grid
        label="Drops"
        rows={rows}
        columns={COLUMNS}
        keyOf={nameOf}
        sortedBy={null}
        none="Nothing was dropped."
        isAlarm={isDropping}
      />
    </Panel>
  );
}
