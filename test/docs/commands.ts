/**
 * Whether a command line that a page shows exists so: its program, command, flags and number of
 * arguments; of another's program only that it is one that pages may use.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Argument, Command, Option } from 'commander';
import * as assert from 'uvu/assert';
import { fantail } from '../../src/cli/fantail.js';
import { allOf, type Node, pathText, treeOf } from '../../src/cli/shell/tree.js';
import { Codec } from '../../src/control/codec.js';
import { operations } from '../../src/control/operations.js';
import { ROOT } from '../rig/program.js';

/** Programs of others; what they take is theirs. */
const FOREIGN = new Set([
  ...[
    'cat',
    'chmod',
    'chgrp',
    'cp',
    'curl',
    'echo',
    'etcdctl',
    'git',
    'grep',
    'head',
    'base64',
    'man',
    'mkdir',
  ],
  ...[
    'sleep',
    'ssh',
    'sudo',
    'tar',
    'tee',
    'openssl',
    'python3',
    'apt-get',
    'systemctl',
    'journalctl',
  ],
  ...[
    'ip',
    'ethtool',
    'ss',
    'socat',
    'samplicate',
    'tc',
    'nft',
    'iptables',
    'nstat',
    'kill',
    'env',
  ],
  ...['prlimit', 'taskset', 'sysctl', 'timedatectl', 'for', 'ulimit', 'nice', 'etcd', 'etcdctl'],
  ...['docker', 'podman', 'buildah', 'kubectl', 'debootstrap', 'mmdebstrap'],
]);

/** Of those, the ones that run what is ours in containers. */
const CONTAINERS = new Set(['docker', 'podman', 'kubectl']);

export const commands: ReadonlyMap<string, Node> = new Map(
  allOf(treeOf(fantail())).map((node) => [pathText(node), node]),
);

const packaged = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  bin: Record<string, string>; // npm requires the field
  scripts: Record<string, string>;
};
export const { bin } = packaged;

/** Words of a shell line as the shell would split it; comments dropped. */
export function words(line: string): string[] {
  const found: string[] = [];
  for (const match of line.matchAll(/'([^']*)'|((?<=^|\s)#.*$)|([^\s']+)/g)) {
    if (match[2] !== undefined) break;
    found.push(match[1] ?? match[3] ?? '');
  }
  return found;
}

/** Lines of a block as they are typed, each whole; what is fed to one is left out. */
export const typedLines = (text: string): string[] =>
  text
    .replaceAll(/ <<'(\w+)'\n[\s\S]*?^\1$/gm, '')
    .replaceAll(/\\\n */g, '') // goes on in the next line
    .split('\n')
    .filter((line) => words(line).length > 0);

/** Simple commands of a block: where the output of one goes is left out, too. */
export const linesOf = (text: string): string[] =>
  typedLines(text)
    .flatMap((line) => line.split(/ \| | && /))
    .map((line) => line.replace(/ >>? \S+/g, '').trim())
    .filter((line) => words(line).length > 0);

/** Throws where a word is no such value. */
type Check = (word: string) => void;

interface Taken {
  readonly flags: ReadonlySet<string>;
  readonly withValue: ReadonlySet<string>;
  /** Of the flags, and of the arguments by their places; none: any word does, or nobody knows. */
  readonly values: ReadonlyMap<string, Check>;
  readonly places: readonly (Check | undefined)[];
  readonly least: number;
  readonly most: number;
}

/** As commander calls it; what was given before it is nothing. */
const checkBy = ({ parseArg }: Pick<Option | Argument, 'parseArg'>): Check | undefined =>
  parseArg === undefined ? undefined : (word) => parseArg(word, undefined as never);

/** As they are declared. */
const declared = new Map<string, Command>();
function declare(made: Command, above: readonly string[]): void {
  declared.set(above.join(' '), made);
  for (const each of made.commands) declare(each, [...above, each.name()]);
}
declare(fantail(), []);

function takenByCommand(name: string): Taken {
  const node = commands.get(name);
  const made = declared.get(name);
  assert.ok(node !== undefined && made !== undefined, `there is no fantail ${name}`);
  const checks = made.options.map((each) => [each.long ?? '', checkBy(each)] as const);
  return {
    flags: new Set([...node.flags.map((flag) => flag.name), '--version']),
    withValue: new Set(node.flags.filter(({ value }) => value !== null).map((flag) => flag.name)),
    values: new Map(checks.flatMap(([flag, check]) => (check ? [[flag, check] as const] : []))),
    places: made.registeredArguments.map(checkBy),
    least: node.words.filter(({ isRequired }) => isRequired).length,
    most: node.words.length,
  };
}

