/**
 * The result of a measurement: as an object for programs, as a page for people, as lines of a CSV
 * file.
 */
import { once } from 'node:events';
import type { WriteStream } from 'node:fs';
import type { Endpoint } from '../domain/endpoint.js';
import { grouped, tableLines } from '../terminal/tables.js';
import type { Measured } from './measure.js';
import type { Plan } from './plan.js';
import { type Bar, barLines, barsOf, microseconds, type Summary } from './times.js';

/** A sender that reached less than this share of the rate has not kept it. */
const KEPT_SHARE = 0.99;
/** A sender whose 99th percentile is later than this puts its own delay into the figures. */
const LATE_NS = 100_000;
const CSV_ROWS_A_WRITE = 10_000;

export interface Result {
  readonly replicator: Endpoint;
  readonly local: Endpoint;
  readonly count: number;
  readonly rate: number;
  readonly warm_up: number;
  readonly interrupted: boolean;
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupt: number;
  readonly foreign: number;
  readonly refused: number;
  readonly seconds: number;
  /** Messages a second from the first to the last. */
  readonly actual_rate: number;
  readonly rate_kept: boolean;
  readonly round_trip_ns: Summary;
  /** How long after its time each message left: the sender's own share of the round trip. */
  readonly send_late_ns: Summary;
  readonly histogram: readonly Bar[];
}

export function resultOf(plan: Plan, measured: Measured): Result {
  const { sent, received, firstNs, lastNs } = measured;
  const spanNs = lastNs - firstNs;
  const actualRate = sent < 2 ? plan.rate : ((sent - 1) / spanNs) * 1e9;
  return {
    replicator: plan.replicator,
    local: plan.local,
    count: plan.count,
    rate: plan.rate,
    warm_up: plan.warmUp,
    interrupted: measured.isInterrupted,
    sent,
    received,
    lost: sent - received,
    duplicated: measured.duplicated,
    reordered: measured.reordered,
    corrupt: measured.corrupt,
    foreign: measured.foreign,
    refused: measured.refused,
    seconds: sent < 2 ? 0 : Number((spanNs / 1e9).toFixed(6)),
    actual_rate: Number(actualRate.toFixed(3)),
    rate_kept: actualRate >= plan.rate * KEPT_SHARE,
    round_trip_ns: measured.roundTrip,
    send_late_ns: measured.lateness,
    histogram: barsOf(measured.roundTripCounts),
  };
}

/** What went differently than asked, a sentence each. */
export function warningsOf(result: Result, receiveBuffer: number): string[] {
  const { rate_kept, actual_rate, rate, send_late_ns, lost, sent, received } = result;
  const warnings: string[] = [];
  if (!rate_kept)
    warnings.push(
      `the sender could not keep the rate: ${grouped(actual_rate)}/s of ${grouped(rate)}/s; ` +
        'the round trips below include how late it was',
    );
  else if (send_late_ns.p99 > LATE_NS)
    warnings.push(
      `the sender was late: 1 in 100 messages left ${microseconds(send_late_ns.p99)} µs or more after its time, ` +
        'which the round trips below include; a free core, or a lower rate, helps',
    );
  if (lost > 0 && received > 0)
    warnings.push(
      `${grouped(lost)} of ${grouped(sent)} were lost; fantail stats tells whether there, or on the way back ` +
        `(this client keeps ${grouped(receiveBuffer)} bytes unread; more: sysctl net.core.rmem_max)`,
    );
  return warnings;
}

export function pageOf(result: Result): string[] {
  const { round_trip_ns, send_late_ns, sent, count, received, rate } = result;
  const share = sent === 0 ? 0 : (result.lost / sent) * 100;
  const others = [
    ['corrupt', result.corrupt],
    ["others' packets", result.foreign],
    ['refused', result.refused],
  ] as const;
  const more = others
    .filter(([, number]) => number > 0)
    .map(([name, number]) => `, ${grouped(number)} ${name}`);
  const head = ['µs', ...Object.keys(round_trip_ns).map(shortName)];
  const row = (name: string, summary: Summary) => [
    name,
    ...Object.values(summary).map(microseconds),
  ];
  return [
    `sent ${grouped(sent)} of ${grouped(count)} at ${grouped(result.actual_rate)}/s (${grouped(rate)}/s asked)` +
      (result.interrupted ? ', interrupted' : ''),
    `received ${grouped(received)}: ${grouped(result.lost)} lost (${share.toFixed(2)} %), ` +
      `${grouped(result.duplicated)} duplicated, ${grouped(result.reordered)} reordered${more.join('')}`,
    '',
    ...tableLines(head, [row('round trip', round_trip_ns), row('sent late', send_late_ns)]),
    '',
    ...barLines(result.histogram),
  ];
}

/** p999 → p99.9. */
function shortName(name: string): string {
  return name.replace(/^p99(9+)$/, 'p99.$1');
}

/**
 * A line a message, nanoseconds from when the first one was due; empty where something never came.
 */
export async function writeCsv(file: WriteStream, plan: Plan, measured: Measured): Promise<void> {
  const { log } = measured;
  if (log === null) return;
  const [sent, received] = [new Float64Array(log.sent), new Float64Array(log.received)];
  const cell = (ns: number) => (Number.isNaN(ns) ? '' : Math.round(ns));
  let lines = ['id,intended_ns,sent_ns,received_ns,round_trip_ns\n'];
  for (let id = 0; id < measured.sent; id++) {
    const intended = (id * 1e9) / plan.rate;
    const [left = Number.NaN, came = Number.NaN] = [sent[id], received[id]];
    lines.push(`${id},${cell(intended)},${cell(left)},${cell(came)},${cell(came - intended)}\n`);
    if (lines.length < CSV_ROWS_A_WRITE) continue;
    if (!file.write(lines.join(''))) await once(file, 'drain');
    lines = [];
  }
  file.end(lines.join(''));
  await once(file, 'finish');
}
