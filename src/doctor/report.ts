/** What doctor says: a row for each topic that is fine, and one for each finding. */
import type { Finding, Level } from '../domain/finding.js';
import { insteadOf, linesOf, type Shell } from './cures.js';
import type { Subject } from './subject.js';
import type { Topic } from './topics.js';

export interface Row {
  readonly topic: string;
  /** Of the finding; null: nothing is wrong. */
  readonly name: string | null;
  readonly level: Level | 'fine';
  readonly what: string;
  readonly why: string | null;
  /** Lines for a shell, each of which mends it. */
  readonly cures: readonly string[];
  /** Where there is no line. */
  readonly instead: string | null;
}

export interface Section {
  /** Null: the machine. */
  readonly interface: string | null;
  readonly rows: readonly Row[];
}

export interface Report {
  readonly version: 1;
  /** Nothing must be mended. */
  readonly ok: boolean;
  readonly sections: readonly Section[];
  /** What could not be seen, and what that takes. */
  readonly unseen: readonly string[];
}

export function rowsOf<About extends Subject>(
  topics: readonly Topic<About>[],
  subject: About,
  shell: Shell,
): Row[] {
  return topics.flatMap(({ name, judge, fine }) => {
    const found = judge(subject).filter((each) => each !== null);
    if (found.length > 0) return once(found.map((finding) => rowOf(name, finding, shell)));
    const what = fine(subject);
    return what === null ? [] : [fineRow(name, what)];
  });
}

/** What holds for several feeds alike is said once. */
function once(rows: readonly Row[]): Row[] {
  return [...new Map(rows.map((row) => [JSON.stringify(row), row])).values()];
}

function rowOf(topic: string, finding: Finding, shell: Shell): Row {
  const { name, level, what, why } = finding;
  const cures = linesOf(finding, shell);
  const instead = cures.length > 0 ? null : insteadOf(finding);
  return { topic, name, level, what, why, cures, instead };
}

const fineRow = (topic: string, what: string): Row => {
  return { topic, name: null, level: 'fine', what, why: null, cures: [], instead: null };
};

export function reportOf(sections: readonly Section[], unseen: readonly string[]): Report {
  const ok = sections.every(({ rows }) => rows.every(({ level }) => level !== 'must'));
  return { version: 1, ok, sections, unseen: [...new Set(unseen)] };
}

const MARKS = { fine: ['✓', '32'], better: ['!', '33'], must: ['✗', '31'] } as const;

/** Names of others (interfaces, chains, processes) may hold what a terminal would obey. */
const shown = (text: string) => text.replaceAll(/\p{Cc}/gu, '?');

/** As people read it; `isColoured`: for a terminal (ECMA-48 colours). */
export function textOf({ sections, unseen, ok }: Report, isColoured: boolean): string {
  const topics = sections.flatMap(({ rows }) => rows.map(({ topic }) => topic.length));
  const width = Math.max(0, ...topics);
  const mark = (level: Row['level']) => {
    const [sign, colour] = MARKS[level];
    return isColoured ? `\x1b[${colour}m${sign}\x1b[0m` : sign;
  };
  const lines = sections.flatMap(({ interface: name, rows }) => [
    shown(name ?? 'this machine'),
    ...rows.flatMap((row) => {
      const indent = ' '.repeat(width + 6);
      return [
        `  ${mark(row.level)} ${row.topic.padEnd(width)}  ${shown(row.what)}`,
        ...(row.why === null ? [] : [`${indent}why: ${row.why}`]),
        ...row.cures.map((line, at) => `${indent}${at === 0 ? 'mend: ' : 'or: '}${shown(line)}`),
        ...(row.level === 'fine' || row.cures.length > 0
          ? []
          : [`${indent}no line mends it: ${row.instead ?? 'nothing is known that does'}`]),
      ];
    }),
    '',
  ]);
  const blind = unseen.map((what) => `not seen: ${shown(what)}`);
  const end = ok ? 'nothing must be mended' : 'what is marked ✗ must be mended';
  return [...lines, ...blind, end].join('\n');
}
