/** Who serves: how each member stands, what it has, and from whom it takes the feed. */
import { type ReactNode, useMemo } from 'react';
import { endpointText } from '../../domain/endpoint.js';
import type { FleetMemberRow, FleetRow, Standing } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import type { GroupReading } from '../link/group.js';
import { type Column, Grid } from '../parts/grid.js';
import * as numbers from '../parts/numbers.js';
import { Panel } from '../parts/panel.js';
import { DrainMember } from './drain-member.js';

interface Member {
  readonly row: FleetMemberRow;
  /** The one whose page this is. */
  readonly isThis: boolean;
  /** Who take their feed from it. */
  readonly relays: readonly string[];
  /** Why its upstream does not send it the feed, as far as that tells. */
  readonly refusal: string | undefined;
}

/** What this member says of itself at this moment is newer than what etcd has of it. */
function membersOf({ status: { members } }: GroupReading, own: FleetRow | null): Member[] {
  return members.map((row) => {
    const isThis = row.member === own?.member;
    const relays = members.filter(({ upstream }) => upstream === row.member);
    const said = isThis ? { standing: own.standing, is_draining: own.is_draining } : {};
    const upstream = members.find(({ member }) => member === row.upstream);
    const refused = upstream?.refused_relays.find(({ member }) => member === row.member);
    const names = relays.map(({ member }) => member);
    return { row: { ...row, ...said }, isThis, relays: names, refusal: refused?.reason };
  });
}

/** It is no relay, or its upstream sends to it as far as that tells. */
const isFed = ({ upstream_state }: FleetMemberRow) =>
  upstream_state === null || upstream_state === 'feeds';

const STATES: Readonly<Record<Standing, readonly [words: string, look: string]>> = {
  joined: ['serving', 'live'],
  unsure: ['unsure', 'unresolved'],
  cut: ['cut off', 'refused'],
  registry_gone: ['etcd is gone', 'unresolved'],
  isolated: ['isolated', 'unresolved'],
  fenced: ['fenced', 'refused'],
};

/** Another version may have words of its own. */
function stateOf({ standing, is_draining }: FleetMemberRow): readonly [string, string] {
  if (standing === null) return ['starting', 'unresolved'];
  const [words, look] = Object.hasOwn(STATES, standing)
    ? STATES[standing as Standing]
    : [standing, ''];
  return is_draining && standing === 'joined' ? ['draining', 'paused'] : [words, look];
}

function State({ row }: { readonly row: FleetMemberRow }): ReactNode {
  const [words, look] = stateOf(row);
  return <span className={`state ${look}`}>{words}</span>;
}

const FIGURES: readonly Column<Member>[] = [
  {
    title: 'Member',
    width: 8,
    cell: ({ row, isThis }) => (
      <>
        {row.member}
        {isThis ? <small> this one</small> : null}
      </>
    ),
    order: ({ row }) => row.member,
  },
  {
    title: 'State',
    width: 7,
    cell: ({ row }) => <State row={row} />,
    order: ({ row }) => stateOf(row)[0],
  },
  {
    title: 'Shards',
    width: 5,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.shards),
    order: ({ row }) => row.shards,
  },
  {
    title: 'Subscribers',
    width: 7,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.subscribers),
    order: ({ row }) => row.subscribers,
  },
  {
    title: 'Not served',
    width: 7,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.unserved),
    order: ({ row }) => row.unserved,
  },
  {
    title: 'Weight',
    width: 5,
    isNumber: true,
    cell: ({ row }) => row.weight,
    order: ({ row }) => row.weight,
  },
  {
    title: 'Handover',
    unit: 'copies',
    width: 9.25,
    isNumber: true,
    cell: ({ row }) => numbers.count(row.handover),
    order: ({ row }) => row.handover,
  },
  {
    title: 'Feed from',
    width: 6.5,
    cell: ({ row, refusal }) => {
      if (row.upstream === null) return 'network';
      if (isFed(row)) return row.upstream;
      const why = `${row.upstream} ${row.upstream_state}${refusal === undefined ? '' : `: ${refusal}`}`;
      return <span title={why}>{why}</span>;
    },
    order: ({ row }) => row.upstream,
  },
  {
    title: 'Way there',
    unit: 'µs',
    width: 7.5,
    isNumber: true,
    cell: ({ row }) => row.link_us?.toFixed(1) ?? numbers.NONE,
    order: ({ row }) => row.link_us,
  },
  {
    title: 'Inside p99',
    unit: 'µs',
    width: 8,
    isNumber: true,
    cell: ({ row }) => numbers.microseconds(row.inside_ns?.p99),
    order: ({ row }) => row.inside_ns?.p99 ?? null,
  },
  { title: 'Control', width: 10.5, cell: ({ row }) => row.control.replace(/^https?:\/\//, '') },
  { title: 'Listens', unit: 'ip:port', width: 9.25, cell: ({ row }) => endpointText(row.listen) },
  { title: 'Version', width: 5, cell: ({ row }) => row.version },
  {
    title: 'Since',
    width: 5.5,
    cell: ({ row: { started_at_ms } }) =>
      started_at_ms === null ? numbers.NONE : numbers.moment(started_at_ms),
    order: ({ row }) => row.started_at_ms,
  },
];

const nameOf = ({ row }: Member) => row.member;
const isAlarm = ({ row }: Member) =>
  stateOf(row)[1] === 'refused' || row.unserved > 0 || !isFed(row);

export function Members({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { fleet, mayChange } = useDesk();
  const rows = useMemo(() => membersOf(reading, fleet), [reading, fleet]);
  const columns = useMemo(() => {
    const heirsOf = (name: string) =>
      rows.filter(({ row }) => row.member !== name && !row.is_draining).length;
    const drain: Column<Member> = {
      title: 'Change',
      width: 5,
      cell: ({ row, isThis, relays }, isActive) => (
        <DrainMember {...{ row, isThis, relays, isActive }} heirs={heirsOf(row.member)} />
      ),
    };
    return mayChange ? [...FIGURES, drain] : FIGURES;
  }, [mayChange, rows]);
  return (
    <Panel title="Members" counted={String(rows.length)}>
      <Grid
        label="Members"
        rows={rows}
        columns={columns}
        keyOf={nameOf}
        sortedBy={null}
        none="No member has joined."
        isAlarm={isAlarm}
      />
    </Panel>
  );
}
