/**
 * The README holds: every command in it exists with exactly those flags, every control message is
 * understood, every path that it names is there, and its tables name what the code counts.
 *
 * needs: a link
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Codec } from '../../src/control/codec.js';
import { operations } from '../../src/control/operations.js';
import { codes } from '../../src/domain/errors.js';
import { enums, limits, membersOf } from '../../src/memory/layout.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const MAIN = join(ROOT, 'build/programs/main.js');
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const test = suite('README');

/** Words of a shell line as the shell would split it; comments dropped. */
function words(line: string): string[] {
  const found: string[] = [];
  for (const match of line.matchAll(/'([^']*)'|(#.*$)|([^\s']+)/g)) {
    if (match[2] !== undefined) break;
    found.push(match[1] ?? match[3] ?? '');
  }
  return found;
}

const commands = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)]
  .flatMap((match) => (match[1] ?? '').split('\n'))
  .map(words)
  .filter((line) => line.length > 0);

const helpTexts = new Map<string, string>();

/** Programs of package.json beside fantail itself; a file each. */
const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
};

/** Of a command of fantail, or of a program beside it. */
function helpOf(command: string): string {
  const known = helpTexts.get(command);
  if (known !== undefined) return known;
  const file = bin[command];
  const asked = file === undefined ? [MAIN, ...command.split(' ')] : [join(ROOT, file)];
  const { status, stdout } = spawnSync(process.execPath, [...asked, '--help'], {
    encoding: 'utf8',
  });
  assert.is(status, 0, `${command} --help`);
  helpTexts.set(command, stdout);
  return stdout;
}

/** A flag stands in the help at the start of a line, behind its indentation. */
function assertFlags(command: string, given: readonly string[]): void {
  const flags = new Set([...helpOf(command).matchAll(/^ +(--[a-z-]+)/gm)].map((match) => match[1]));
  for (const flag of given.filter((word) => word.startsWith('--')))
    assert.ok(flags.has(flag), `fantail ${command} has no ${flag}`);
}

/** As many positional arguments as the help's first line asks for. */
function assertArguments(command: string, given: readonly string[]): void {
  const usage = helpOf(command).split('\n')[0] ?? '';
  const most = (usage.match(/<[\w.]+>|\[[\w.]+\]/g) ?? []).filter(
    (word) => word !== '[options]',
  ).length;
  const least = (usage.match(/<[\w.]+>/g) ?? []).length;
  const takesValue = (flag: string) => new RegExp(`^ +${flag} [<]`, 'm').test(helpOf(command));
  const positional = given.filter((word, index) => {
    const before = given[index - 1] ?? '';
    return !word.startsWith('--') && !(before.startsWith('--') && takesValue(before));
  });
  assert.ok(
    positional.length >= least && positional.length <= most,
    `fantail ${command} ${given.join(' ')}`,
  );
}

function checkFantail(command: string, given: readonly string[]): void {
  assertFlags(command, given);
  assertArguments(command, given);
}

const codec = new Codec(operations);

/** The operation that it asks for. */
function checkMessage(message: string): string {
  const decoded = codec.decode(Buffer.from(message), false);
  assert.ok('request' in decoded, `the control channel does not understand: ${message}`);
  return decoded.request.op;
}

function checkNpm(line: readonly string[]): void {
  const scripts = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).scripts as Record<
    string,
    string
  >;
  const [verb = '', name = ''] = line;
  const script = verb === 'run' ? name : verb;
  assert.ok(script in scripts, `package.json has no script ${script}`);
  if (script !== 'start' || !line.includes('--')) return;
  const given = line.slice(line.indexOf('--') + 1);
  checkFantail(given[0]?.startsWith('-') ? 'demo' : 'up', given);
}

