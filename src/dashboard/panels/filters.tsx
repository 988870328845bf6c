/** The filters that are loaded: who has them, what they cost, and how another is loaded. */
import { type ReactNode, useMemo, useState } from 'react';
import type { FilterRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { LoadFilter } from '../forms/load-filter.js';
import { OfGroup } from '../forms/of-group.js';
import { UseFilter } from '../forms/use-filter.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { RowButton } from '../parts/row-button.js';
import { AboutFilter } from './about-filter.js';

const FIGURES: readonly Column<FilterRow>[] = [
  { title: 'Filter', width: 7, cell: ({ name }) => name, order: ({ name }) => name },
  {
    title: 'Status',
    width: 7,
    cell: ({ status, rollback }) => (
      <span className={status === 'ready' ? 'state live' : 'state unresolved'}>
        {status === 'ready' && rollback !== null ? 'ready, was rolled back' : status}
      </span>
    ),
  },
  { title: 'For new', width: 5.5, cell: (row) => (row.default ? 'yes' : numbers.NONE) },
  {
    title: 'Subscribers',
    width: 6.5,
    isNumber: true,
    cell: ({ subscribers }) => numbers.count(subscribers),
    order: ({ subscribers }) => subscribers,
  },
  {
    title: 'Size',
    unit: 'bytes',
    width: 6,
    isNumber: true,
    cell: ({ size }) => numbers.count(size),
    order: ({ size }) => size,
  },
  { title: 'SHA-256', width: 7.5, cell: ({ hash }) => hash.slice(0, 12) },
];

const nameOf = ({ name }: FilterRow) => name;
const isAlarm = ({ status }: FilterRow) => status === 'rolled_back';

export function Filters(): ReactNode {
  const { known, mayChange, canChange, change, confirm } = useDesk();
  const [used, setUsed] = useState<string | null>(null);
  const [about, setAbout] = useState<string | null>(null);
  const columns = useMemo(() => {
    const actions: Column<FilterRow> = {
      title: 'Look, change',
      width: mayChange ? 15 : 6.5,
      cell: ({ name, status }, isActive) => (
        <span className="actions">
          <RowButton verb="Info" name={name} isActive={isActive} onClick={() => setAbout(name)} />
          {mayChange ? (
            <>
              <RowButton
                verb="Use for all"
                name={name}
                isActive={isActive}
                isDisabled={!canChange || status !== 'ready'}
                onClick={() => setUsed(name)}
              />
              <RowButton
                verb="Unload"
                name={name}
                isActive={isActive}
                isDisabled={!canChange}
                onClick={() =>
                  confirm({
                    title: `Unload ${name}?`,
                    loses: 'The module is forgotten; to use it again it has to be loaded again.',
                    verb: 'Unload',
                    perform: () =>
                      void change({ op: 'filter.unload', name }, () => `${name} is unloaded.`),
                  })
                }
              />
            </>
          ) : null}
        </span>
      ),
    };
    return [...FIGURES, actions];
  }, [mayChange, canChange, change, confirm]);
  return (
    <Panel title="Filters" counted={String(known.filters.length)}>
      <Grid
        label="Filters"
        rows={known.filters}
        columns={columns}
        keyOf={nameOf}
        sortedBy={null}
        none="No filter is loaded."
        isAlarm={isAlarm}
      />
      {mayChange ? (
        <LoadFilter names={known.filters.map(nameOf)} />
      ) : (
        <OfGroup what="Filters but the built-in one" />
      )}
      {used === null ? null : (
        <UseFilter subscriber={null} filter={used} onClose={() => setUsed(null)} />
      )}
      {about === null ? null : <AboutFilter name={about} onClose={() => setAbout(null)} />}
    </Panel>
  );
}
