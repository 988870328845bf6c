/** Who is subscribed in the group, who serves each, and what can be done with it. */
import { type ReactNode, useMemo, useState } from 'react';
import { useDesk } from '../desk.js';
import { SubscriberActions } from '../forms/subscriber-actions.js';
import { UseFilter } from '../forms/use-filter.js';
import type { GroupReading } from '../link/group.js';
import { type Column, Grid } from '../parts/grid.js';
import { NONE } from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { Search } from '../parts/search.js';
import { AddToGroup } from './add-to-group.js';
import { MoveSubscriber } from './move-subscriber.js';
import { type GroupSubscriber, rowsOf, type State } from './rows.js';

const STATES: Readonly<Record<State, readonly [words: string, look: string]>> = {
  served: ['served', 'live'],
  paused: ['paused', 'paused'],
  waits: ['of no member', 'unresolved'],
  refused: ['not served', 'refused'],
  unknown: [NONE, ''],
};

const FIGURES: readonly Column<GroupSubscriber>[] = [
  {
    title: 'Subscriber',
    unit: 'ip:port',
    width: 11,
    cell: ({ name }) => name,
    order: ({ order }) => order,
  },
  {
    title: 'State',
    width: 7,
    cell: ({ state }) => {
      const [words, look] = STATES[state];
      return <span className={`state ${look}`}>{words}</span>;
    },
    order: ({ state }) => STATES[state][0],
  },
  {
    title: 'Member',
    width: 8,
    cell: ({ row, isMoved }) => (
      <>
        {row.member ?? NONE}
        {isMoved ? <small> moved</small> : null}
      </>
    ),
    order: ({ row }) => row.member,
  },
  {
    title: 'Feeds',
    width: 8,
    cell: ({ row }) => row.feeds.join(', '),
    order: ({ row }) => row.feeds.join(),
  },
  {
    title: 'Filter',
    width: 7,
    cell: ({ row }) => row.filter ?? 'default',
    order: ({ row }) => row.filter,
  },
  {
    title: 'Parameter',
    width: 8,
    cell: ({ row }) => row.param || NONE,
    order: ({ row }) => row.param || null,
  },
  {
    title: 'Shard',
    width: 4.5,
    isNumber: true,
    cell: ({ row }) => row.shard,
    order: ({ row }) => row.shard,
  },
];

const WHY: Column<GroupSubscriber> = {
  title: 'Why not',
  width: 26,
  cell: ({ reason }) => (
    <span className="drops" title={reason}>
      {reason}
    </span>
  ),
  order: ({ reason }) => reason || null,
};

const nameOf = ({ name }: GroupSubscriber) => name;
const isAlarm = ({ state }: GroupSubscriber) => state === 'refused' || state === 'waits';

/** What is asked in a dialog, and of whom. */
interface Asked {
  readonly what: 'filter' | 'move';
  readonly name: string;
}

export function GroupSubscribers({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { mayChange } = useDesk();
  const [asked, setAsked] = useState<Asked | null>(null);
  const [pattern, setPattern] = useState('');
  const rows = useMemo(() => rowsOf(reading), [reading]);
  const shown = useMemo(() => rows.filter((row) => matches(row, pattern)), [rows, pattern]);
  const isAnyRefused = useMemo(() => rows.some(({ state }) => state === 'refused'), [rows]);
  const columns = useMemo(() => {
    const figures = isAnyRefused ? [...FIGURES, WHY] : FIGURES;
    return mayChange ? [...figures, actionsOf(setAsked)] : figures;
  }, [mayChange, isAnyRefused]);
  const one = rows.find(({ name }) => name === asked?.name);
  const close = () => setAsked(null);
  return (
    <Panel
      title="Subscribers"
      counted={pattern === '' ? `${rows.length}` : `${shown.length} of ${rows.length}`}
      aside={<Search pattern={pattern} onChange={setPattern} />}
    >
      <Grid
        label="Subscribers"
        rows={shown}
        columns={columns}
        keyOf={nameOf}
        sortedBy={0}
        none={rows.length === 0 ? 'Nobody is subscribed.' : 'No subscriber has that.'}
        isAlarm={isAlarm}
      />
      {mayChange ? <AddToGroup /> : null}
      {asked?.what === 'filter' ? (
        <UseFilter subscriber={asked.name} filter={one?.row.filter ?? undefined} onClose={close} />
      ) : null}
      {asked?.what === 'move' && one !== undefined ? (
        <MoveSubscriber subscriber={one} status={reading.status} onClose={close} />
      ) : null}
    </Panel>
  );
}

/** Words of what is shown of it, in capitals or not. */
function matches({ name, row, state, reason }: GroupSubscriber, pattern: string): boolean {
  if (pattern === '') return true;
  const { member, feeds, filter } = row;
  const text = `${name} ${STATES[state][0]} ${member} ${filter} ${feeds.join(' ')} ${reason}`;
  return text.toLowerCase().includes(pattern.toLowerCase());
}

const actionsOf = (onAsk: (asked: Asked) => void): Column<GroupSubscriber> => ({
  title: 'Change',
  width: 17,
  cell: ({ name, row: { ip, port, paused } }, isActive) => (
    <SubscriberActions
      {...{ name, ip, port, isActive }}
      isPaused={paused}
      onFilter={() => onAsk({ what: 'filter', name })}
      onMove={() => onAsk({ what: 'move', name })}
    />
  ),
});
