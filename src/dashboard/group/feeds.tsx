/** Feeds that all members receive; they come and go here. */
import { type ReactNode, useMemo } from 'react';
import { endpointText } from '../../domain/endpoint.js';
import type { FleetFeedRow } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import { AddFeed } from '../forms/add-feed.js';
import { RemoveFeed } from '../forms/remove-feed.js';
import type { GroupReading } from '../link/group.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { feedCounts } from './rows.js';

interface Feed {
  readonly row: FleetFeedRow;
  readonly subscribers: number;
}

const FIGURES: readonly Column<Feed>[] = [
  { title: 'Feed', width: 6.5, cell: ({ row }) => row.name, order: ({ row }) => row.name },
  { title: 'Address', unit: 'ip:port@source', width: 14, cell: ({ row }) => addressOf(row) },
  {
    title: 'Subscribers',
    width: 6.5,
    isNumber: true,
    cell: ({ subscribers }) => numbers.count(subscribers),
    order: ({ subscribers }) => subscribers,
  },
];

const CHANGE: Column<Feed> = {
  title: 'Change',
  width: 5.5,
  cell: ({ row: { name }, subscribers }, isActive) => (
    <RemoveFeed {...{ name, subscribers, isActive }} />
  ),
};

const addressOf = (row: FleetFeedRow): string =>
  `${endpointText(row)}${row.source === null ? '' : `@${row.source}`}`;

const nameOf = ({ row }: Feed) => row.name;

export function GroupFeeds({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { mayChange } = useDesk();
  const rows = useMemo(() => {
    const countOf = feedCounts(reading);
    return reading.status.feeds.map((row) => ({ row, subscribers: countOf(row.name) }));
  }, [reading]);
  return (
    <Panel
      title="Feeds"
      counted={String(rows.length)}
      aside={<span className="note">beside main, which is each member's own</span>}
    >
      <Grid
        label="Feeds"
        rows={rows}
        columns={mayChange ? [...FIGURES, CHANGE] : FIGURES}
        keyOf={nameOf}
        sortedBy={null}
        none="The group has no feed but main."
      />
      {mayChange ? <AddFeed /> : null}
    </Panel>
  );
}
