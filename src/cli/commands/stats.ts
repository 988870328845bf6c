/**
 * `fantail stats`: the counters once, again and again (`--watch`), checked against each other
 * (`--check`), or those of each queue beside the driver's (`--queues`).
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Fantail } from '../../api/fantail.js';
import type { ClientFlags } from '../../control/client.js';
import { counted, countsText, sumOf } from '../../domain/counts.js';
import { endpointText } from '../../domain/endpoint.js';
import { Failure, UsageError } from '../../domain/errors.js';
import type { FeedRow, Latencies, Stats } from '../../domain/statistics.js';
import { differences, isSettled } from '../../replicator/conservation.js';
import { queuesText } from '../../terminal/queues.js';
import { type Cell, grouped, tableLines } from '../../terminal/tables.js';
import { withFantail } from '../client.js';

/** How long `--check` waits for copies in flight, and how often it looks. */
const CHECK_WAIT_MS = 1000;
const CHECK_PERIOD_MS = 50;

export interface StatsFlags extends ClientFlags {
  /** Seconds. */
  watch?: number;
  check?: boolean;
  queues?: boolean;
  json?: boolean;
}

export async function stats(flags: StatsFlags, signal: AbortSignal): Promise<void> {
  if (flags.check && flags.watch !== undefined)
    throw new UsageError('--check and --watch exclude each other');
  if (flags.queues && (flags.check || flags.watch !== undefined))
    throw new UsageError('--queues goes with neither --check nor --watch');
  const { watch, queues = false, json = false, ...client } = flags;
  if (watch !== undefined)
    return withFantail(client, (fantail) => watchStats(fantail, watch, json, signal));
  if (flags.check) return checkStats(client, json);
  const current = await withFantail(flags, (fantail) => fantail.stats({ queues }));
  if (!json) console.log(queues ? queuesText(current) : statsText(current, null));
}

/** Redraws on a terminal; elsewhere prints one block after the other, or one JSON object a line. */
async function watchStats(
  fantail: Fantail,
  seconds: number,
  json: boolean,
  signal: AbortSignal,
): Promise<void> {
  let previous: Stats | null = null;
  const draw = (current: Stats) => {
    const text = statsText(current, previous);
    if (process.stdout.isTTY) {
      const lines = text.split('\n').slice(0, Math.max(1, process.stdout.rows - 1));
      process.stdout.write(`\x1b[H\x1b[J${lines.join('\n')}\n`); // cursor home, clear below
    } else {
      process.stdout.write(`${previous === null ? '' : '\n'}${text}\n`);
    }
    previous = current;
  };
  if (!json) {
    if (process.stdout.isTTY) process.stdout.write('\x1b[2J');
    draw(await fantail.stats());
  }
  for await (const event of fantail.watch(seconds, { signal })) {
    if (event.event !== 'stats') continue;
    if (json) console.log(JSON.stringify(event));
    else draw(event);
  }
}

async function checkStats(flags: ClientFlags, json: boolean): Promise<void> {
  const ends = performance.now() + CHECK_WAIT_MS;
  let text = '';
  const onReply = (reply: string) => {
    text = reply;
  };
  const fantail = await connect({ ...flags, onReply });
  let last: Stats;
  let first: Stats;
  try {
    first = last = await fantail.stats();
    while (!isSettled(last) && performance.now() < ends) {
      await sleep(CHECK_PERIOD_MS);
      last = await fantail.stats();
    }
  } finally {
    fantail.close();
    if (json && text !== '') console.log(text);
  }
  const found = differences(first, last);
  if (found.length > 0) throw new Failure(found.join('; '));
  if (json) return;
  const inFlight = last.subscribers.reduce((sum, row) => sum + row.in_flight, 0);
  const still = inFlight === 0 ? '' : `; ${inFlight} in flight, since the feed flows`;
  console.log(
    `ok: every packet of ${counted(last.subscribers.length, 'subscriber')} is accounted for${still}`,
  );
}

// ---- for people ---------------------------------------------------------------------------------

/** The counters as text; with `previous`, rates since then too. */
function statsText(current: Stats, previous: Stats | null): string {
  const queues = current.queues.length > 0 ? `queues ${current.queues.join(',')} · ` : '';
  const up = `up ${grouped(Math.floor(current.uptime_ms / 1000))} s`;
  return [
    `${current.interface} · ${queues}${current.mode} · ${current.layout} · ${up}`,
    ...current.fallbacks.map(({ mode, reason }) => `  ${mode} was not possible: ${reason}`),
    ...current.feeds.map((feed) => feedLine(feed, current, previous)),
    ...(current.mode === 'socket'
      ? []
      : [`xdp     ${countsText(current.xdp) || 'nothing seen'}`, kernelLine(current)]),
    '',
    ...workerLines(current),
    ...bulkLines(current),
    '',
    ...stageLines(current),
    ...subscriberLines(current, previous),
    ...reportLines(current),
  ].join('\n');
}

function feedLine(feed: FeedRow, current: Stats, previous: Stats | null): string {
  const before = previous?.feeds.find(({ name }) => name === feed.name);
  const rate = rateOf(feed.received, before?.received, current.uptime_ms, previous?.uptime_ms);
  const parts = [
    `feed    ${feed.ip}:${feed.port}`,
    `received ${grouped(feed.received)}`,
    `bytes ${grouped(feed.bytes)}`,
  ];
  if (current.feeds.length > 1) parts[0] = `feed    ${feed.name} ${feed.ip}:${feed.port}`;
  if (rate !== null) parts.push(`${grouped(rate)}/s`);
  const beside = countsText({ slow_path: feed.slow_path, socket_lost: feed.socket_lost });
  if (beside !== '') parts.push(beside);
  if (feed.joined === false) parts.push('not a member of its group');
  if (feed.of_another_host) parts.push('of another host: plain frames only, the rest under xdp');
  return [...parts, countsText(feed.drops) || 'none refused'].join('  ');
}

