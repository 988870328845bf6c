/** The filters of a group: modules in etcd, which members run where they allow their hashes. */
import { type ReactNode, useMemo, useState } from 'react';
import type { FleetFilterRow } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import { LoadFilter } from '../forms/load-filter.js';
import { UseFilter } from '../forms/use-filter.js';
import type { GroupReading } from '../link/group.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { RowButton } from '../parts/row-button.js';

const FIGURES: readonly Column<FleetFilterRow>[] = [
  { title: 'Filter', width: 7, cell: ({ name }) => name, order: ({ name }) => name },
  {
    title: 'Module',
    width: 6,
    cell: ({ is_there }) => (
      <span className={is_there ? 'state live' : 'state refused'}>
        {is_there ? 'in etcd' : 'missing'}
      </span>
    ),
  },
  { title: 'Default', width: 5, cell: (row) => (row.default ? 'yes' : numbers.NONE) },
  {
    title: 'Subscribers',
    width: 6.5,
    isNumber: true,
    cell: ({ subscribers }) => numbers.count(subscribers),
    order: ({ subscribers }) => subscribers,
  },
  {
    title: 'SHA-256',
    width: 8,
    cell: ({ sha256 }) => <span title={sha256}>{sha256.slice(0, 12)}</span>,
  },
];

const nameOf = ({ name }: FleetFilterRow) => name;
const isAlarm = ({ is_there }: FleetFilterRow) => !is_there;

export function GroupFilters({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { mayChange, canChange, change, confirm } = useDesk();
  const { filters } = reading.status;
  const [used, setUsed] = useState<string | null>(null);
  const columns = useMemo(() => {
    const actions: Column<FleetFilterRow> = {
      title: 'Change',
      width: 12,
      cell: ({ name }, isActive) => {
        const how = { name, isActive, isDisabled: !canChange };
        const unload = () =>
          void change({ op: 'fleet.filter.unload', name }, () => `${name} is unloaded.`);
        return (
          <span className="actions">
            <RowButton verb="Use as default" {...how} onClick={() => setUsed(name)} />
            <RowButton
              verb="Unload"
              {...how}
              onClick={() =>
                confirm({
                  title: `Unload ${name}?`,
                  loses: 'Its module goes from etcd; to use it again it has to be loaded again.',
                  verb: 'Unload',
                  perform: unload,
                })
              }
            />
          </span>
        );
      },
    };
    return mayChange ? [...FIGURES, actions] : FIGURES;
  }, [mayChange, canChange, change, confirm]);
  return (
    <Panel
      title="Filters"
      counted={String(filters.length)}
      aside={<span className="note">beside rewrite, which is built in</span>}
    >
      <Grid
        label="Filters"
        rows={filters}
        columns={columns}
        keyOf={nameOf}
        sortedBy={null}
        none="The group has no filter but the built-in one."
        isAlarm={isAlarm}
      />
      {mayChange ? <LoadFilter names={filters.map(nameOf)} /> : null}
      {used === null ? null : (
        <UseFilter subscriber={null} filter={used} onClose={() => setUsed(null)} />
      )}
    </Panel>
  );
}
