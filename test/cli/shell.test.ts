/**
 * Goal: shells complete every command, flag and value that there is, and every command has a manual
 * page. Method: the shells themselves and what reads pages, installed by apt where they are not;
 * what there is to complete is read from the help.
 *
 * needs: a core
 * takes: 20 s
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fantail } from '../../src/cli/fantail.js';
import { statusOf } from '../../src/cli/program.js';
import { PROTOCOL_VERSION } from '../../src/control/constants.js';
import { lackForProgram, MAIN, ROOT } from '../rig/program.js';

const test = suite('shell');
const folder = mkdtempSync(join(tmpdir(), 'shell-'));
test.after(() => rmSync(folder, { recursive: true }));

function run(program: string, words: readonly string[], input = '') {
  const options = { encoding: 'utf8', input, timeout: 60_000 } as const;
  const { status, stdout, stderr, error } = spawnSync(program, words, options);
  return { status, stdout, stderr, isThere: error === undefined };
}

const program = (...words: string[]) => run(process.execPath, [MAIN, ...words]);
/** Whether it is there, installed if need be; a skip says why not. */
function has(name: string, ...packages: string[]): boolean {
  const lack = lackForProgram(name, () => run(name, ['--version']).isThere, ...packages);
  if (lack !== null) console.log(`skip: ${lack}`);
  return lack === null;
}

/** The completion of a shell, as a file. */
function completionOf(shell: string): string {
  const { status, stdout, stderr } = program('completions', shell);
  assert.is(status, 0, stderr);
  const file = join(folder, `fantail.${shell}`);
  writeFileSync(file, stdout);
  return file;
}

/** What its help prints, in this process: a Node for each would be most of the work here. */
async function helpText(path: readonly string[]): Promise<string> {
  const root = fantail();
  let text = '';
  const writeOut = (part: string) => {
    text += part;
  };
  const tell = (made: typeof root) => {
    made.configureOutput({ writeOut });
    made.commands.forEach(tell);
  };
  tell(root);
  assert.is(await statusOf(root, [...path, '--help']), 0);
  return text;
}

/** Of each command by its words: the flags and commands that its help lists. */
async function helpOf(path: readonly string[]) {
  const text = await helpText(path);
  const flags = [...text.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag = '']) => flag);
  const behind = text.split(/^Commands:$/m)[1] ?? '';
  const commands = [...behind.matchAll(/^ {2}([a-z-]+) {2}/gm)].map(([, name = '']) => name);
  // commander's own help of a command that has some is none that is declared
  return { flags, commands: commands.filter((name) => name !== 'help' || path.length === 0) };
}

function pathsOf(made = fantail(), above: readonly string[] = []): (readonly string[])[] {
  return [above, ...made.commands.flatMap((each) => pathsOf(each, [...above, each.name()]))];
}

/** What bash offers for each of those lines, whose last word is the one that is typed. */
function offered(lines: readonly (readonly string[])[]): string[][] {
  const quoted = (word: string) => `'${word}'`;
  const script = lines.map((words) => {
    const all = ['fantail', ...words].map(quoted).join(' ');
    return `COMP_WORDS=(${all}); COMP_CWORD=${words.length}; _fantail; echo "\${COMPREPLY[*]}"`;
  });
  const { status, stdout, stderr } = run('bash', [
    '--norc',
    '-c',
    `source ${completionOf('bash')}\n${script.join('\n')}`,
  ]);
  assert.equal([status, stderr], [0, '']);
  return stdout
    .slice(0, -1)
    .split('\n')
    .map((line) => line.split(' ').filter((word) => word !== ''));
}

test('bash completes every command, and every flag of each', async () => {
  const paths = pathsOf();
  assert.ok(paths.length > 30);
  const found = offered(
    paths.flatMap((path) => [
      [...path, ''],
      [...path, '--'],
    ]),
  );
  for (const [index, path] of paths.entries()) {
    const { flags, commands } = await helpOf(path);
    if (commands.length > 0)
      assert.equal(found[2 * index]?.sort(), commands.sort(), path.join(' '));
    assert.ok(flags.length > 0);
    assert.equal(found[2 * index + 1]?.sort(), flags.sort(), path.join(' '));
  }
});

