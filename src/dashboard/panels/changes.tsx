/** The log of changes: who asked for what, when, and how it was answered; the newest first. */
import { type ReactNode, useMemo } from 'react';
import type { ToldChange } from '../../domain/change.js';
import { useDesk } from '../desk.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';

interface Entry extends ToldChange {
  readonly key: string;
}

const COLUMNS: readonly Column<Entry>[] = [
  {
    title: 'When',
    width: 5.5,
    cell: ({ at_ms }) => (
      <time dateTime={new Date(at_ms).toISOString()}>{numbers.moment(at_ms)}</time>
    ),
  },
  { title: 'Who', unit: 'ip:port', width: 10, cell: ({ who }) => who },
  { title: 'What', width: 18, cell: (entry) => <span title={textOf(entry)}>{textOf(entry)}</span> },
  {
    title: 'Answer',
    width: 8,
    cell: ({ answer }) => (
      <span className={answer === 'ok' ? 'state live' : 'state refused'}>{answer}</span>
    ),
  },
];

function textOf({ what, times, last_ms }: Entry): string {
  return last_ms === undefined ? what : `${what} (${times} times, last ${numbers.moment(last_ms)})`;
}

const keyOf = ({ key }: Entry) => key;
const wasRefused = ({ answer }: Entry) => answer !== 'ok';

export function Changes(): ReactNode {
  const { changes } = useDesk().known;
  const rows = useMemo(() => entriesOf(changes), [changes]);
  return (
    <Panel title="Changes" counted={String(rows.length)}>
      <Grid
        label="Changes"
        rows={rows}
        columns={COLUMNS}
        keyOf={keyOf}
        sortedBy={null}
        none="Nothing was changed since the replicator started."
        isAlarm={wasRefused}
      />
    </Panel>
  );
}

/** Several may be of one millisecond. */
function entriesOf(changes: readonly ToldChange[]): Entry[] {
  const seen = new Map<number, number>();
  const entries = changes.map((change) => {
    const before = seen.get(change.at_ms) ?? 0;
    seen.set(change.at_ms, before + 1);
    return { ...change, key: `${change.at_ms} ${before}` };
  });
  return entries.reverse();
}
