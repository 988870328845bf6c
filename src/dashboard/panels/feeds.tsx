/** What comes in: rate, bytes, slow path and drops of each feed; feeds come and go here. */
import { type ReactNode, useMemo, useState } from 'react';
import { sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import { feedAddressOf } from '../../domain/feed.js';
import { dropsOfFeed, type Interval, rateOf } from '../../domain/reading.js';
import type { FeedRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { RowButton } from '../parts/row-button.js';

interface Feed {
  readonly row: FeedRow;
  readonly rate: number | null;
  readonly bytesRate: number | null;
  readonly dropRate: number | null;
}

function feedsOf(interval: Interval): Feed[] {
  const then = new Map(interval.before?.stats.feeds.map((row) => [row.name, row]));
  return interval.now.stats.feeds.map((row) => {
    const old = then.get(row.name);
    return {
      row,
      rate: rateOf(interval, row.received, old?.received),
      bytesRate: rateOf(interval, row.bytes, old?.bytes),
      dropRate: rateOf(interval, sumOf(dropsOfFeed(row)), old && sumOf(dropsOfFeed(old))),
    };
  });
}

const FIGURES: readonly Column<Feed>[] = [
  { title: 'Feed', width: 6.5, cell: ({ row }) => row.name, order: ({ row }) => row.name },
  { title: 'Address', unit: 'ip:port@source', width: 12, cell: ({ row }) => addressOf(row) },
  {
    title: 'In',
    unit: 'packets/s',
    width: 7,
    isNumber: true,
    cell: ({ rate }) => numbers.count(rate),
    order: ({ rate }) => rate,
  },
  {
    title: 'In',
    unit: 'kB/s',
    width: 6.5,
    isNumber: true,
    cell: ({ bytesRate }) => numbers.kilobytes(bytesRate),
    order: ({ bytesRate }) => bytesRate,
  },
  {
    title: 'Received',
    unit: 'packets',
    width: 9.5,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.received),
    order: ({ row }) => row.received,
  },
  {
    title: 'Received',
    unit: 'bytes',
    width: 9.5,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.bytes),
    order: ({ row }) => row.bytes,
  },
  {
    title: 'Slow path',
    unit: 'packets',
    width: 9,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.slow_path),
    order: ({ row }) => row.slow_path,
  },
  {
    title: 'Subscribers',
    width: 6.5,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.subscribers),
    order: ({ row }) => row.subscribers,
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
    unit: 'packets',
    width: 12,
    cell: ({ row }) => <span className="drops">{numbers.drops(dropsOfFeed(row))}</span>,
  },
];

function addressOf(row: FeedRow): string {
  const left = row.joined === false ? ' (not a member of its group)' : '';
  return `${endpointText(row)}${row.source === null ? '' : `@${row.source}`}${left}`;
}

const nameOf = ({ row }: Feed) => row.name;
const isDropping = ({ dropRate, row }: Feed) => (dropRate ?? 0) > 0 || row.joined === false;

export function Feeds(): ReactNode {
  const { known, mayChange, canChange, change, confirm } = useDesk();
  const { interval } = known;
  const rows = useMemo(() => (interval === null ? [] : feedsOf(interval)), [interval]);
  const columns = useMemo(() => {
    const first = interval?.now.stats.feeds[0]?.name;
    const actions: Column<Feed> = {
      title: 'Change',
      width: 5.5,
      cell: ({ row: { name, subscribers } }, isActive) =>
        name === first ? null : (
          <RowButton
            verb="Remove"
            name={`feed ${name}`}
            isActive={isActive}
            isDisabled={!canChange}
            onClick={() =>
              confirm({
                title: `Remove feed ${name}?`,
                loses: `Its packets are received no more; ${subscribers} subscribers get them now.`,
                verb: 'Remove',
                perform: () =>
                  void change({ op: 'feed.remove', name }, ({ removed }) =>
                    removed ? `Feed ${name} is removed.` : `Feed ${name} was not there any more.`,
                  ),
              })
            }
          />
        ),
    };
    return mayChange ? [...FIGURES, actions] : FIGURES;
  }, [mayChange, canChange, change, confirm, interval?.now.stats.feeds[0]?.name]);
  return (
    <Panel title="Feeds" counted={String(rows.length)}>
      <Grid
        label="Feeds"
        rows={rows}
        columns={columns}
        keyOf={nameOf}
        sortedBy={null}
        none="There is no feed."
        isAlarm={isDropping}
      />
      {mayChange ? <AddFeed /> : null}
    </Panel>
  );
}

function AddFeed(): ReactNode {
  const { canChange, change } = useDesk();
  const [name, setName] = useState('');
  const [address, setAddress] = useState('');
  const add = async () => {
    // what is no address is sent as it is: the server says what is wrong with it
    const { source = null, ...to } = feedAddressOf(address) ?? { ip: address, port: 0 };
    const from = source === null ? {} : { source };
    const isDone = await change({ op: 'feed.add', name, ...to, ...from }, ({ existing }) =>
      existing ? `Feed ${name} was there already.` : `Feed ${name} is added.`,
    );
    if (!isDone) return;
    setName('');
    setAddress('');
  };
  return (
    <form
      aria-label="Add a feed"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <Field label="Name" value={name} hint="b" size={8} isRequired onChange={setName} />
      <Field
        label="Address"
        value={address}
        hint="239.1.1.1:5000@10.0.0.9"
        size={22}
        isRequired
        onChange={(value) => setAddress(value.trim())}
      />
      <button type="submit" className="main" disabled={!canChange}>
        Add feed
      </button>
    </form>
  );
}
