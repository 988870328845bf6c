/** A group in tables, for people. */
import { counted } from '../../domain/counts.js';
import type {
  FleetMemberRow,
  FleetStatus,
  FleetSubscriberRow,
  UpstreamState,
} from '../../domain/fleet.js';
import { type Cell, tableLines } from '../../terminal/tables.js';

export function statusText(status: FleetStatus): string {
  const { group, members, subscribers, free_shards, unowned, moving, no_room } = status;
  const parts = [
    [
      `group ${group}: ${counted(subscribers, 'subscriber')}, ${counted(members.length, 'member')}` +
        (free_shards > 0 ? `; ${free_shards} of 256 shards are nobody's, with ${unowned}` : '') +
        (moving > 0 ? `; ${moving} on their way` : ''),
    ],
    members.length === 0 ? [] : tableLines(MEMBER_HEAD, members.map(memberCells)),
    no_room === 0
      ? []
      : [
          `${counted(no_room, 'subscriber')} nobody serves, since tables are full: start more members`,
        ],
    members.flatMap(({ member, upstream, upstream_state: state }) =>
      state === null || state === 'feeds'
        ? []
        : [`${member} has no feed: ${upstream} ${LACKS[state]}`],
    ),
    members.flatMap(notServed),
    status.feeds.map(({ name, ip, port, source }) => {
      return `feed ${name}: ${ip}:${port}${source === null ? '' : `@${source}`}`;
    }),
    status.filters.map((row) => {
      const flags = `${row.default ? ', the default' : ''}${row.is_there ? '' : ', without its module'}`;
      return `filter ${row.name}: sha256 ${row.sha256}, ${counted(row.subscribers, 'subscriber')}${flags}`;
    }),
    status.pins.map(({ shard, member }) => `shard ${shard} was moved to ${member}`),
    [
      ...status.faults.map(({ key, wrong }) => `${key} is passed over: ${wrong}`),
      ...(status.fault_count > status.faults.length
        ? [`and ${status.fault_count - status.faults.length} keys more`]
        : []),
    ],
  ];
  return parts
    .filter(({ length }) => length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function notServed({ member, unserved, reasons, refused_relays }: FleetMemberRow): string[] {
  const rest = unserved - reasons.length - refused_relays.length;
  return [
    ...refused_relays.map(
      (row) => `${row.member} does not get its feed from ${member}: ${row.reason}`,
    ),
    ...reasons.map(
      ({ subscriber, reason }) => `${subscriber} is not served by ${member}: ${reason}`,
    ),
    ...(rest > 0 ? [`and ${rest} more by ${member}`] : []),
  ];
}

/** Of a relay's upstream. */
const LACKS: Readonly<Record<Exclude<UpstreamState, 'feeds'>, string>> = {
  absent: 'is not there',
  draining: 'is about to end',
  refuses: 'does not send it there; its reason is below',
};

const MEMBER_HEAD = [
  ...['member', 'state', 'weight', 'shards', 'subscribers', 'unserved', 'handover'],
  ...['listen', 'control', 'version'],
];

function memberCells(row: FleetStatus['members'][number]): Cell[] {
  const { member, weight, shards, subscribers, unserved, handover, listen, control } = row;
  const state = row.is_draining ? 'draining' : (row.standing ?? '-');
  return [
    ...[member, state, weight, shards, subscribers, unserved, handover],
    ...[`${listen.ip}:${listen.port}`, control, row.version],
  ];
}

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
