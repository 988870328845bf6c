/**
 * README.md and the pages of docs/ as the tests read them: blocks, tables, links, and what stands
 * between backticks.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../rig/program.js';

/** What was, not what is. */
const HISTORY = ['docs/decisions.md', 'docs/CHANGELOG.md'];

/** ```` ```sh run net ````: what it is, and how a test treats it. */
export interface Block {
  readonly kind: 'block';
  readonly line: number;
  readonly info: readonly string[];
  readonly text: string;
}

/** Of a table: its cells, and those of its head. */
export interface Row {
  readonly kind: 'row';
  readonly line: number;
  readonly head: readonly string[];
  readonly cells: readonly string[];
}

export interface Page {
  /** From the project's folder. */
  readonly path: string;
  readonly text: string;
  /** In the order of the page. */
  readonly parts: readonly (Block | Row)[];
  /** Between backticks, outside blocks. */
  readonly codes: readonly string[];
}

const cellsOf = (line: string) =>
  line
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));

function partsOf(text: string): (Block | Row)[] {
  const parts: (Block | Row)[] = [];
  const lines = text.split('\n');
  let head: string[] | null = null;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const info = /^```(.*)$/.exec(line)?.[1];
    if (info !== undefined) {
      const end = lines.indexOf('```', at + 1);
      if (end < 0) throw new Error(`a block that begins at line ${at + 1} has no end`);
      const inner = lines.slice(at + 1, end).join('\n');
      parts.push({ kind: 'block', line: at + 1, info: info.split(' '), text: inner });
      at = end;
    } else if (!line.startsWith('|')) head = null;
    else if (head === null) {
      head = cellsOf(line);
      at++; // the rule below it
    } else parts.push({ kind: 'row', line: at + 1, head, cells: cellsOf(line) });
  }
  return parts;
}

export const codesOf = (text: string): string[] =>
  [...text.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, code = '']) => code.replaceAll('\\|', '|'));

function pageOf(path: string): Page {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const outside = text.replaceAll(/^```[\s\S]*?^```$/gm, '');
  return { path, text, parts: partsOf(text), codes: codesOf(outside) };
}

const paths = ['README.md', 'docs']
  .flatMap((path) =>
    path === 'docs'
      ? readdirSync(join(ROOT, path), { recursive: true, encoding: 'utf8' }).map((name) =>
          join(path, name),
        )
      : [path],
  )
  .filter((path) => path.endsWith('.md'))
  .sort();

export const allPages: readonly Page[] = paths.map(pageOf);
/** Those that say what is. */
export const pages = allPages.filter(({ path }) => !HISTORY.includes(path));

export function page(path: string): Page {
  const found = allPages.find((each) => each.path === path);
  if (found === undefined) throw new Error(`there is no page ${path}`);
  return found;
}

/** First cells of the tables whose first head is `head`, without backticks. */
export const namesIn = (path: string, head: string): string[] =>
  page(path)
    .parts.filter((part): part is Row => part.kind === 'row' && part.head[0] === head)
    .flatMap(({ cells }) => codesOf(cells[0] ?? ''));

/** As GitHub makes it of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

export const anchorsOf = ({ text }: Page): Set<string> =>
  new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading)));
