/** What the demo of a group shows: one view a second, as a table or as JSON. Pure. */
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { IS_CLONE } from '../../domain/installation.js';
import { grouped } from '../../terminal/tables.js';
import type { Sheet } from '../screen.js';
import type { Received } from './messages.js';
import { FEED } from './scene.js';

/** Longer than that without a packet: nobody serves. */
const SILENT_MS = 500;

export interface MemberView {
  readonly name: string;
  readonly state: 'serving' | 'starting' | 'draining' | 'dead';
  readonly control: string;
  /** Of 256; null where etcd does not tell. */
  readonly shards: number | null;
}

export interface SubscriberView extends Endpoint, Received {
  /** Packets a second since the last view. */
  readonly rate: number;
}

export interface FleetView {
  readonly seconds: number;
  /** The last view of a demo that stops. */
  readonly isFinal: boolean;
  readonly fleet: string;
  readonly isEtcdThere: boolean;
  readonly feed: { readonly rate: number; readonly sent: number; readonly refused: number };
  readonly members: readonly MemberView[];
  /** Their addresses, as copies come from them: a name of a member each. */
  readonly names: ReadonlyMap<string, string>;
  readonly subscribers: readonly SubscriberView[];
}

const whole = (value: number) => grouped(Math.round(value));

const COLUMNS = [
  ['subscriber', 20],
  ['served by', 22],
  ['packets/s', 10],
  ['received', 10],
  ['missed', 8],
  ['twice', 7],
  ['longest silence', 17],
] as const;

function cells(values: readonly string[]): string {
  return COLUMNS.map(([, width], index) => {
    const value = values[index] ?? '';
    return index < 2 ? value.padEnd(width) : value.padStart(width);
  })
    .join('')
    .trimEnd();
}

/** The member that serves it now; null: nobody does. */
export function servedBy(view: FleetView, { sender, sinceMs }: Received): string | null {
  if (sender === null || (sinceMs > SILENT_MS && !view.isFinal)) return null;
  return view.names.get(sender) ?? sender;
}

function subscriberLine(view: FleetView, row: SubscriberView): string {
  const owner = servedBy(view, row);
  const since = row.sender === null ? '' : ` for ${(row.sinceMs / 1000).toFixed(1)} s`;
  const counts = [row.rate, row.received, row.missed, row.twice].map(whole);
  return cells([
    endpointText(row),
    owner ?? `nobody${since}`,
    ...counts,
    `${whole(row.silenceMs)} ms`,
  ]);
}

function memberLine(view: FleetView, { name, state, shards, control }: MemberView): string {
  const serves = view.subscribers.filter((row) => servedBy(view, row) === name).length;
  const parts = [name.padEnd(8), state.padEnd(12), `${serves} subscribers`.padEnd(16)];
  parts.push((shards === null ? '' : `${shards} shards`).padEnd(12), control);
  return parts.join('').trimEnd();
}

/** The view as a table, line by line. */
export function fleetLines(view: FleetView): string[] {
  const { feed, members, subscribers, fleet, isEtcdThere, seconds } = view;
  const refused = feed.refused > 0 ? `, ${whole(feed.refused)} refused by the kernel` : '';
  return [
    `fantail fleet demo: ${endpointText(FEED)} to ${subscribers.length} subscribers by a group of ${members.length}, ${whole(seconds)} s`,
    `feed    ${whole(feed.rate)} packets/s, ${whole(feed.sent)} sent${refused}`,
    `etcd    ${isEtcdThere ? fleet : 'taken away: the group goes on with what it has'}`,
    '',
    ...members.map((member) => memberLine(view, member)),
    '',
    cells(COLUMNS.map(([title]) => title)),
    ...subscribers.map((row) => subscriberLine(view, row)),
  ];
}

/** What stands below the table. */
export function fleetHints(fleet: string): string[] {
  return [
    'keys: 1 2 3 kills that member (-9), or starts it again; 4 5 6 drains it;',
    '      0 takes etcd away, or brings it back. Ctrl-C ends the demo.',
    `in another shell${IS_CLONE ? ', in this folder' : ''}:`,
    `    ${IS_CLONE ? 'npx ' : ''}fantail fleet status --fleet ${fleet}`,
  ];
}

/** One JSON object without a line end. */
export function fleetJson(view: FleetView): string {
  const { isFinal, isEtcdThere, names: _, subscribers, ...rest } = view;
  return JSON.stringify({
    ...rest,
    final: isFinal,
    etcd: isEtcdThere ? 'there' : 'away',
    subscribers: subscribers.map((row) => ({
      ...{ ip: row.ip, port: row.port, served_by: servedBy(view, row), rate: row.rate },
      ...{ received: row.received, missed: row.missed, twice: row.twice },
      longest_silence_ms: row.silenceMs,
    })),
  });
}

export const FLEET_SHEET: Sheet<FleetView> = {
  lines: fleetLines,
  hints: ({ fleet }) => fleetHints(fleet),
  json: fleetJson,
  isToCopy: (line) => line.includes('fantail fleet status'),
};
