/** Plans beside simulations → a table and a page of plots. Pure. */
import type { SourcedFigures } from '../../src/planning/figures.js';
import type { Percentiles, Plan } from '../../src/planning/plan.js';
import type { Cell } from '../../src/terminal/tables.js';
import { type Chart, escaped, svgOf } from '../bench/report/chart.js';
import type { Simulated } from './simulation.js';

export interface Compared {
  readonly plan: Plan;
  readonly simulated: Simulated;
}

/** What all of them are of. */
export interface Setting extends SourcedFigures {
  readonly row: string;
  readonly rate: number;
  readonly size: number;
  readonly latency_us: number | null;
  readonly utilisation: number;
  readonly packets: number;
  readonly seed: number;
}

const COLOURS = { plan: '#1b6ca8', simulation: '#c8502a' } as const;

const rounded = (value: number) => Number(value.toPrecision(4));
const ratio = (plan: number, simulated: number) => (plan / simulated).toFixed(3);

export function rowsOf(compared: readonly Compared[]): {
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
} {
  const names = ['latency p50', 'latency p99', 'window p50', 'window p99'];
  const rows = compared.map(({ plan, simulated }) => {
    const { latency_us: latency = null, window_us: window } = plan;
    const pairs: [number, number][] = [
      [latency?.p50 ?? Number.NaN, simulated.latency_us.p50],
      [latency?.p99 ?? Number.NaN, simulated.latency_us.p99],
      [window.p50, simulated.window_us.p50],
      [window.p99, simulated.window_us.p99],
    ];
    return [
      plan.subscribers,
      plan.members,
      plan.levels.map(({ children }) => children).join(' × '),
      Math.max(...plan.levels.map(({ utilisation }) => utilisation)).toFixed(2),
      ...pairs.flatMap(([planned, seen]) => [rounded(planned), ratio(planned, seen)]),
      simulated.lost_share.toFixed(6),
    ];
  });
  const head = ['subscribers', 'members', 'fan-out', 'busy'];
  return { head: [...head, ...names.flatMap((name) => [`${name} µs`, '/ sim']), 'lost'], rows };
}

function chartOf(
  title: string,
  compared: readonly Compared[],
  pick: (of: Plan | Simulated) => Percentiles | null,
): Chart {
  const points = (kind: keyof Compared, place: keyof Percentiles) =>
    compared.map((each): [number, number] => [
      each.plan.subscribers,
      pick(each[kind])?.[place] ?? 0,
    ]);
  const series = (kind: keyof Compared, name: keyof typeof COLOURS) => [
    { name, colour: COLOURS[name], points: points(kind, 'p50') },
    { name: `${name} p99`, colour: COLOURS[name], isDashed: true, points: points(kind, 'p99') },
  ];
  return {
    title: `${title}: p50 solid, p99 dashed`,
    x: 'subscribers',
    y: 'µs',
    series: [...series('simulated', 'simulation'), ...series('plan', 'plan')],
  };
}

const SVG_STYLE = `
svg { font: 11px system-ui, sans-serif; }
svg .grid { stroke: #e4e4e4; }
svg .title { font-weight: bold; font-size: 13px; }`;

const STYLE = `
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 0.5em 0 2em; }
th, td { padding: 0.2em 0.7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
svg { margin: 0 2em 2em 0; }${SVG_STYLE}`;

function settingText({
  row,
  rate,
  size,
  latency_us,
  utilisation,
  packets,
  seed,
  machine,
}: Setting) {
  const wish = latency_us === null ? 'as few members as can be' : `p99 of ${latency_us} µs`;
  const feed = `${rate} packets/s of ${size} bytes, ${wish}, busy at most ${utilisation}`;
  const bench = machine === null ? 'figures as given' : `'${row}' of the bench: ${machine}`;
  return `${feed}; ${packets} packets simulated, seed ${seed}; ${bench}`;
}

/** By the name of a file. */
function chartsOf(compared: readonly Compared[]): [name: string, chart: Chart][] {
  const members = compared.map(({ plan }): [number, number] => [plan.subscribers, plan.members]);
  return [
    [
      'latency',
      chartOf('Latency to the last subscriber', compared, ({ latency_us }) => latency_us),
    ],
    [
      'window',
      chartOf('Delivery window, first copy to last', compared, ({ window_us }) => window_us),
    ],
    [
      'members',
      {
        title: 'Members',
        x: 'subscribers',
        y: 'members',
        series: [{ name: 'members', colour: COLOURS.plan, points: members }],
      },
    ],
  ];
}

/** Each plot as a picture of its own. */
export const picturesOf = (compared: readonly Compared[]): [name: string, svg: string][] =>
  chartsOf(compared).map(([name, chart]) => [
    name,
    `${svgOf(chart).replace('\n', `\n<style>${SVG_STYLE}\nsvg { background: white; }</style>\n`)}\n`,
  ]);

export function pageOf(setting: Setting, compared: readonly Compared[]): string {
  const { head, rows } = rowsOf(compared);
  const line = (cells: readonly Cell[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(String(cell))}</${tag}>`).join('')}</tr>`;
  const figures = Object.entries(setting.figures).map(([name, value]) => `${name} ${value}`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>fantail plan</title><style>${STYLE}</style></head><body>
<h1>Plans of groups, and their simulation</h1>
<p>${escaped(settingText(setting))}<br>${escaped(figures.join(', '))}</p>
${chartsOf(compared)
  .map(([, chart]) => svgOf(chart))
  .join('\n')}
<table>${line(head, 'th')}
${rows.map((row) => line(row, 'td')).join('\n')}
</table>
</body></html>
`;
}
