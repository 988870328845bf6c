/**
 * README and the pages of docs/ hold: what they name (command lines, flags, messages, metrics,
 * codes, drops, findings, files, links) exists, and what exists is named where a user looks for it.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { keysOf } from '../../src/cli/configuration/keys.js';
import { SECTIONS } from '../../src/cli/configuration/sections.js';
import { up } from '../../src/cli/declarations/replicator.js';
import { operations } from '../../src/control/operations.js';
import { KINDS } from '../../src/doctor/topics.js';
import { codes } from '../../src/domain/errors.js';
import { version } from '../../src/domain/installation.js';
import { enums, limits, membersOf, structOf } from '../../src/memory/layout.js';
import { familiesOf } from '../../src/metrics/families.js';
import { emptyStats } from '../rig/memory-replicator.js';
import { MAIN, ROOT } from '../rig/program.js';
import {
  bin,
  checkFlag,
  checkLine,
  checkMessage,
  commands,
  isForeign,
  isJudged,
  linesOf,
  toolSources,
  typedLines,
  words,
} from './commands.js';
import {
  allPages,
  anchorsOf,
  type Block,
  codesOf,
  namesIn,
  page,
  pages,
  type Row,
} from './pages.js';
import { isUntyped, keyOf, untyped } from './untyped.js';

const test = suite('README and docs');
const REFERENCE = 'docs/reference.md';
const PROTOCOL = 'docs/protocol.md';

/** Fails with the place of what is wrong. */
function at(place: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (error instanceof Error) error.message = `${place}: ${error.message}`;
    throw error;
  }
}

const sorted = (names: Iterable<string>) => [...new Set(names)].sort();
const blocks = pages.flatMap(({ path, parts }) =>
  parts
    .filter((part): part is Block => part.kind === 'block')
    .map((block) => ({ ...block, place: `${path}:${block.line}` })),
);

// ---- what is named exists -----------------------------------------------------------------------

test('every command line of a block exists, with those flags, values and arguments', () => {
  let found = 0;
  for (const { info, text, place } of blocks.filter(({ info: [kind] }) => kind === 'sh'))
    for (const line of linesOf(text)) {
      const isKnown =
        info.length === 1 || /^run( (net|demo|fleet))?$/.test(info.slice(1).join(' '));
      assert.ok(isKnown, `${place} is sh, or sh run, on net, with the demo or with a fleet`);
      at(`${place}: ${line}`, () => checkLine(words(line)));
      found++;
    }
  assert.ok(found > 100, `only ${found} lines were found`);
});

test('every line of a block of commands is typed, or it is listed why it is not', () => {
  const shown = blocks.filter(({ info: [kind] }) => kind === 'sh');
  const isRun = ({ info }: Block) => info[1] === 'run';
  for (const { text, place } of shown.filter((block) => !isRun(block)))
    for (const line of typedLines(text))
      assert.ok(isUntyped(line), `${place} is not "sh run", and untyped.ts has no: ${line}`);
  for (const { text, place } of shown.filter(isRun))
    assert.ok(
      !typedLines(text).every(isUntyped),
      `${place}: nothing of it is typed: it is sh, not sh run`,
    );
  const lines = new Set(shown.flatMap(({ text }) => typedLines(text)).map(keyOf));
  for (const line of untyped.keys()) assert.ok(lines.has(line), `no page has: ${line}`);
  for (const { info, place } of blocks.filter(({ info: [kind = ''] }) => /^(js|py)/.test(kind)))
    assert.is(info[1], 'run', `${place} is a program, and typed`);
});

test('no block of commands goes by another name', () => {
  const isPicture = (text: string) => text.includes('│');
  const others = blocks.filter(({ info: [kind], text }) => kind !== 'sh' && !isPicture(text));
  for (const { info, text, place } of others)
    for (const line of text.split('\n').map(words))
      assert.not(isJudged(line), `${place} has a command and is ${info.join(' ')}, not sh`);
});

/** Without what stands for the words before it, or starts it. */
const bare = (line: string) => line.replace(/^(… |nice -n \S+ )/, '');

