/** A summary as people read it: lines for the terminal, a page with plots. */
import { type Cell, tableLines } from '../../../src/terminal/tables.js';
import { PERCENTILES } from '../runs/engine.js';
import type { Run } from '../runs/journal.js';
import { machineLine } from '../runs/machine.js';
import type { Spread } from '../runs/spread.js';
import { type Chart, escaped, type Series, short, svgOf } from './chart.js';
import type { LatencyRow, LimitRow, Summary } from './summary.js';
import type { TargetRow } from './targets.js';

/** A table that both the terminal and the page show. */
interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

const COLOURS = [
  '#1f77b4',
  '#ff7f0e',
  '#17becf',
  '#9467bd',
  '#8c564b',
  '#2ca02c',
  '#d62728',
  '#e377c2',
  '#7f7f7f',
  '#bcbd22',
];

export const precise = (value: number) => String(Number(value.toPrecision(3)));
const microseconds = (spread: Spread | null | undefined) =>
  spread ? precise(spread.median / 1000) : '–';

/** `3.1 (2.9–3.4)`. */
export function spreadText(
  spread: Spread | null | undefined,
  text: (value: number) => string = precise,
): string {
  if (!spread) return '–';
  if (spread.rounds < 2) return text(spread.median);
  return `${text(spread.median)} (${text(spread.min)}–${text(spread.max)})`;
}

export function pointText(point: string): string {
  const [, subscribers, size] = /^s(\d+)-b(\d+)$/.exec(point) ?? [];
  return `${subscribers} × ${size} B`;
}

function latencyTable(rows: readonly LatencyRow[]): Table {
  return {
    title:
      'Latency from the intended send time, µs (median of the rounds; p50 with its lowest and highest)',
    head: [
      'subscribers',
      'kpps in',
      'competitor',
      'mode',
      ...PERCENTILES,
      'window p50',
      'window p99',
      'unequal',
      'lost',
      'dup',
      'reord',
      'corrupt',
      'stolen ms/s',
    ],
    rows: rows.map((row) => [
      pointText(row.point),
      precise(row.rate / 1000) + (row.isSourceLimited ? ' *' : ''),
      row.competitor,
      row.mode,
      spreadText(row.latency_ns[0], (value) => precise(value / 1000)),
      ...row.latency_ns.slice(1).map(microseconds),
      microseconds(row.window_ns?.[0]),
      microseconds(row.window_ns?.[2]),
      row.inequality === null ? '–' : precise(row.inequality.median),
      row.lost,
      row.duplicated,
      row.reordered,
      row.corrupt,
      precise(row.stolen?.median ?? 0),
    ]),
  };
}

function limitTable(rows: readonly LimitRow[]): Table {
  return {
    title:
      'Highest lossless rate (median, lowest–highest of the rounds); ≥: the source was the limit',
    head: ['subscribers', 'competitor', 'mode', 'packets/s in', 'copies/s out', 'ns a copy'],
    rows: rows.map((row) => [
      pointText(row.point),
      row.competitor,
      row.mode,
      (row.isLowerBound ? '≥ ' : '') + spreadText(row.rate, short),
      (row.isLowerBound ? '≥ ' : '') + spreadText(row.output, short),
      row.output === null ? '–' : precise(1e9 / row.output.median),
    ]),
  };
}

export function targetText({ met, insideSpread }: TargetRow): string {
  if (met === null) return 'not measured';
  return met ? 'met' : insideSpread ? 'missed, inside the spread' : 'missed';
}

function tablesOf({ latency, limits, specials, targets }: Summary): Table[] {
  return [
    latencyTable(latency),
    limitTable(limits),
    {
      title: 'One at a time',
      head: ['measurement', 'mode', 'value', 'median (lowest–highest)'],
      rows: specials.flatMap(({ title, mode, values }) =>
        Object.entries(values).map(([name, spread], i) => [
          i === 0 ? title : '',
          mode,
          name,
          spreadText(spread),
        ]),
      ),
    },
    {
      title: 'Targets (ratios are of the same round; median, lowest–highest)',
      head: ['target', 'wanted', 'found', 'verdict'],
      rows: targets.map((row) => [row.name, row.target, spreadText(row.found), targetText(row)]),
    },
  ].filter(({ rows }) => rows.length > 0);
}

export function linesOf(run: Run, summary: Summary): string[] {
  const { head } = run;
  return [
    `fantail bench, ${head.plan} run, seed ${head.seed}, begun ${head.started}`,
    machineLine(head.machine),
    ...tablesOf(summary).flatMap(({ title, head: names, rows }) => [
      '',
      title,
      ...tableLines(names, rows),
    ]),
    ...(summary.latency.some(({ isSourceLimited }) => isSourceLimited)
      ? ['* the source itself did not keep this rate in every round']
      : []),
  ];
}

