/** What stands in etcd below the group's name and is passed over, since it is not what it should be. */
import type { ReactNode } from 'react';
import type { FleetStatus } from '../../domain/fleet.js';
import type { GroupReading } from '../link/group.js';
import { type Column, Grid } from '../parts/grid.js';
import { Panel } from '../parts/panel.js';

type Fault = FleetStatus['faults'][number];

const COLUMNS: readonly Column<Fault>[] = [
  { title: 'Key', width: 16, cell: ({ key }) => <span title={key}>{key}</span> },
  { title: 'Wrong', width: 16, cell: ({ wrong }) => <span title={wrong}>{wrong}</span> },
];

const keyOf = ({ key }: Fault) => key;
const isAlarm = () => true;

/** Nothing where there are none. */
export function GroupFaults({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { faults, fault_count } = reading.status;
  if (faults.length === 0) return null;
  return (
    <Panel title="Passed over" counted={String(fault_count)}>
      <Grid
        label="Passed over"
        rows={faults}
        columns={COLUMNS}
        keyOf={keyOf}
        sortedBy={null}
        none=""
        isAlarm={isAlarm}
      />
    </Panel>
  );
}
