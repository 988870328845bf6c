/** A group in tables, for people. */
import { counted } from '../../domain/counts.js';
import type {
  FleetMemberRow,
  FleetStatus,
  FleetSubscriberRow,
  UpstreamState,
} from '../../domain/fleet.js';
import { type Cell, tableLines } from '../../terminal/tables.js';
import { wrapped } from '../../terminal/wrapping.js';

/** Columns of a terminal; tables are wider where names of members have more than 16 characters. */
const WIDTH = 100;

/** All that a status has. */
export function statusText(status: FleetStatus): string {
  const { group, members, subscribers, revision } = status;
  const size = `${counted(subscribers, 'subscriber')}, ${counted(members.length, 'member')}`;
  const parts = [
    sentences([`group ${group}: ${size}; etcd is at revision ${revision}`, ...alarmsOf(status)]),
    table(MEMBER_HEAD, members.map(memberCells)),
    table(PLACE_HEAD, members.map(placeCells)),
    table(RELAY_HEAD, members.filter(isTimed).map(relayCells)),
    sentences(members.flatMap(lacksOf)),
    sentences(members.flatMap(unservedOf)),
    sentences(status.feeds.map(feedText)),
    status.filters.flatMap(filterLines),
    sentences(status.pins.map(({ shard, member }) => `shard ${shard} was moved to ${member}`)),
    sentences(faultsOf(status)),
  ];
  return parts
    .filter(({ length }) => length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

const sentences = (texts: readonly string[]) => texts.flatMap((text) => wrapped(text, WIDTH, 2));

const table = (head: readonly string[], rows: readonly (readonly Cell[])[]) =>
  rows.length === 0 ? [] : tableLines(head, rows);

/** What is not as it should be, or not for long, in the order of how much it matters. */
function alarmsOf(status: FleetStatus): string[] {
  const { members, free_shards, unowned, unserved, no_room, moving, fault_count } = status;
  const alarms: [boolean, string][] = [
    [members.length === 0, 'no member has joined: nobody is served'],
    [
      free_shards > 0,
      `${free_shards} of 256 shards are nobody's, with ${counted(unowned, 'subscriber')}`,
    ],
    [unserved > 0, `${unserved} are not served by the members that should; why is below`],
    [
      no_room > 0,
      `${counted(no_room, 'subscriber')} nobody serves, since tables are full: start more members`,
    ],
    [fault_count > 0, `${counted(fault_count, 'key')} in etcd passed over; which is below`],
    [moving > 0, `${counted(moving, 'shard')} on the way to another member`],
  ];
  return alarms.filter(([isSo]) => isSo).map(([, text]) => text);
}

// ---- members ------------------------------------------------------------------------------------

const COUNTS = ['weight', 'shards', 'subscribers', 'unserved', 'no room', 'handover'];
const MEMBER_HEAD = ['member', 'state', ...COUNTS];

function memberCells(row: FleetMemberRow): Cell[] {
  const { member, weight, shards, subscribers, unserved, no_room, handover } = row;
  const state = row.is_draining ? 'draining' : (row.standing ?? '-');
  return [member, state, weight, shards, subscribers, unserved, no_room, handover];
}

const PLACE_HEAD = ['member', 'listen', 'control', 'since', 'version'];

function placeCells({ member, listen, control, version, started_at_ms }: FleetMemberRow): Cell[] {
  const since = started_at_ms === null ? '-' : minuteOf(started_at_ms);
  return [member, `${listen.ip}:${listen.port}`, control, since, version];
}

/** 2026-11-28T09:21Z: members may be anywhere. */
const minuteOf = (at_ms: number) => `${new Date(at_ms).toISOString().slice(0, 16)}Z`;

// ---- relays -------------------------------------------------------------------------------------

const isTimed = ({ upstream, inside_ns }: FleetMemberRow) =>
  upstream !== null || inside_ns !== null;

const RELAY_HEAD = ['member', 'feed from', 'feed', 'way there µs', 'inside p50 µs', 'p99 µs'];

function relayCells(row: FleetMemberRow): Cell[] {
  const { member, upstream, upstream_state, link_us, inside_ns } = row;
  const inside = inside_ns === null ? ['-', '-'] : [inside_ns.p50 / 1000, inside_ns.p99 / 1000];
  return [member, upstream ?? 'network', upstream_state ?? '-', link_us ?? '-', ...inside];
}

/** Of a relay's upstream. */
const LACKS: Readonly<Record<Exclude<UpstreamState, 'feeds'>, string>> = {
  absent: 'is not there',
  draining: 'is about to end',
  refuses: 'does not send it there; its reason is below',
};

const lacksOf = ({ member, upstream, upstream_state: state }: FleetMemberRow) =>
  state === null || state === 'feeds' ? [] : [`${member} has no feed: ${upstream} ${LACKS[state]}`];

// ---- what is not so -----------------------------------------------------------------------------

function unservedOf({ member, unserved, reasons, refused_relays }: FleetMemberRow): string[] {
  const rest = unserved - reasons.length - refused_relays.length;
  return [
    ...refused_relays.map((relay) => {
      return `${relay.member} does not get its feed from ${member}: ${relay.reason}`;
    }),
    ...reasons.map(({ subscriber, reason }) => {
      return `${subscriber} is not served by ${member}: ${reason}`;
    }),
    ...(rest > 0 ? [`and ${rest} more by ${member}`] : []),
  ];
}

function faultsOf({ faults, fault_count }: FleetStatus): string[] {
  const rest = fault_count - faults.length;
  return [
    ...faults.map(({ key, wrong }) => `${key} is passed over: ${wrong}`),
    ...(rest > 0 ? [`and ${counted(rest, 'key')} more`] : []),
  ];
}

// ---- feeds and filters --------------------------------------------------------------------------

const feedText = ({ name, ip, port, source }: FleetStatus['feeds'][number]) =>
  `feed ${name}: ${ip}:${port}${source === null ? '' : `@${source}`}`;

/** The hash on a line of its own: --fleet-allow-module takes the whole of it. */
function filterLines(row: FleetStatus['filters'][number]): string[] {
  const flags = `${row.default ? ', the default' : ''}${row.is_there ? '' : ', without its module'}`;
  const users = counted(row.subscribers, 'subscriber');
  return [`filter ${row.name}: ${users}${flags}`, `  sha256 ${row.sha256}`];
}

// ---- subscribers --------------------------------------------------------------------------------

export function listText(subscribers: readonly FleetSubscriberRow[]): string {
  if (subscribers.length === 0)
    return 'no subscribers; add one with: fantail fleet add <dest_ip> <dest_port>';
  const rows = subscribers.map((row) => {
    const { ip, port, member, shard, filter, param, feeds, paused } = row;
    const state = paused ? 'paused' : '';
    return [ip, String(port), member ?? '-', shard, filter ?? '-', param, feeds.join(','), state];
  });
  const head = ['ip', 'port', 'member', 'shard', 'filter', 'param', 'feeds', ''];
  return tableLines(head, rows).join('\n');
}
