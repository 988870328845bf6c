/**
 * Line charts as plain SVG text: d3 finds scales, ticks and paths, nothing here needs a browser,
 * and the page that holds them needs no script. (Two small modules of d3 instead of a whole
 * charting library: those are either 60 MB or need a DOM.)
 */
import { type ScaleLogarithmic, scaleLog } from 'd3-scale';
import { line as linePath } from 'd3-shape';

export interface Series {
  readonly name: string;
  readonly colour: string;
  /** Drawn with dashes, such as p99 beside p50; not in the legend. */
  readonly isDashed?: boolean;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Chart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

const WIDTH = 760;
const HEIGHT = 420;
const MARGIN = { left: 70, right: 190, top: 36, bottom: 48 };
const RADIUS = 3;
const LEGEND_STEP = 18;
/** How far the axes go beyond the lowest and the highest value, as a factor. */
const ROOM = 1.3;
/** Below so many decades d3 offers a tick at every digit. */
const DECADES_MAX = 8;
/** Of those we take these. */
const TICKS: readonly string[] = ['1', '2', '5'];

export const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign] ?? '&quot;');

/** 1500 → 1.5k, 2000000 → 2M. */
export function short(value: number): string {
  const at = (divisor: number, unit: string) =>
    `${Number((value / divisor).toPrecision(3))}${unit}`;
  if (value >= 1e6) return at(1e6, 'M');
  return value >= 1e3 ? at(1e3, 'k') : at(1, '');
}

type Scale = ScaleLogarithmic<number, number>;

function scaleOf(values: readonly number[], range: readonly [number, number]): Scale {
  const low = Math.min(...values);
  const high = Math.max(...values);
  return scaleLog()
    .domain([low / ROOM, high * ROOM])
    .range(range);
}

function axes(chart: Chart, x: Scale, y: Scale): string[] {
  const bottom = HEIGHT - MARGIN.bottom;
  const right = WIDTH - MARGIN.right;
  const few = (scale: Scale) =>
    scale
      .ticks(DECADES_MAX)
      .filter((tick) => TICKS.includes(tick.toExponential().replace(/e.*$/, '')));
  return [
    ...few(x).flatMap((tick) => [
      `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${MARGIN.top}" y2="${bottom}"/>`,
      `<text x="${x(tick)}" y="${bottom + 16}" text-anchor="middle">${short(tick)}</text>`,
    ]),
    ...few(y).flatMap((tick) => [
      `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      `<text x="${MARGIN.left - 8}" y="${y(tick) + 4}" text-anchor="end">${short(tick)}</text>`,
    ]),
    `<text class="title" x="${MARGIN.left}" y="20">${escaped(chart.title)}</text>`,
    `<text x="${(MARGIN.left + right) / 2}" y="${HEIGHT - 10}" text-anchor="middle">${escaped(chart.x)}</text>`,
    `<text transform="translate(16 ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(chart.y)}</text>`,
  ];
}

function drawn({ name, colour, isDashed, points }: Series, x: Scale, y: Scale): string[] {
  const path = linePath<readonly [number, number]>()
    .x(([value]) => x(value))
    .y(([, value]) => y(value))([...points]);
  const dashes = isDashed ? ' stroke-dasharray="4 3"' : '';
  const dots = points.map(
    ([px, py]) =>
      `<circle cx="${x(px)}" cy="${y(py)}" r="${RADIUS}" fill="${colour}"><title>${escaped(name)}: ${short(px)}, ${short(py)}</title></circle>`,
  );
  return [
    `<path d="${path ?? ''}" fill="none" stroke="${colour}" stroke-width="1.5"${dashes}/>`,
    ...dots,
  ];
}

function legend(series: readonly Series[]): string[] {
  const left = WIDTH - MARGIN.right + 16;
  return series
    .filter(({ isDashed }) => !isDashed)
    .flatMap(({ name, colour }, i) => {
      const middle = MARGIN.top + 8 + i * LEGEND_STEP;
      return [
        `<rect x="${left}" y="${middle - 5}" width="10" height="10" fill="${colour}"/>`,
        `<text x="${left + 16}" y="${middle + 4}">${escaped(name)}</text>`,
      ];
    });
}

/** The whole `<svg>`; both axes are logarithmic. Empty text if there is nothing to draw. */
export function svgOf(chart: Chart): string {
  // A logarithm has no place for zero.
  const series = chart.series
    .map((each) => ({ ...each, points: each.points.filter(([px, py]) => px > 0 && py > 0) }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return '';
  const all = series.flatMap(({ points }) => points);
  const x = scaleOf(
    all.map(([value]) => value),
    [MARGIN.left, WIDTH - MARGIN.right],
  );
  const y = scaleOf(
    all.map(([, value]) => value),
    [HEIGHT - MARGIN.bottom, MARGIN.top],
  );
  const parts = [
    ...axes(chart, x, y),
    ...series.flatMap((each) => drawn(each, x, y)),
    ...legend(series),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" role="img">\n${parts.join('\n')}\n</svg>`;
}
