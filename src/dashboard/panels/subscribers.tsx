/** Who gets copies: rate, state and drops of each, and what can be done with it. */
import { type ReactNode, useMemo, useState } from 'react';
import { sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import { type Interval, rateOf } from '../../domain/reading.js';
import type { AccountRow, SubscriberRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { OfGroup } from '../forms/of-group.js';
import { SubscriberActions } from '../forms/subscriber-actions.js';
import { UseFilter } from '../forms/use-filter.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { Search } from '../parts/search.js';
import { AddSubscriber } from './add-subscriber.js';

export interface Subscriber {
  readonly name: string;
  readonly account: AccountRow;
  /** Null: it came between two questions. */
  readonly row: SubscriberRow | null;
  readonly sentRate: number | null;
  readonly bytesRate: number | null;
  readonly dropRate: number | null;
  readonly dropped: number;
}

/** In the order of `list`. */
function subscribersOf(interval: Interval): Subscriber[] {
  const { now, before } = interval;
  const then = new Map(before?.stats.subscribers.map((row) => [endpointText(row), row]));
  const listed = new Map(now.subscribers.map((row) => [endpointText(row), row]));
  return now.stats.subscribers.map((account) => {
    const name = endpointText(account);
    const old = then.get(name);
    const dropped = sumOf(account.drops);
    return {
      name,
      account,
      row: listed.get(name) ?? null,
      sentRate: rateOf(interval, account.sent, old?.sent),
      bytesRate: rateOf(interval, account.bytes, old?.bytes),
      dropRate: rateOf(interval, dropped, old && sumOf(old.drops)),
      dropped,
    };
  });
}

const addressOrder = ({ account: { ip, port } }: Subscriber): number =>
  ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) * 65536 + port;

const FIGURES: readonly Column<Subscriber>[] = [
  {
    title: 'Subscriber',
    unit: 'ip:port',
    width: 11,
    cell: ({ name }) => name,
    order: addressOrder,
  },
  {
    title: 'State',
    width: 6.5,
    cell: ({ row }) => <State state={row?.state} />,
    order: ({ row }) => row?.state ?? null,
  },
  {
    title: 'Out',
    unit: 'copies/s',
    width: 7,
    isNumber: true,
    cell: ({ sentRate }) => numbers.count(sentRate),
    order: ({ sentRate }) => sentRate,
  },
  {
    title: 'Out',
    unit: 'kB/s',
    width: 6,
    isNumber: true,
    cell: ({ bytesRate }) => numbers.kilobytes(bytesRate),
    order: ({ bytesRate }) => bytesRate,
  },
  {
    title: 'Sent',
    unit: 'copies',
    width: 7.5,
    isNumber: true,
    cell: ({ account }) => numbers.count(account.sent),
    order: ({ account }) => account.sent,
  },
  {
    title: 'In flight',
    width: 5,
    isNumber: true,
    cell: ({ account }) => numbers.count(account.in_flight),
    order: ({ account }) => account.in_flight,
  },
  {
    title: 'Drops',
    unit: '/s',
    width: 5.5,
    isNumber: true,
    cell: ({ dropRate }) => numbers.count(dropRate),
    order: ({ dropRate }) => dropRate,
  },
  {
    title: 'Drops by name',
    unit: 'copies',
    width: 12,
    cell: ({ account }) => <span className="drops">{numbers.drops(account.drops)}</span>,
    order: ({ dropped }) => -dropped,
  },
  {
    title: 'Filter',
    width: 6.5,
    cell: ({ row }) => row?.filter ?? numbers.NONE,
    order: ({ row }) => row?.filter ?? null,
  },
  {
    title: 'Feeds',
    width: 7,
    cell: ({ row }) => row?.feeds.join(', ') || numbers.NONE,
    order: ({ row }) => row?.feeds.join() ?? null,
  },
  {
    title: 'Lease',
    unit: 's',
    width: 4.5,
    isNumber: true,
    cell: ({ row }) => expiry(row),
  },
];

function expiry(row: SubscriberRow | null): string {
  const left = row?.expires_s ?? null;
  return typeof left === 'number' ? numbers.count(left) : (left ?? numbers.NONE);
}

function State({ state }: { readonly state: SubscriberRow['state'] | undefined }): ReactNode {
  return state === undefined ? numbers.NONE : <span className={`state ${state}`}>{state}</span>;
}

const nameOf = ({ name }: Subscriber) => name;
const isDropping = ({ dropRate }: Subscriber) => (dropRate ?? 0) > 0;

export function Subscribers(): ReactNode {
  const { known, mayChange } = useDesk();
  const { interval } = known;
  const [filtered, setFiltered] = useState<string | null>(null);
  const [pattern, setPattern] = useState('');
  const rows = useMemo(() => (interval === null ? [] : subscribersOf(interval)), [interval]);
  const shown = useMemo(() => rows.filter((row) => matches(row, pattern)), [rows, pattern]);
  const actions = useActions(setFiltered);
  const columns = useMemo(
    () => (mayChange ? [...FIGURES, actions] : FIGURES),
    [mayChange, actions],
  );
  const counted = pattern === '' ? `${rows.length}` : `${shown.length} of ${rows.length}`;
  return (
    <Panel
      title="Subscribers"
      counted={counted}
      aside={<Search pattern={pattern} onChange={setPattern} />}
    >
      <Grid
        label="Subscribers"
        rows={shown}
        columns={columns}
        keyOf={nameOf}
        sortedBy={0}
        none={rows.length === 0 ? 'Nobody is subscribed.' : 'No subscriber has that.'}
        isAlarm={isDropping}
      />
      {mayChange ? <AddSubscriber /> : <OfGroup what="Subscribers" />}
      {filtered === null ? null : (
        <UseFilter
          subscriber={filtered}
          filter={rows.find(({ name }) => name === filtered)?.row?.filter}
          onClose={() => setFiltered(null)}
        />
      )}
    </Panel>
  );
}

/** Words of what is shown of it, in capitals or not. */
function matches({ name, row }: Subscriber, pattern: string): boolean {
  if (pattern === '') return true;
  const text = `${name} ${row?.state} ${row?.filter} ${row?.feeds.join(' ')}`.toLowerCase();
  return text.includes(pattern.toLowerCase());
}

function useActions(onFilter: (name: string) => void): Column<Subscriber> {
  return useMemo(
    () => ({
      title: 'Change',
      width: 15,
      cell: ({ name, account: { ip, port }, row }, isActive) => (
        <SubscriberActions
          {...{ name, ip, port, isActive, onFilter }}
          isPaused={row?.state === 'paused'}
        />
      ),
    }),
    [onFilter],
  );
}
