/** `fantail plan`: reads the figures, plans, and prints. */
import { UsageError } from '../domain/errors.js';
import { grouped, tableLines } from '../terminal/tables.js';
import { type Figures, figuresOf, type GivenFigures, type SourcedFigures } from './figures.js';
import { wireTime_us } from './link.js';
import { type Percentiles, type Plan, planOf } from './plan.js';

export interface PlanFlags extends GivenFigures {
  readonly subscribers: number;
  /** Packets a second. */
  readonly rate: number;
  /** Bytes of payload. */
  readonly size: number;
  readonly bench?: string;
  readonly row: string;
  readonly utilisation: number;
  readonly fanOut?: number;
  readonly members?: number;
  readonly latencyUs?: number;
  readonly json?: boolean;
}

export function plan(flags: PlanFlags): void {
  const { subscribers, rate, size, bench, row, utilisation, fanOut, members, latencyUs } = flags;
  if (fanOut !== undefined && members !== undefined)
    throw new UsageError('--fan-out and --members exclude each other');
  const source = bench === undefined ? null : { file: bench, competitor: row };
  const known = figuresOf(flags, source, size);
  const feed = { packets_per_second: rate, payload_bytes: size };
  const made = planOf({
    subscribers,
    feed,
    figures: known.figures,
    utilisation,
    fanOut: fanOut ?? null,
    members: members ?? null,
    latency_us: latencyUs ?? null,
  });
  if (flags.json === true)
    console.log(
      JSON.stringify({ version: 1, feed, utilisation_max: utilisation, ...made, ...known }),
    );
  else console.log(textOf(made, known, flags));
}

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
const many = (count: number, noun: string) => `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;

function textOf(made: Plan, known: SourcedFigures, { rate, size, utilisation }: PlanFlags): string {
  const { subscribers, members, levels, children_max } = made;
  const feed = `${grouped(rate)} packets/s of ${size} bytes`;
  const rows = levels.map((level, index) => [
    index + 1,
    level.members,
    `${grouped(level.children)} ${index === levels.length - 1 ? 'subscribers' : 'relays'}`,
    level.copies_per_second,
    percent(level.utilisation),
    level.link_share === null ? '-' : percent(level.link_share),
  ]);
  const ofPackets = (name: string, { p50, p99 }: Percentiles) => [name, us(p50), us(p99)];
  const expected = [
    ...(made.latency_us === null ? [] : [ofPackets('to the last subscriber', made.latency_us)]),
    ofPackets('first copy to last', made.window_us),
  ];
  return [
    `${many(subscribers, 'subscriber')}, ${feed}: ${many(members, 'member')} in ${many(levels.length, 'level')}`,
    '',
    ...tableLines(['level', 'members', 'each serves', 'copies/s', 'busy', 'link'], rows),
    '',
    ...tableLines(['expected', 'p50', 'p99'], expected),
    '',
    `A member may have ${many(children_max, 'child').replace('childs', 'children')}: ${boundText(made, utilisation)}.`,
    linkText(known, size),
    '',
    ...tableLines(['figure', 'value', 'from'], figureRows(known)),
    ...(known.machine === null ? [] : ['', `bench: ${known.machine}`]),
  ].join('\n');
}

function boundText({ bound }: Plan, utilisation: number): string {
  switch (bound) {
    case 'table of subscribers':
      return 'its table has no more rows';
    case 'link':
      return `${percent(utilisation)} of its link`;
    case 'lossless copies':
      return `${percent(utilisation)} of the copies that it sends without a loss`;
    case 'time for a packet':
      return `${percent(utilisation)} of its time`;
  }
}

function linkText({ figures: { link_gbps } }: SourcedFigures, size_bytes: number): string {
  if (link_gbps === null) return 'The link is no bound: --link-gbps was not given.';
  return `A copy takes ${us(wireTime_us(size_bytes, link_gbps))} of the link.`;
}

/** Four digits, which is more than is known. */
const inDigits = (value: number) => value.toLocaleString('en-US', { maximumSignificantDigits: 4 });
const us = (value: number) => `${inDigits(value)} µs`;

const SHOWN: readonly [name: keyof Figures, label: string, unit: string][] = [
  ['first_copy_us', 'first copy', 'µs'],
  ['copy_us', 'each more', 'µs'],
  ['copies_per_second', 'lossless', 'copies/s'],
  ['jitter_ratio', 'p99 over p50', ''],
  ['hop_us', 'each link', 'µs'],
  ['link_gbps', 'link', 'Gbit/s'],
];

const figureRows = ({ figures, from }: SourcedFigures) =>
  SHOWN.map(([name, label, unit]) => {
    const value = figures[name];
    const text = value === null ? '-' : `${inDigits(value)} ${unit}`.trim();
    return [label, text, from[name]];
  });