test('every command line between backticks exists, with those flags and values', () => {
  let found = 0;
  for (const { path, codes: named } of pages)
    for (const line of named.flatMap(linesOf).map(bare)) {
      if (!isJudged(words(line))) continue;
      at(`${path}: ${line}`, () => checkLine(words(line), false));
      found++;
    }
  assert.ok(found > 100, `only ${found} were found`);
});

/** Of other programs, where a page names one alone. */
const FOREIGN_FLAGS = [
  ...[
    '--disable',
    '--disable-wasm-trap-handler',
    '--initialMemory',
    '--ctrl',
    '--producer',
    '--silent',
  ],
  // of containers and npm
  ...['--cap-add', '--cap-drop', '--cpuset-cpus', '--health-cmd', '--init', '--network', '--pid'],
  ...['--privileged', '--read-only', '--security-opt', '--tmpfs', '--ulimit', '--user', '--userns'],
  ...[
    '--build-arg',
    '--volume',
    '--format',
    '--cpu-manager-policy',
    '--cache',
    '--offline',
    '--omit',
  ],
  ...['--prefix', '--registry', '--no-git-tag-version', '--yes'],
  // of etcd
  ...['--data-dir', '--bump-revision', '--mark-compacted'],
];

/** Those of what `npm run` starts, as their sources declare them. */
const flagsOfTools = () =>
  toolSources.flatMap((file) => readFileSync(file, 'utf8').match(/--[a-z-]+/g) ?? []);

test('every flag between backticks is one that some command takes', () => {
  const known = new Set([
    ...[...commands.values()].flatMap(({ flags }) => flags.map(({ name }) => name)),
    ...['--version', '--control-port', ...FOREIGN_FLAGS, ...flagsOfTools()],
  ]);
  for (const { path, codes: named } of pages)
    for (const code of named.filter((each) => !isForeign(words(each))))
      for (const flag of code.match(/(?<=^|[\s(])--[a-z][a-zA-Z-]*/g) ?? [])
        assert.ok(known.has(flag), `${path} names ${flag}, which nothing takes`);
  for (const { path, codes: named } of pages)
    for (const [flag = '', value] of named.map(words))
      if (flag.startsWith('--') && value !== undefined)
        at(`${path}: ${flag} ${value}`, () => checkFlag(flag, value));
});

test('every file that a page names is there, and every link leads somewhere', () => {
  let found = 0;
  for (const each of allPages) {
    const paths = each.text.matchAll(
      /`((?:\.ci|assembly|bpf|docs|native|src|test|tools)\/[\w./@-]+)`/g,
    );
    for (const [, path = ''] of paths)
      assert.ok(existsSync(join(ROOT, path)), `${each.path} names ${path}, which is not there`);
    for (const [, target = ''] of each.text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? each.path : join(dirname(each.path), file);
      assert.ok(existsSync(join(ROOT, path)), `${each.path} links to ${target}`);
      if (anchor !== undefined)
        assert.ok(anchorsOf(page(path)).has(anchor), `${each.path}: ${path} has no #${anchor}`);
      found++;
    }
  }
  assert.ok(found > 50, `only ${found} links were found`);
});

/** Of the kernel, of others' programs, and of filters that are no part of fantail. */
const FOREIGN_NAMES = /^(CAP|XDP|NO|AF)_|^(rp_filter|sched_yield)$/;

test('names of findings, drops, fields and codes in the pages of users are those that there are', () => {
  const users = ['operators', 'troubleshooting', 'migrating', 'filters', 'promises', 'reference'];
  const known = new Set([
    ...[...Object.keys(KINDS), ...codes, ...Object.keys(bin)],
    ...enums
      .flatMap(({ name, members }) => members.map((each) => [each, `${name}_${each}`]))
      .flat(),
    ...page(PROTOCOL).codes.flatMap((code) => code.split(/[^\w]+/)),
    ...[...commands.values()].flatMap((node) => node.words.map(({ name }) => name)),
    ...structOf('filter_report').fields.map(({ name }) => name),
    ...['last_gaps', 'lead_ns'], // of a report in stats
    ...['set_source', 'set_dscp', 'set_ttl', 'send_rewritten', 'u8_at'], // of the SDK for filters
    ...['fantail_abi', 'fantail_burst', 'fantail_state', 'fantail_report', 'FANTAIL_WORDS'],
    'NOTIFY_SOCKET', // sd_notify(3)
  ]);
  for (const path of ['README.md', ...users.map((name) => `docs/${name}.md`)])
    for (const code of page(path).codes)
      for (const [name] of code.matchAll(/^[A-Za-z]\w*_\w+$/g))
        assert.ok(known.has(name) || FOREIGN_NAMES.test(name), `${path} names ${name}`);
});

/** What people read of a program stands in its sources, but for the words that differ (…). */
test('the sentences that symptoms begin with are those of the sources', () => {
  const texts = ['src', 'native', 'tools'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|cpp|mjs)$/.test(name) && !name.includes('build/'))
      .map((name) => readFileSync(join(ROOT, folder, name), 'utf8')),
  );
  let found = 0;
  for (const [, symptom = ''] of page('docs/troubleshooting.md').text.matchAll(/^\*\*(.*?)\*\*/gm))
    for (const part of codesOf(symptom).flatMap((code) => code.split('…'))) {
      const said = part.trim();
      assert.ok(
        texts.some((text) => text.includes(said)),
        `nothing says: ${said}`,
      );
      found++;
    }
  assert.ok(found > 15, `only ${found} were found`);
});