// ---- Plots ----

function series(
  names: readonly string[],
  pointsOf: (name: string) => readonly (readonly [number, number])[],
  isDashed = false,
): Series[] {
  return names.map((name, i) => ({
    name: isDashed ? `${name} p99` : name,
    colour: COLOURS[i % COLOURS.length] ?? 'black',
    isDashed,
    points: [...pointsOf(name)].sort(([a], [b]) => a - b),
  }));
}

/**
 * Every window of every round that lost nothing, trials of the search too; those of about one rate
 * become one point.
 */
function latencyCurve(run: Run, point: string, name: string, place: number): [number, number][] {
  const STEPS_A_DECADE = 10;
  const found = new Map<number, [rate: number, latency: number][]>();
  for (const turn of run.turns) {
    if (turn.point !== point || turn.competitor !== name) continue;
    for (const window of [...turn.windows, ...turn.trials]) {
      if (!window.lossless) continue;
      const key = Math.round(Math.log10(window.rate) * STEPS_A_DECADE);
      const latency = (window.latency_ns[place] ?? 0) / 1000;
      found.set(key, [...(found.get(key) ?? []), [window.rate, latency]]);
    }
  }
  const middle = (values: readonly number[]) =>
    [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
  return [...found.values()].map((near) => [
    middle(near.map(([rate]) => rate)),
    middle(near.map(([, value]) => value)),
  ]);
}

function chartsOf(run: Run, { limits }: Summary): Chart[] {
  const names = [...new Set(run.turns.map(({ competitor }) => competitor))];
  const latencyChart = (subscribers: number): Chart => {
    const point = `s${subscribers}-b200`;
    return {
      title: `Latency against rate, ${subscribers} subscriber${subscribers === 1 ? '' : 's'}, 200 bytes: p50 solid, p99 dashed`,
      x: 'packets a second in, lossless',
      y: 'µs',
      series: [
        ...series(names, (name) => latencyCurve(run, point, name, 0)),
        ...series(names, (name) => latencyCurve(run, point, name, 2), true),
      ],
    };
  };
  const outputs = (
    name: string,
    wanted: (row: LimitRow) => boolean,
    x: (row: LimitRow) => number,
  ) =>
    limits
      .filter((row) => row.competitor === name && row.output !== null && wanted(row))
      .map((row): [number, number] => [x(row), row.output?.median ?? 0]);
  return [
    latencyChart(1),
    latencyChart(16),
    {
      title: 'Highest lossless output against subscribers, 200 bytes',
      x: 'subscribers',
      y: 'copies a second out',
      series: series(names, (name) =>
        outputs(
          name,
          ({ size }) => size === 200,
          (row) => row.subscribers,
        ),
      ),
    },
    {
      title: 'Highest lossless output against payload, 16 subscribers',
      x: 'bytes of payload',
      y: 'copies a second out',
      series: series(names, (name) =>
        outputs(
          name,
          ({ subscribers }) => subscribers === 16,
          ({ size }) => size,
        ),
      ),
    },
  ];
}

// ---- The page ----

const STYLE = `
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 0.5em 0 2em; }
th, td { padding: 0.2em 0.7em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
td.number { text-align: right; }
svg { font: 11px system-ui, sans-serif; margin: 0 2em 2em 0; }
svg .grid { stroke: #e4e4e4; }
svg .title { font-weight: bold; font-size: 13px; }
code { font-size: 12px; }`;

function tableHtml({ title, head, rows }: Table): string {
  const cell = (value: Cell) =>
    typeof value === 'number' ? `<td class="number">${value}</td>` : `<td>${escaped(value)}</td>`;
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`);
  const names = head.map((name) => `<th>${escaped(name)}</th>`).join('');
  return `<h2>${escaped(title)}</h2>\n<table><tr>${names}</tr>\n${body.join('\n')}\n</table>`;
}

export function pageOf(run: Run, summary: Summary): string {
  const { head } = run;
  const commands = summary.commands.map(
    ({ competitor, command }) =>
      `<dt>${escaped(competitor)}</dt><dd><code>${escaped(command)}</code></dd>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>fantail bench</title><style>${STYLE}</style></head><body>
<h1>fantail bench</h1>
<p>${escaped(`${head.plan} run, seed ${head.seed}, begun ${head.started}`)}<br>${escaped(machineLine(head.machine))}</p>
${chartsOf(run, summary).map(svgOf).join('\n')}
${tablesOf(summary).map(tableHtml).join('\n')}
<h2>Commands</h2>
<dl>${commands.join('\n')}</dl>
</body></html>
`;
}
