/** Numbers as texts. A column has one unit, in its heading, and one number of decimals. */
import type { Counts } from '../../domain/counts.js';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat('en', {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});

/** In place of a figure that there is none of. */
export const NONE = '–';

export const count = (value: number | null): string =>
  value === null ? NONE : whole.format(value);
/** Bytes → kB. */
export const kilobytes = (value: number | null): string =>
  value === null ? NONE : tenths.format(value / 1000);
/** Nanoseconds → µs; 0 stands for no packet yet. */
export const microseconds = (ns: number | undefined): string =>
  ns === undefined || ns === 0 ? NONE : hundredths.format(ns / 1000);

/** `backlog 12 · tx_full 3`, the most first. */
export function drops(counts: Counts): string {
  return Object.entries(counts)
    .filter(([, number]) => number > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, number]) => `${name} ${whole.format(number)}`)
    .join(' · ');
}

/** `3 d 04:05:06`. */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const clock = [seconds / 3600, seconds / 60, seconds].map((each) => Math.floor(each));
  const [hours = 0, minutes = 0, rest = 0] = clock;
  const days = Math.floor(hours / 24);
  const time = `${two(hours % 24)}:${two(minutes % 60)}:${two(rest % 60)}`;
  return days === 0 ? time : `${days} d ${time}`;
}

const timeOfDay = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const dayAndTime = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'medium' });

/** The day is told only where it is not today. */
export function moment(at_ms: number): string {
  const isToday = new Date(at_ms).toDateString() === new Date().toDateString();
  return (isToday ? timeOfDay : dayAndTime).format(at_ms);
}
