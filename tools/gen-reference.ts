/**
 * The declarations of the command line and of the control channel → the generated tables of
 * docs/reference.md, between their marks.
 *
 * `node dist/tools/gen-reference.js` writes them; with `--check` it writes nothing and exits 1
 * where they are stale.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fantail } from '../src/cli/fantail.js';
import { allOf, type Flag, type Node, treeOf, type Word } from '../src/cli/shell/tree.js';
import { operations } from '../src/control/operations.js';

const FILE = 'docs/reference.md';
/** A flag that says the same in so many commands stands once. */
const SHARED_MIN = 5;

const cell = (text: string) => text.replaceAll('|', '\\|').replace(/\s+/g, ' ');
/** Text of a help beside its names: what Markdown would take for a tag is code. */
const prose = (text: string) => cell(text.replaceAll(/<[\w.:=-]+>/g, (name) => `\`${name}\``));
const row = (name: string, does: string) => `| \`${cell(name)}\` | ${prose(does)} |`;

const flagName = ({ name, value }: Flag) => (value === null ? name : `${name} ${value}`);
const sayOf = (flag: Flag) => `${flagName(flag)} ${flag.does}`;
const wordName = ({ name, isRequired }: Word) => (isRequired ? `<${name}>` : `[${name}]`);

const commands: Node[] = allOf(treeOf(fantail()));
const isOwn = ({ name }: Flag) => name !== '--help';

function countsOf(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

const told = countsOf(commands.flatMap(({ flags }) => flags.filter(isOwn).map(sayOf)));
const isShared = (flag: Flag) => (told.get(sayOf(flag)) ?? 0) >= SHARED_MIN;

function sharedTable(): string[] {
  const shared = new Map(
    commands.flatMap(({ flags }) => flags.filter(isShared).map((flag) => [sayOf(flag), flag])),
  );
  return [
    '### Flags of every command that asks a replicator',
    '',
    '| flag | |',
    '| --- | --- |',
    ...[...shared.values()].map((flag) => row(flagName(flag), flag.does)),
    '',
  ];
}

function commandSection(node: Node): string[] {
  const name = node.path.join(' ');
  const [own, shared] = [false, true].map((is) =>
    node.flags.filter(isOwn).filter((flag) => isShared(flag) === is),
  ) as [Flag[], Flag[]]; // one for each of the two
  const rows = [
    ...node.words.map((word) => row(wordName(word), word.does)),
    ...own.map((flag) => row(flagName(flag), flag.does)),
  ];
  const others = shared.map(({ name: flag }) => `\`${flag}\``).join(', ');
  return [
    `### ${name}`,
    '',
    `\`${[name, ...node.words.map(wordName)].join(' ')}\`: ${prose(node.does)}`,
    '',
    ...(rows.length === 0 ? [] : ['| | |', '| --- | --- |', ...rows, '']),
    ...(others === '' ? [] : [`Also ${others}: above.`, '']),
    ...(node.notes === '' ? [] : ['```', node.notes, '```', '']),
  ];
}

/** Those that do something: `fantail` and `fantail filter` only lead to others. */
const commandTables = () => [
  ...sharedTable(),
  ...commands.filter(({ nodes }) => nodes.length === 0).flatMap(commandSection),
];

const operationTable = () => [
  '| typed | does | reads |',
  '| --- | --- | --- |',
  ...Object.values(operations).map(({ typed, does, ...more }) => {
    const reads = 'reads' in more && more.reads === true ? 'yes' : '';
    return `${row(typed, does)} ${reads} |`;
  }),
];

/** Puts lines between the marks of that name. */
function replaced(page: string, name: string, lines: readonly string[]): string {
  const [begin, end] = [`<!-- ${name}: generated -->\n`, `<!-- end of ${name} -->`];
  const [before = '', rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`${FILE} has no marks of ${name}`);
  return `${before}${begin}\n${lines.join('\n').trim()}\n\n${end}${after}`;
}

const page = readFileSync(FILE, 'utf8');
const written = replaced(
  replaced(page, 'commands', commandTables()),
  'operations',
  operationTable(),
);
if (written !== page && process.argv.includes('--check')) {
  process.stderr.write(`gen-reference: ${FILE} is stale; run npm run gen\n`);
  process.exitCode = 1;
} else if (written !== page) writeFileSync(FILE, written);