function checkWscat(line: readonly string[]): void {
  const { stdout } = spawnSync('node_modules/.bin/wscat', ['--help'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const flag of line.filter((word) => /^--?[a-zA-Z]+$/.test(word)))
    assert.match(stdout, new RegExp(`(^|\\s)${flag}[,\\s]`, 'm'), `wscat has no ${flag}`);
  checkMessage(line[line.indexOf('-x') + 1] ?? '');
}

function checkLine([program = '', ...rest]: readonly string[]): void {
  const [name = ''] = rest;
  if (program === 'npm') checkNpm(rest);
  else if (
    program === 'npx' &&
    name === 'fantail' &&
    ['filter', 'feed', 'config'].includes(rest[1] ?? '')
  )
    checkFantail(`${rest[1]} ${rest[2]}`, rest.slice(3)); // a command of its own each
  else if (program === 'npx' && name === 'fantail') checkFantail(rest[1] ?? '', rest.slice(2));
  else if (program === 'npx' && name === 'wscat') checkWscat(rest);
  else if (program === 'npx' && name in bin) checkFantail(name, rest.slice(1));
  else if (program === 'ip' && rest[0] === 'netns' && rest[1] === 'exec') checkLine(rest.slice(3));
  else if (!/^[A-Z]+=\$\(ip$/.test(program))
    assert.unreachable(`nobody checks: ${program} ${rest.join(' ')}`);
}

test('every command in it exists, with those flags and arguments', () => {
  assert.ok(commands.length > 20, `only ${commands.length} commands were found`);
  for (const line of commands) checkLine(line);
});

test('fantail answers --help and --version, and the version is that of the package', () => {
  for (const flag of ['--help', '--version']) {
    const { status, stdout } = spawnSync(process.execPath, [MAIN, flag], { encoding: 'utf8' });
    assert.is(status, 0);
    if (flag === '--version')
      assert.is(
        stdout.trim(),
        JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version,
      );
  }
});

test('its table of control messages has a row for each operation, which is understood', () => {
  const messages = [...readme.matchAll(/^\| `([^`]+)` \| `(\{"id"[^`]+\})` \|/gm)];
  const asked = messages.map(([, typed = '', object = '']) => {
    const op = checkMessage(typed);
    assert.is(checkMessage(object), op, `${typed} and ${object} are one operation`);
    return op;
  });
  assert.equal(asked.sort(), Object.keys(operations).sort());
});

test('every path that it names is there', () => {
  const paths = [
    ...readme.matchAll(/`((?:\.ci|assembly|bpf|docs|native|src|test|tools)\/[\w./-]+)`/g),
  ];
  assert.ok(paths.length >= 5);
  for (const [, path = ''] of paths)
    assert.ok(existsSync(join(ROOT, path)), `${path} is not there`);
});

test('its tables name every verdict, every reason, every mode, every layout and every code', () => {
  const names: string[] = [...codes, ...membersOf('mode'), ...membersOf('layout')];
  for (const item of enums)
    if (['verdict', 'drop'].includes(item.name)) names.push(...item.members);
  names.push(...membersOf('invalid').map((name) => `invalid_${name}`));
  const words = new Set(readme.split(/[^\w]+/));
  for (const name of names) assert.ok(words.has(name), `README does not name ${name}`);
});

test('its limits are those of the code', () => {
  const rows: [RegExp, number][] = [
    [/subscribers \| (\d+) of/, limits.SUBSCRIBERS_MAX],
    [/(\d+) queues, \d+ workers of one launcher/, limits.QUEUES_MAX],
    [/\d+ queues, (\d+) workers of one launcher/, limits.WORKERS_MAX],
    [/per queue (\d+) RX/, limits.RX_FRAMES],
    [/and (\d+) TX frames/, limits.TX_FRAMES],
    [/TX frames of (\d+) bytes/, limits.FRAME_SIZE],
  ];
  for (const [pattern, value] of rows)
    assert.is(Number(pattern.exec(readme)?.[1]), value, String(pattern));
});

test.run();