function kernelLine({ kernel }: Stats): string {
  const seen = kernel
    .map(({ queue, ...counts }) => ({ queue, text: countsText(counts) }))
    .filter(({ text }) => text !== '')
    .map(({ queue, text }) => `queue ${queue}: ${text}`);
  return `kernel  ${seen.join('; ') || 'no drops'}`;
}

function workerLines({ workers }: Stats): string[] {
  const rows = workers.flatMap((row) => {
    const { worker, pid, restarts } = row;
    const rowOf = (time: string, latencies: Latencies): Cell[] => {
      const { inside_ns: inside, window_ns: window, kick_ns: kick } = latencies;
      return [
        ...[String(worker), String(pid), restarts, time, inside.p50, inside.p99, inside.p999],
        ...[window.p50, window.p99, kick.p50, kick.p99],
      ];
    };
    return [rowOf('start', row), rowOf('1–2 s ago', row.recent)];
  });
  const names = [
    ...['worker', 'pid', 'restarts', 'since', 'inside p50 ns', 'p99', 'p99.9'],
    ...['window p50 ns', 'p99', 'kick p50 ns', 'p99'],
  ];
  return tableLines(names, rows);
}

/** Of workers that have sent in bulk. */
function bulkLines({ workers }: Stats): string[] {
  return workers
    .filter(({ transmit }) => transmit.calls > 0)
    .map(({ worker, transmit: { path, calls, frames, live_pools } }) => {
      const sent = `${grouped(calls)} calls  ${grouped(frames)} copies`;
      const pools = live_pools === null ? 'unknown' : grouped(live_pools);
      return `bulk    worker ${worker}  now by ${path}  ${sent}  page pools alive ${pools}`;
    });
}

/** Where the time of each worker goes; nothing before a burst was timed. */
function stageLines({ workers, receivers }: Stats): string[] {
  const timed = workers.filter((row) => row.timed.copies > 0);
  if (timed.length === 0) return [];
  const rows = timed.map(({ worker, timed: { bursts, copies, stages_ns } }): Cell[] => {
    const whole = sumOf(stages_ns);
    const cells = Object.values(stages_ns).map((ns) => shareText(ns / copies, ns / whole));
    return [String(worker), (copies / bursts).toFixed(1), ...cells];
  });
  const names = Object.keys(timed[0]?.timed.stages_ns ?? {});
  return [
    ...tableLines(['ns a copy', 'copies a burst', ...names], rows),
    ...receivers.flatMap(({ pid, timed: { frames, receive_ns } }) => {
      return frames === 0
        ? []
        : [`rx process ${pid}: ${(receive_ns / frames).toFixed(0)} ns a frame moved`];
    }),
    '',
  ];
}

const shareText = (ns: number, share: number) => `${ns.toFixed(0)} (${Math.round(share * 100)} %)`;

function subscriberLines({ subscribers, ...current }: Stats, previous: Stats | null): string[] {
  if (subscribers.length === 0)
    return ['no subscribers; add one with: fantail add <dest_ip> <dest_port>'];
  const before = new Map(previous?.subscribers.map((row) => [endpointText(row), row]));
  const rows = subscribers.map((row): Cell[] => {
    const name = endpointText(row);
    const rate = rateOf(row.sent, before.get(name)?.sent, current.uptime_ms, previous?.uptime_ms);
    const cells: Cell[] = [name, row.received, row.sent, row.in_flight, row.bytes];
    if (previous !== null) cells.push(rate ?? 0);
    return [...cells, sumOf(row.drops), countsText(row.drops)];
  });
  const rate = previous === null ? [] : ['sent/s'];
  return tableLines(
    ['subscriber', 'received', 'sent', 'in flight', 'bytes', ...rate, 'drops', ''],
    rows,
  );
}

/** Of filters that arbitrate: what each line has brought, and what none has. */
function reportLines({ filters }: Stats): string[] {
  const rows = filters.loaded.flatMap(({ name, report }) =>
    (report?.sets ?? []).flatMap(({ worker, feeds, gaps, missing, lines }) =>
      lines.map(({ feed, ip, port, won, late, lead_ns }): Cell[] => {
        const line = feed ?? endpointText({ ip, port });
        const lead = lead_ns.count === 0 ? '-' : (lead_ns.mean / 1000).toFixed(1);
        return [name, String(worker), feeds.join(','), line, won, late, lead, gaps, missing];
      }),
    ),
  );
  if (rows.length === 0) return [];
  const names = ['won', 'late', 'lead µs', 'gaps', 'missing'];
  return ['', ...tableLines(['filter', 'worker', 'feeds', 'line', ...names], rows)];
}

/** Per second, from two readings; null without two. A counter that went back began anew. */
function rateOf(
  now: number,
  then: number | undefined,
  nowMs: number,
  thenMs: number | undefined,
): number | null {
  if (then === undefined || thenMs === undefined || nowMs <= thenMs) return null;
  return Math.round(Math.max(0, now - then) / ((nowMs - thenMs) / 1000));
}