test('bash runs no name that it offers', () => {
  const names = join(folder, 'names');
  mkdirSync(names);
  for (const name of ['eth0', '$(touch ran)', '`touch ran`', 'other'])
    writeFileSync(join(names, name), '');
  const script = [
    `source ${completionOf('bash')}; cd ${names}; COMPREPLY=()`,
    `_fantail_names ${names} ''; printf '%s\\n' "\${COMPREPLY[@]}"`,
    `COMPREPLY=(); _fantail_names ${names} et; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ];
  const { stdout, stderr } = run('bash', ['--norc', '-c', script.join('\n')]);
  assert.is(stderr, '');
  assert.equal(
    stdout.trimEnd().split('\n').sort(),
    ['eth0', 'eth0', 'other', '\\$\\(touch\\ ran\\)', '\\`touch\\ ran\\`'].sort(),
  );
  assert.equal(readdirSync(names).includes('ran'), false);
  const words = completionOf('bash');
  assert.not.match(readFileSync(words, 'utf8'), /compgen -W "\$\(/, 'nothing of the machine');
});

test('bash completes values: choices, files, interfaces, and nothing where anything may stand', () => {
  writeFileSync(join(folder, 'some.yaml'), '');
  const cases: [words: string[], offers: string[]][] = [
    [['u'], ['up']],
    [
      ['up', '--mode', ''],
      ['auto', 'zerocopy', 'copy', 'skb', 'socket'],
    ],
    [
      ['up', '--mode', 's'],
      ['skb', 'socket'],
    ],
    [['up', 'eth0', '10.0.0.1', '5000', '--log-l'], ['--log-level']],
    [
      ['up', '--mode', 'copy', '--order', ''],
      ['rotate', 'fixed'],
    ],
    [['up', '--config', join(folder, 'so')], [join(folder, 'some.yaml')]],
    [['up', '--workers', ''], []],
    [['up', 'l'], Object.keys(networkInterfaces()).includes('lo') ? ['lo'] : []],
    [
      ['filter', 'u'],
      ['use', 'unload'],
    ],
    [['filter', 'use', 'list', ''], []],
    [['filter', 'test', join(folder, 'so')], [join(folder, 'some.yaml')]],
    [
      ['completions', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['--version', 'li'], ['list']],
    [['nothing', ''], []],
  ];
  const found = offered(cases.map(([words]) => words));
  for (const [index, [words, offers]] of cases.entries())
    assert.equal(found[index], offers, words.join(' '));
});

/** As a reader would: quotes are closed, and each command is named. */
function followsRules(text: string): void {
  for (const line of text.split('\n').filter((each) => !each.startsWith('#'))) {
    const quotes = line.replaceAll("'\\''", '').replaceAll("\\'", '').split("'").length - 1;
    assert.is(quotes % 2, 0, line);
  }
  for (const { length, [length - 1]: name } of pathsOf().slice(1))
    assert.ok(new RegExp(`\\b${name}\\b`).test(text), `${length} ${name}`);
}

test('zsh takes its completion', () => {
  const file = completionOf('zsh');
  followsRules(readFileSync(file, 'utf8'));
  if (!has('zsh', 'zsh')) return;
  const { status, stderr } = run('zsh', ['-f', '-n', file]);
  assert.equal([status, stderr], [0, '']);
  const load = `autoload -U compinit && compinit -D && source ${file} && print $_comps[fantail]`;
  const loaded = run('zsh', ['-f', '-c', load]);
  assert.equal([loaded.stdout, loaded.stderr], ['_fantail\n', '']);
});

test('fish completes by its own', () => {
  const file = completionOf('fish');
  followsRules(readFileSync(file, 'utf8'));
  if (!has('fish', 'fish')) return;
  const ask = (line: string) => {
    const { stdout, stderr } = run('fish', [
      '--no-config',
      '-c',
      `source ${file}; complete -C '${line}'`,
    ]);
    assert.is(stderr, '');
    return stdout
      .trimEnd()
      .split('\n')
      .map((each) => each.split('\t')[0]);
  };
  assert.equal(ask('fantail u'), ['up']);
  assert.equal(ask('fantail up --mode s'), ['skb', 'socket']);
  assert.equal(ask('fantail up --mod'), ['--mode']);
  assert.equal(ask('fantail filter u').sort(), ['unload', 'use']);
  assert.equal(ask('fantail filter use --par'), ['--param']);
});

test('the build has a manual page for each command, which says all that its help says', async () => {
  const pages = join(ROOT, 'build', 'man');
  const fresh = join(folder, 'man');
  assert.is(program('man', '--all', fresh).status, 0);
  const names = pathsOf().map((path) => ['fantail', ...path].join('-'));
  assert.equal(readdirSync(pages).sort(), names.map((name) => `${name}.1`).sort());
  const { man } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const listed = names.map((name) => `build/man/${name}.1`).sort();
  assert.equal(man.sort(), listed, 'npm links those that package.json names under man');
  for (const path of pathsOf()) {
    const name = ['fantail', ...path].join('-');
    const page = readFileSync(join(pages, `${name}.1`), 'utf8');
    assert.is(readFileSync(join(fresh, `${name}.1`), 'utf8'), page, name);
    for (const line of page.split('\n'))
      assert.ok(!/^['.]/.test(line) || /^\.(TH|SH|SS|TP|BR|nf|fi)( |$)/.test(line), line);
    const { flags, commands } = await helpOf(path);
    for (const flag of flags)
      assert.ok(page.includes(`\\fB${flag.replaceAll('-', '\\-')}\\fR`), flag);
    for (const each of commands)
      assert.ok(page.includes(`${name}\\-${each}`.replace(/(?<!\\)-/g, '\\-')), each);
  }
});

test('man prints the page of a command, however many words it has', () => {
  for (const path of [[], ['up'], ['filter', 'use'], ['fleet', 'filter', 'use']]) {
    const file = join(ROOT, 'build', 'man', `${['fantail', ...path].join('-')}.1`);
    assert.is(program('man', ...path).stdout, readFileSync(file, 'utf8'), path.join(' '));
  }
});

test('what formats pages has nothing to say against them', () => {
  const pages = join(ROOT, 'build', 'man');
  if (!['groff', 'mandoc', 'man'].every((name) => has(name, 'groff', 'mandoc', 'man-db'))) return;
  for (const name of readdirSync(pages)) {
    const file = join(pages, name);
    const { status, stdout, stderr } = run('groff', ['-ww', '-man', '-Tutf8', '-P-cbou', file]);
    assert.equal([status, stderr], [0, ''], name);
    assert.match(stdout, /SYNOPSIS/);
    assert.equal(run('mandoc', ['-T', 'lint', '-W', 'error', file]).stdout, '', name);
  }
  const { status, stdout } = run('man', ['-l', join(pages, 'fantail-up.1')]);
  assert.is(status, 0);
  assert.match(stdout, /fantail-up.*Run the replicator/s);
});

test('help --json has the commands, and the versions of fantail and of its protocol', async () => {
  const told = JSON.parse(program('help', '--json').stdout);
  assert.is(program('--help').stdout, await helpText([]));
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.equal([told.version, told.protocol], [version, PROTOCOL_VERSION]);
  const names = told.commands.map(({ command }: { command: string }) => command);
  assert.equal(
    names.sort(),
    pathsOf()
      .map((path) => ['fantail', ...path].join(' '))
      .sort(),
  );
  assert.is(program('help', 'filter', 'use').stdout, await helpText(['filter', 'use']));
  assert.is(program('filter', 'use', '--help').stdout, await helpText(['filter', 'use']));
  assert.match(program('help', 'nothing').stderr, /help: there is no such command; see: fantail/);
});

test('an unknown page and an unknown shell are misuse', () => {
  assert.is(program('man', 'nothing').status, 2);
  assert.match(
    program('completions', 'tcsh').stderr,
    /shell must be one of bash, zsh, fish, not 'tcsh'/,
  );
  assert.is(program('completion', 'bash').stdout, program('completions', 'bash').stdout);
  assert.is(program('man', '--all', '/proc/none').status, 1);
});

test.run();
