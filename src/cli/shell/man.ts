/** Manual pages in the macros of man(7), one a command: fantail(1), fantail-up(1), … */
import { version } from '../../domain/installation.js';
import { type Flag, type Node, pathText, type Word } from './tree.js';

/**
 * Text as troff prints it: a backslash and a dash by name, and no control character at the start of
 * a line.
 */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(['.])/gm, '\\&$1')
    .replace(
      /[^ -~\n]/gu,
      (sign) => `\\[u${sign.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}

const bold = (text: string) => `\\fB${escaped(text)}\\fR`;
const italic = (text: string) => `\\fI${escaped(text)}\\fR`;

/** A macro's argument. */
const argument = (text: string) => `"${escaped(text).replaceAll('"', '\\(dq')}"`;

export const pageName = ({ path }: Node): string => path.join('-');

const wordText = ({ name, isRequired }: Word) => (isRequired ? italic(name) : `[${italic(name)}]`);

function flagText({ name, value }: Flag): string {
  if (value === null) return bold(name);
  const inner = italic(value.slice(1, -1));
  return `${bold(name)} ${value.startsWith('[') ? `[${inner}]` : inner}`;
}

function synopsisOf(node: Node): string {
  const name = bold(node.path.join(' '));
  if (node.nodes.length > 0) return `${name} ${italic('command')} [${italic('arguments')}]`;
  return [name, ...node.words.map(wordText), `[${italic('flags')}]`].join(' ');
}

/** A tagged paragraph. */
const entry = (tag: string, text: string) => `.TP\n${tag}\n${escaped(text)}`;

function sectionsOfFlags(flags: readonly Flag[]): string[] {
  const groups = new Map<string, Flag[]>();
  for (const flag of flags) groups.set(flag.group, [...(groups.get(flag.group) ?? []), flag]);
  return [...groups].flatMap(([group, its]) => [
    ...(group === '' ? [] : [`.SS ${argument(group.replace(/:$/, ''))}`]),
    ...its.map((flag) => entry(flagText(flag), flag.does)),
  ]);
}

const section = (title: string, lines: readonly string[]) =>
  lines.length === 0 ? [] : [`.SH ${title}`, ...lines];

const STATUS = [
  entry('0', 'done, also after Ctrl-C.'),
  entry('1', 'it failed; one line on stderr says why, and what to do.'),
  entry('2', 'it was misused: its words, or the file that they name, are wrong.'),
];

export function manOf(node: Node, all: readonly Node[]): string {
  const name = pageName(node);
  const related = all.filter((each) => {
    const isAbove = node.path.length === each.path.length + 1;
    return isAbove && pathText(node).startsWith(pathText(each));
  });
  const pages = [...related, ...node.nodes];
  const see = pages.map((each, index) => {
    const comma = index < pages.length - 1 ? ',' : '';
    return `.BR ${argument(pageName(each))} (1)${comma}`;
  });
  return `${[
    `.TH ${argument(name.toUpperCase())} 1 "" ${argument(`fantail ${version}`)} ${argument('fantail')}`,
    '.SH NAME',
    `${escaped(name)} \\- ${escaped(node.does.replace(/\.$/, ''))}`,
    '.SH SYNOPSIS',
    synopsisOf(node),
    '.SH DESCRIPTION',
    escaped(node.does),
    ...section(
      'COMMANDS',
      node.nodes.map((each) => entry(bold(each.path.at(-1) ?? ''), each.does)),
    ),
    ...section(
      'ARGUMENTS',
      node.words.map((word) => entry(wordText(word), word.does)),
    ),
    ...section('FLAGS', sectionsOfFlags(node.flags)),
    ...(node.notes === '' ? [] : ['.SH NOTES', '.nf', escaped(node.notes), '.fi']),
    ...section('EXIT STATUS', STATUS),
    ...section('SEE ALSO', see),
  ].join('\n')}\n`;
}
