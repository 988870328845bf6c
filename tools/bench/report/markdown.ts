/** A summary as Markdown tables, one column a point, for a README. Pure. */

import type { Run } from '../runs/journal.js';
import { machineLine } from '../runs/machine.js';
import { short } from './chart.js';
import { pointText, precise, spreadText, targetText } from './report.js';
import type { LatencyRow, LimitRow, Summary } from './summary.js';

const unique = (values: readonly string[]) => [...new Set(values)];

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [row(head), row(head.map(() => '---')), ...rows.map(row), ''];
}

/** Competitors down, columns across; a dash where there is nothing. */
function pivot<T extends { readonly competitor: string }>(
  items: readonly T[],
  columnOf: (item: T) => string,
  cellOf: (item: T) => string,
): string[] {
  const columns = unique(items.map(columnOf));
  return table(
    ['', ...columns],
    unique(items.map(({ competitor }) => competitor)).map((competitor) => [
      competitor,
      ...columns.map((column) => {
        const item = items.find(
          (each) => each.competitor === competitor && columnOf(each) === column,
        );
        return item === undefined ? '–' : cellOf(item);
      }),
    ]),
  );
}

const µs = (ns: number | undefined) => (ns === undefined ? '–' : precise(ns / 1000));
const atRate = ({ point, rate }: LatencyRow) => `${pointText(point)}, ${short(rate)}/s`;

/** `7.6 / 54 / 310`, and the share that was lost. */
function latencyCell({ latency_ns, received, lost }: LatencyRow): string {
  const [p50, , p99, p999] = latency_ns.map((spread) => µs(spread?.median));
  const share = lost === 0 ? '' : `, ${precise((100 * lost) / (received + lost))} % lost`;
  return `${p50} / ${p99} / ${p999}${share}`;
}

function windowCell({ latency_ns, window_ns, lost, received }: LatencyRow): string {
  const share = lost === 0 ? '' : `, ${precise((100 * lost) / (received + lost))} % lost`;
  return `${µs(latency_ns[0]?.median)} · ${µs(window_ns?.[0]?.median)}${share}`;
}

function limitCell({ output, isLowerBound }: LimitRow): string {
  return output === null ? 'none' : `${isLowerBound ? '≥ ' : ''}${short(output.median)}`;
}

export function markdownOf({ head }: Run, { latency, limits, specials, targets }: Summary): string {
  const isBase = ({ point }: LatencyRow) => point === 's1-b200' || point === 's16-b200';
  return [
    `${head.started.slice(0, 10)}, ${head.plan} run, seed ${head.seed}: ${machineLine(head.machine)}.`,
    '',
    'Latency from the intended send time, µs: p50 / p99 / p99.9, medians of the rounds.',
    '',
    ...pivot(latency.filter(isBase), atRate, latencyCell),
    'p50 · delivery window (first copy of a packet to its last) p50, µs.',
    '',
    ...pivot(latency, atRate, windowCell),
    'Highest lossless output, copies a second, medians; ≥: the source was the limit in some round.',
    '',
    ...pivot(limits, ({ point }) => pointText(point), limitCell),
    'Targets; ratios are of turns of one round; median (lowest–highest).',
    '',
    ...table(
      ['target', 'wanted', 'found', ''],
      targets.map((each) => [each.name, each.target, spreadText(each.found), targetText(each)]),
    ),
    'One at a time; median (lowest–highest).',
    '',
    ...table(
      ['measurement', 'found'],
      specials.map(({ title, values }) => [
        title,
        Object.entries(values)
          .map(([name, spread]) => `${name} ${spreadText(spread)}`)
          .join('; '),
      ]),
    ),
  ].join('\n');
}
