/** What the demo of a group shows: one view a second, as a table or as JSON. Pure. */
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { IS_CLONE } from '../../domain/installation.js';
import { type Column, fittedLines, grouped, type TableRow } from '../../terminal/tables.js';
import { wrapped } from '../../terminal/wrapping.js';
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

const COLUMNS: readonly Column[] = [
  { title: 'subscriber', width: 18, isText: true },
  { title: 'served by', width: 18, isText: true },
  { title: 'per s', width: 7 },
  { title: 'received', width: 10 },
  { title: 'missed', width: 8 },
  { title: 'twice', width: 7 },
  { title: 'silence', width: 11 },
];
/** Where what stands behind the first word of a line begins. */
const INDENT = 8;

/** The member that serves it now; null: nobody does. */
export function servedBy(view: FleetView, { sender, sinceMs }: Received): string | null {
  if (sender === null || (sinceMs > SILENT_MS && !view.isFinal)) return null;
  return view.names.get(sender) ?? sender;
}

function subscriberRow(view: FleetView, row: SubscriberView): TableRow {
  const owner = servedBy(view, row);
  const since = row.sender === null ? '' : ` for ${(row.sinceMs / 1000).toFixed(1)} s`;
  const counts = [row.rate, row.received, row.missed, row.twice].map(whole);
  const silence = `${whole(row.silenceMs)} ms`;
  return { cells: [endpointText(row), owner ?? `nobody${since}`, ...counts, silence] };
}

function memberLine(view: FleetView, { name, state, shards, control }: MemberView): string {
  const serves = view.subscribers.filter((row) => servedBy(view, row) === name).length;
  const parts = [name.padEnd(8), state.padEnd(12), `${serves} subscribers`.padEnd(16)];
  parts.push((shards === null ? '' : `${shards} shards`).padEnd(12), control);
  return parts.join('').trimEnd();
}

/** The view as a table, line by line. */
export function fleetLines(view: FleetView, width: number): string[] {
  const { feed, members, subscribers, fleet, isEtcdThere, seconds } = view;
  const refused = feed.refused > 0 ? `, ${whole(feed.refused)} refused by the kernel` : '';
  const sentences = [
    `fantail fleet demo: ${endpointText(FEED)} to ${subscribers.length} subscribers by a group of ${members.length}, ${whole(seconds)} s`,
    `feed    ${whole(feed.rate)} packets/s, ${whole(feed.sent)} sent${refused}`,
    `etcd    ${isEtcdThere ? fleet : 'taken away: the group goes on with what it has'}`,
    '',
    ...members.map((member) => memberLine(view, member)),
    '',
  ];
  const rows = subscribers.map((row) => subscriberRow(view, row));
  return [
    ...sentences.flatMap((line) => wrapped(line, width, INDENT)),
    ...fittedLines(COLUMNS, rows, width),
  ];
}

/** What stands below the table. */
export function fleetHints(fleet: string, width: number): string[] {
  const sentences = [
    'silence: the longest time between two packets.',
    'keys: 1 2 3 kills that member (-9), or starts it again; 4 5 6 drains it; ' +
      '0 takes etcd away, or brings it back. Ctrl-C ends the demo.',
    `in another shell${IS_CLONE ? ', in this folder' : ''}:`,
  ];
  return [
    ...sentences.flatMap((sentence) => wrapped(sentence, width, 'keys: '.length)),
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
  hints: ({ fleet }, width) => fleetHints(fleet, width),
  json: fleetJson,
  isToCopy: (line) => line.includes('fantail fleet status'),
};
