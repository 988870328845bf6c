/** Lines over time, drawn by uPlot: one axis, and a legend that tells the newest values as text. */
import { type ReactNode, useEffect, useRef } from 'react';
import uPlot from 'uplot';
import type { Course } from '../link/history.js';

export interface Line {
  readonly title: string;
  /** Dashes and gaps in pixels, so that lines are told apart without colours; none: solid. */
  readonly dash: readonly number[];
  text(value: number | null): string;
}

interface PlotProps {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly Line[];
  readonly times: readonly number[];
  readonly columns: readonly Course[];
  readonly isLogarithmic?: boolean;
  /** Another one with each point: the columns are the same arrays for ever. */
  readonly turn: unknown;
}

const HEIGHT = 150;
/** Of the time axis, so that its marks are seconds from the first reading on. */
const SECONDS_MIN = 60;

export function Plot(props: PlotProps): ReactNode {
  const { title, unit, lines, columns } = props;
  const place = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLUListElement>(null);
  const plot = useRef<uPlot | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is made once, of what never changes
  useEffect(() => {
    const { current } = place;
    if (current === null) return;
    const made = new uPlot(optionsOf(props, current, legend.current), [[]], current);
    plot.current = made;
    const resized = new ResizeObserver(() =>
      made.setSize({ width: current.clientWidth, height: HEIGHT }),
    );
    resized.observe(current);
    const repaint = () => made.redraw(false);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', repaint);
    const theme = new MutationObserver(repaint);
    theme.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    return () => {
      resized.disconnect();
      scheme.removeEventListener('change', repaint);
      theme.disconnect();
      made.destroy();
    };
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `turn` stands for what is in the arrays
  useEffect(() => {
    plot.current?.setData([[...props.times], ...columns.map((column) => [...column])]);
  }, [props.turn]);
  const newest = lines.map((line, index) => line.text(columns[index]?.at(-1) ?? null));
  const told = lines.map(({ title: name }, index) => `${name} ${newest[index]}`).join(', ');
  return (
    <figure className="plot">
      <figcaption>
        <span className="title">
          {title} <small>{unit}</small>
        </span>
        <ul ref={legend}>
          {lines.map(({ title: name, dash }, index) => (
            <li key={name} className={`series${index}`}>
              <svg aria-hidden="true" width="18" height="6" viewBox="0 0 18 6">
                <line x1="0" y1="3" x2="18" y2="3" strokeDasharray={dash.join(' ')} />
              </svg>
              <span className="name">{name}</span> <span className="value">{newest[index]}</span>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}, ${unit}, now: ${told}`} />
    </figure>
  );
}

/** Colours are asked for at each drawing, since they are another theme's later. */
function optionsOf(
  { lines, isLogarithmic = false }: PlotProps,
  place: HTMLElement,
  legend: HTMLElement | null,
): uPlot.Options {
  const ink = () => getComputedStyle(place).color;
  const rule = () => getComputedStyle(place).borderTopColor;
  const axis = {
    stroke: ink,
    grid: { stroke: rule, width: 1 },
    ticks: { stroke: rule, width: 1, size: 4 },
    font: '11px system-ui, sans-serif',
  };
  return {
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_, first, last) => [Math.min(first, last - SECONDS_MIN), last] },
      y: isLogarithmic ? { distr: 3 } : { range: (_, __, most) => [0, most * 1.1 || 1] },
    },
    axes: [
      { ...axis, size: 24 },
      {
        ...axis,
        size: 76, // of 10,000,000
        space: 24,
        grid: { ...axis.grid, ...(isLogarithmic ? { filter: decades } : {}) },
      },
    ],
    series: [
      {},
      ...lines.map(
        ({ title, dash }, index): uPlot.Series => ({
          label: title,
          stroke: () => {
            const mark = legend?.children[index]?.querySelector('svg');
            return mark === null || mark === undefined ? '' : getComputedStyle(mark).color;
          },
          dash: [...dash],
          width: 1.5,
          spanGaps: false,
          points: { show: false },
        }),
      ),
    ],
  };
}

/** Lines of a logarithmic axis: those of 1, 10, 100 … alone. */
const decades = (_: uPlot, splits: number[]) =>
  splits.map((split) => (Number.isInteger(Math.log10(split)) ? split : null));
