/**
 * `stats --queues` for people: what fantail counts of each queue, and beside it what the driver of
 * the card counts of XDP and AF_XDP, so that zero copy is seen and not believed.
 */
import type { Counts } from '../domain/counts.js';
import type { Mode, QueueRow, Stats } from '../domain/statistics.js';
import { type Cell, grouped, tableLines } from './tables.js';

/** What the kernel has granted, as it was read back (XDP_OPTIONS, the attach mode). */
const GRANTED: Record<Mode, string> = {
  zerocopy: 'zero copy',
  copy: 'copies by the driver (native XDP)',
  skb: 'copies by the stack (generic XDP)',
  socket: 'none: UDP sockets',
};

export function queuesText({ interface: name, mode, driver, queues }: Stats): string {
  if (driver === null || driver === undefined)
    return `${name} is no interface of this host: there is no driver to ask`;
  const head = `${name} · driver ${driver.name || 'unknown'} ${driver.version}`.trimEnd();
  return [
    `${head} · AF_XDP granted: ${GRANTED[mode]}`,
    toldText(mode, driver.queues, driver.device),
    ...driver.queues.flatMap((row) => ['', ...queueLines(row)]),
    ...deviceLines(driver.device, queues),
  ].join('\n');
}

/** Whether the driver says by figures of its own that it does zero copy. */
function toldText(mode: Mode, rows: readonly QueueRow[], device: Counts): string {
  const all = [...rows.map(({ driver }) => driver), device].flatMap(Object.entries);
  if (all.length === 0) return 'the driver has no figure with xdp or xsk in its name';
  const named = all.filter(([name]) => /xsk/i.test(name));
  if (named.length === 0)
    return 'no figure of the driver has xsk in its name: none tells zero copy';
  // one of faults moves without a packet
  const xsk = named.filter(([name]) => !/err|drop|fail|full|miss/i.test(name));
  const moved = xsk.filter(([, count]) => count !== 0).length;
  if (moved === 0)
    return `none of ${xsk.length} figures with xsk in the name has moved: no zero copy so far`;
  const by = mode === 'zerocopy' ? 'zero copy works' : "another program's zero copy, not ours";
  return `${moved} of ${xsk.length} figures with xsk in the name have moved: ${by}`;
}

/** Ours to the left, the driver's to the right; what is zero is left out on either side. */
function queueLines({ queue, worker, xdp, sockets, sent, kicks, driver }: QueueRow): string[] {
  const transmit: Counts = worker === null ? {} : { sent, kicks };
  const ours = cellsOf({ ...prefixed('xdp', xdp), ...prefixed('xsk', sockets), ...transmit });
  const its = cellsOf(driver);
  const rows = Array.from({ length: Math.max(ours.length, its.length) }, (_, index): Cell[] => {
    return [...(ours[index] ?? ['', '']), '', ...(its[index] ?? ['', ''])];
  });
  const who = worker === null ? '' : `, worker ${worker}`;
  const title = `queue ${queue}${who}: fantail`;
  if (rows.length === 0) return [`${title} and the driver have counted nothing`];
  return tableLines([title, '', ' ', 'driver', ''], rows);
}

function prefixed(prefix: string, counts: Counts): Counts {
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [`${prefix} ${name}`, count]),
  );
}

/** Text on both sides: a side that is shorter has no number there. */
function cellsOf(counts: Counts): [name: string, count: string][] {
  const seen = Object.entries(counts).filter(([, count]) => count !== 0);
  const width = Math.max(0, ...seen.map(([, count]) => grouped(count).length));
  return seen.map(([name, count]) => [name, grouped(count).padStart(width)]);
}

function deviceLines(device: Counts, queues: readonly number[]): string[] {
  const cells = cellsOf(device);
  if (cells.length === 0) return [];
  const title = `driver, beside queue${queues.length === 1 ? '' : 's'} ${queues.join(',')}`;
  return ['', ...tableLines([title, ''], cells)];
}