const helps = new Map<string, Taken>();

/** Of a program beside fantail: what its help says. */
function takenByProgram(name: string): Taken {
  const known = helps.get(name);
  if (known !== undefined) return known;
  const file = join(ROOT, bin[name] ?? '');
  const { status, stdout } = spawnSync(process.execPath, [file, '--help'], { encoding: 'utf8' });
  assert.is(status, 0, `${name} --help`);
  const [usage = ''] = stdout.split('\n');
  const taken = {
    flags: new Set([...stdout.matchAll(/^ +(--[a-z-]+)/gm)].map(([, flag = '']) => flag)),
    withValue: new Set([...stdout.matchAll(/^ +(--[a-z-]+) </gm)].map(([, flag = '']) => flag)),
    values: new Map(),
    places: [],
    least: (usage.match(/<[\w.]+>/g) ?? []).length,
    most: (usage.match(/<[\w.]+>|\[(?!options)[\w.]+\]/g) ?? []).length,
  };
  helps.set(name, taken);
  return taken;
}

/** In place of a word that is the reader's: `IP:PORT`, `$FAR`, `{cores}`, `<mode>`. */
const isPlaceholder = (word: string) => /…|\{.*\}|<.*>|\[.*\]|\b[A-Z][A-Z0-9]*\b/.test(word);

function checkValue(shown: string, word: string, check: Check | undefined): void {
  if (check === undefined || isPlaceholder(word)) return;
  try {
    for (const each of word.split('|')) check(each); // one or the other
  } catch (error) {
    assert.unreachable(`${shown}: ${error}`);
  }
}

/** `…` stands for words that are not shown. */
function checkWords(name: string, given: readonly string[], taken: Taken): void {
  const shown = `${name} ${given.join(' ')}`;
  for (const [index, flag] of given.entries()) {
    if (!flag.startsWith('--')) continue;
    assert.ok(taken.flags.has(flag), `${name} has no ${flag}`);
    const value = given[index + 1];
    if (value !== undefined) checkValue(shown, value, taken.values.get(flag));
  }
  if (given.includes('…')) return;
  const positional = given.filter(
    (word, index) => !word.startsWith('--') && !taken.withValue.has(given[index - 1] ?? ''),
  );
  const count = positional.length;
  assert.ok(count >= taken.least && count <= taken.most, `${shown} has ${count} arguments`);
  for (const [place, word] of positional.entries()) checkValue(shown, word, taken.places[place]);
}

/** A flag and its value that stand alone: of some command that has it. */
export function checkFlag(flag: string, value: string): void {
  const checks = [...declared.keys()].flatMap(
    (name) => takenByCommand(name).values.get(flag) ?? [],
  );
  if (checks.length === 0 || isPlaceholder(value)) return;
  const refused = checks.flatMap((check) => {
    try {
      for (const each of value.split('|')) check(each);
      return [];
    } catch (error) {
      return [String(error)];
    }
  });
  assert.ok(refused.length < checks.length, refused[0]);
}

/** The words before the first that is no command's name are the command: `filter use`. */
function checkFantail(all: readonly string[], isWhole: boolean): void {
  const [first = ''] = all;
  if (first.startsWith('-') || ['', '…'].includes(first)) return;
  let depth = 1;
  while (depth < all.length && commands.has(all.slice(0, depth + 1).join(' '))) depth++;
  const given = all.slice(depth);
  const taken = takenByCommand(all.slice(0, depth).join(' '));
  checkWords(all.slice(0, depth).join(' '), given.length === 0 && !isWhole ? ['…'] : given, taken);
}

const codec = new Codec(operations);

/** The operation that it asks for. */
export function checkMessage(message: string): string {
  const decoded = codec.decode(Buffer.from(message), false);
  assert.ok('request' in decoded, `the control channel does not understand: ${message}`);
  return decoded.request.op;
}

