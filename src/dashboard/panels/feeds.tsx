/** What comes in: rate, bytes, slow path and drops of each feed; feeds come and go here. */
import { type ReactNode, useMemo } from 'react';
import { sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import { dropsOfFeed, type Interval, rateOf } from '../../domain/reading.js';
import type { FeedRow } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { AddFeed } from '../forms/add-feed.js';
import { OfGroup } from '../forms/of-group.js';
import { RemoveFeed } from '../forms/remove-feed.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';

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
  const { known, mayChange } = useDesk();
  const { interval } = known;
  const rows = useMemo(() => (interval === null ? [] : feedsOf(interval)), [interval]);
  const columns = useMemo(() => {
    const first = interval?.now.stats.feeds[0]?.name;
    const actions: Column<Feed> = {
      title: 'Change',
      width: 5.5,
      cell: ({ row: { name, subscribers } }, isActive) =>
        name === first ? null : <RemoveFeed {...{ name, subscribers, isActive }} />,
    };
    return mayChange ? [...FIGURES, actions] : FIGURES;
  }, [mayChange, interval?.now.stats.feeds[0]?.name]);
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
      {mayChange ? <AddFeed /> : <OfGroup what="Feeds but main" />}
    </Panel>
  );
}