test('what looks like a metric is one, or an export of a filter', () => {
  const known = new Set(metrics().map(({ name }) => name));
  const exports = ['fantail_abi', 'fantail_burst', 'fantail_state', 'fantail_report'];
  for (const { path, codes: named } of pages)
    for (const [word] of named.join('\n').matchAll(/\bfantail_\w+/g))
      assert.ok(known.has(word) || exports.includes(word), `${path} names ${word}`);
});

test('the YAML of pages has keys that the configuration file knows', () => {
  const known = new Set([...keysOf(up()).map(({ name }) => name), ...SECTIONS]);
  const files = blocks.flatMap(({ text, info: [kind] }) => {
    if (kind === 'yaml') return [text];
    return [...text.matchAll(/yaml <<'END'\n([\s\S]*?)^END$/gm)].map(([, inner = '']) => inner);
  });
  const keys = files
    .filter((text) => /^interface:/m.test(text))
    .flatMap((text) => text.match(/^[a-z][a-z-]*(?=:)/gm) ?? []);
  assert.ok(keys.length > 15, `only ${keys.length} keys were found`);
  for (const key of keys) assert.ok(known.has(key), `there is no key ${key}`);
});

// ---- what exists is named -----------------------------------------------------------------------

test('fantail answers --help and --version, and the version is that of the package', () => {
  for (const [flag, answer] of [
    ['--help', /^Usage: fantail /],
    ['--version', new RegExp(`^${version}\n$`)],
  ] as const) {
    const { status, stdout } = spawnSync(process.execPath, [MAIN, flag], { encoding: 'utf8' });
    assert.is(status, 0);
    assert.match(stdout, answer);
  }
});

test('the reference has every command and flag, and every operation as it is typed', () => {
  const { text } = page(REFERENCE);
  for (const [name, { flags, words: its, nodes }] of commands) {
    if (nodes.length > 0) continue;
    const section = text.split(`\n### fantail ${name}\n`)[1]?.split('\n### ')[0];
    assert.ok(section !== undefined, `${REFERENCE} has no fantail ${name}`);
    for (const each of [...flags, ...its])
      if (each.name !== '--help') assert.ok(section.includes(each.name), `${name} ${each.name}`);
  }
  assert.equal(
    namesIn(REFERENCE, 'typed'),
    Object.values(operations).map(({ typed }) => typed),
  );
});