function checkNpm([verb = '', name = '', ...rest]: readonly string[]): void {
  if (['link', 'unlink', 'pack', 'install', 'uninstall'].includes(verb)) return;
  const script = verb === 'run' ? name : verb;
  assert.ok(script in packaged.scripts, `package.json has no script ${script}`);
  const all = [name, ...rest];
  if (script !== 'start' || !all.includes('--')) return;
  const given = all.slice(all.indexOf('--') + 1);
  const command = given[0]?.startsWith('-') ? 'demo' : 'up';
  checkWords(command, given, takenByCommand(command));
}

let wscatHelp = '';

function checkWscat(given: readonly string[]): void {
  const run = () =>
    spawnSync('node_modules/.bin/wscat', ['--help'], { cwd: ROOT, encoding: 'utf8' });
  wscatHelp ||= run().stdout;
  for (const flag of given.filter((word) => /^--?[a-zA-Z]+$/.test(word)))
    assert.match(wscatHelp, new RegExp(`(^|\\s)${flag}[,\\s]`, 'm'), `wscat has no ${flag}`);
  const at = given.indexOf('-x');
  if (at >= 0) checkMessage(given[at + 1] ?? '');
}

const containerHelps = new Map<string, string | null>();

/** Of an engine's verb; null: this machine has not that engine. */
function containerHelp(program: string, verb: string): string | null {
  const key = `${program} ${verb}`;
  const known = containerHelps.get(key);
  if (known !== undefined) return known;
  const { status, stdout } = spawnSync(program, [verb, '--help'], { encoding: 'utf8' });
  const help = status === 0 ? stdout : null;
  containerHelps.set(key, help);
  return help;
}

/**
 * Flags are held against the engine's own help, where there is that engine; what it runs in a
 * container of ours, behind the image or the name, behind `--` of kubectl, is a command of ours.
 * Values stand behind `=`, so that a word that is no flag is the image.
 */
function checkContainer(
  program: string,
  [verb = '', ...rest]: readonly string[],
  isWhole: boolean,
): void {
  const runs = ['run', 'exec'].includes(verb);
  const end =
    program === 'kubectl' ? rest.indexOf('--') : rest.findIndex((word) => word[0] !== '-');
  const own = runs && end >= 0 ? rest.slice(0, end) : rest;
  const inner = runs && end >= 0 ? rest.slice(end + 1) : [];
  const help = containerHelp(program, verb);
  for (const [flag] of own.map((word) => word.split('=')))
    if (help !== null && flag?.startsWith('--') && flag !== '--')
      assert.match(help, new RegExp(`(^|\\s)${flag}\\b`, 'm'), `${program} ${verb} has no ${flag}`);
  const [first, ...others] = inner;
  if (first === 'fantail') checkFantail(others, isWhole);
  else if (first !== undefined && first !== '…') assert.unreachable(`nobody checks: ${first}`);
}

/** `isWhole`: one that may be typed; else it may be the beginning of one. */
export function checkLine([program = '', ...rest]: readonly string[], isWhole = true): void {
  const [name = ''] = rest;
  if (program === 'npx' && name === '--yes') checkLine(['npx', ...rest.slice(1)], isWhole);
  else if (program === 'npx' && name !== 'wscat') checkLine(rest, isWhole);
  else if (program === 'npx') checkWscat(rest.slice(1));
  else if (program === 'npm') checkNpm(rest);
  else if (program === 'fantail') checkFantail(rest, isWhole);
  else if (CONTAINERS.has(program)) checkContainer(program, rest, isWhole);
  else if (program in bin) {
    if (isWhole || rest.length > 0) checkWords(program, rest, takenByProgram(program));
  } else if (program === 'ip' && rest[0] === 'netns' && rest[1] === 'exec')
    checkLine(rest.slice(3), isWhole);
  else if (!FOREIGN.has(program) && !/^[A-Z]+=\$\(ip$/.test(program))
    assert.unreachable(`nobody checks: ${program} ${rest.join(' ')}`);
}

export const isForeign = ([program = '']: readonly string[]): boolean => FOREIGN.has(program);

/** Sources of what `npm run` starts. */
export const toolSources = Object.values(packaged.scripts).flatMap((script) =>
  [...script.matchAll(/dist\/(\S+)\.js/g)].map(([, path = '']) => join(ROOT, `${path}.ts`)),
);

/** Whether it is a line that this file can judge. */
export const isJudged = ([program = '', second]: readonly string[]): boolean =>
  program === 'npm' ||
  program === 'fantail' ||
  program in bin ||
  ((program === 'npx' || CONTAINERS.has(program)) && second !== undefined);