test('the table of operations has a row for each, typed and as JSON, both understood', () => {
  const rows = page(PROTOCOL).parts.filter(
    (part): part is Row => part.kind === 'row' && part.head[0] === 'typed',
  );
  const asked = rows.map(({ cells: [typed = '', object = ''] }) => {
    const op = checkMessage(typed.replaceAll('`', ''));
    assert.is(checkMessage(object.replaceAll('`', '')), op, `${typed} and ${object} are one`);
    return op;
  });
  assert.equal(asked.sort(), Object.keys(operations).sort());
});

test('who may only read may use the operations that the protocol page lists', () => {
  const [, list = ''] =
    /may use the operations that read: (.*?)\.\n/s.exec(page(PROTOCOL).text) ?? [];
  const named = [...list.matchAll(/`([a-z ]+)`/g)].map(([, name = '']) => name.replace(' ', '.'));
  const reading = Object.entries(operations).filter(([, row]) => 'reads' in row && row.reads);
  assert.equal(named.sort(), reading.map(([name]) => name).sort());
});

test('tables name every code, drop, verdict, refusal and stage, and nothing besides', () => {
  const members = (name: string) => enums.find((each) => each.name === name)?.members ?? [];
  const tables: [string, string, readonly string[]][] = [
    [PROTOCOL, 'code', codes],
    [REFERENCE, 'drop', members('drop')],
    ['docs/troubleshooting.md', 'drop', members('drop')],
    [REFERENCE, '`xdp`', members('verdict')],
    [REFERENCE, 'drop of a frame', membersOf('invalid').map((name) => `invalid_${name}`)],
    [REFERENCE, 'stage', members('stage')],
    ['docs/operators.md', '`--mode`', ['auto', ...membersOf('mode')]],
    ['docs/operators.md', '`--layout`', ['auto', ...membersOf('layout')]],
  ];
  for (const [path, head, names] of tables)
    assert.equal(sorted(namesIn(path, head)), sorted(names), `${path}, table of ${head}`);
});

test('the table of reload has every key of the configuration file, each once', () => {
  const known = [...keysOf(up()).map(({ name }) => name), ...SECTIONS];
  assert.equal(namesIn('docs/configuration.md', 'key').sort(), known.sort());
});

const metrics = () =>
  familiesOf({
    version,
    stats: emptyStats(),
    states: new Map(),
    histograms: [],
    filters: [],
    requests: [],
    accounts: [],
    others: null,
  });

test('the page of metrics has a row for each, and the type that it has', () => {
  const rows = page('docs/monitoring/metrics.md').parts.filter(
    (part): part is Row => part.kind === 'row' && part.head[0] === 'name',
  );
  const told = rows.map(
    ({ cells: [name = '', type = ''] }) => `${name.replaceAll('`', '')} ${type}`,
  );
  assert.equal(sorted(told), sorted(metrics().map(({ name, type }) => `${name} ${type}`)));
});

test('the page of symptoms names every finding of doctor', () => {
  const named = new Set(page('docs/troubleshooting.md').codes);
  for (const name of Object.keys(KINDS)) assert.ok(named.has(name), `${name} is not there`);
});

test('its limits are those of the code', () => {
  const { text } = page(REFERENCE);
  const rows: [RegExp, number][] = [
    [/subscribers \| (\d+) of/, limits.SUBSCRIBERS_MAX],
    [/feeds \| (\d+) of/, limits.FEEDS_MAX],
    [/(\d+) queues, \d+ workers of one launcher/, limits.QUEUES_MAX],
    [/\d+ queues, (\d+) workers of one launcher/, limits.WORKERS_MAX],
    [/filters \| (\d+) loaded/, limits.FILTERS_MAX],
    [/per queue (\d+) RX/, limits.RX_FRAMES],
    [/and (\d+) TX frames/, limits.TX_FRAMES],
    [/TX frames of (\d+) bytes/, limits.FRAME_SIZE],
  ];
  for (const [pattern, value] of rows)
    assert.is(Number(pattern.exec(text)?.[1]), value, String(pattern));
});

test.run();
