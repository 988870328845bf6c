/**
 * docs/architecture.md holds: its rooms are the folders of the tree, its import rules those of the
 * linter and of the C++ includes, and every path that a page of docs/ names is there.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ROOT } from '../rig/program.js';

const test = suite('architecture');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const page = read('docs/architecture.md');

/** A folder of more files holds two rooms. */
const FOLDER_FILES_MAX = 14;
const NATIVE_LINES_MAX = 400;
const COLUMNS_MAX = 100;
const BIOME = join(ROOT, 'node_modules/@biomejs/biome/bin/biome');

interface Room {
  readonly name: string;
  readonly below: readonly string[];
}

/** Rows of the table whose first column is headed so: the room, and what it may import. */
function roomsOf(head: string): Room[] {
  const table = page.slice(page.indexOf(`| ${head} |`)).split('\n\n')[0] ?? '';
  return [...table.matchAll(/^\| `(\w+)` \|.*\| ([^|]*) \|$/gm)].map(
    ([, name = '', below = '']) => ({ name, below: below === '–' ? [] : below.split(', ') }),
  );
}

const rooms = roomsOf('room of src/');
const nativeRooms = roomsOf('room of native/');

function foldersOf(path: string): string[] {
  return readdirSync(join(ROOT, path), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'build')
    .map(({ name }) => name)
    .sort();
}

/** Every file below a folder, but for what is built there. */
function filesBelow(path: string): string[] {
  return readdirSync(join(ROOT, path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))
    .filter((file) => !file.includes('/build/'));
}

test('the rooms are the folders of src/ and of native/', () => {
  assert.equal(rooms.map(({ name }) => name).sort(), foldersOf('src'));
  assert.equal(nativeRooms.map(({ name }) => name).sort(), foldersOf('native'));
});

test('a room may import only rooms that stand before it in its table', () => {
  for (const table of [rooms, nativeRooms])
    for (const [index, { name, below }] of table.entries()) {
      const before = new Set(table.slice(0, index).map((room) => room.name));
      for (const each of below)
        assert.ok(before.has(each), `${name} may import ${each}, which stands above`);
    }
});

test('the linter has one rule a room, and it is that of the table', () => {
  const { overrides } = JSON.parse(read('biome.json')) as {
    overrides: {
      includes: string[];
      linter: {
        rules: {
          style: { noRestrictedImports?: { options: { patterns: { group: string[] }[] } } };
        };
      };
    }[];
  };
  for (const { name, below } of rooms) {
    const rules = overrides.filter(({ includes }) => includes.includes(`src/${name}/**`));
    assert.is(rules.length, 1, `rules of ${name}`);
    const group = rules[0]?.linter.rules.style.noRestrictedImports?.options.patterns[0]?.group;
    const reached = [...below, ...foldersOf(`src/${name}`)];
    const allowed = reached.length === 0 ? [] : [`!**/{${reached.join(',')}}/**`];
    assert.equal(group, ['../**', '!../*.js', ...allowed], name);
  }
});

test('the rooms of src/fleet import each other one way, as their table says', () => {
  const inner = roomsOf('room of src/fleet/');
  assert.equal(inner.map(({ name }) => name).sort(), foldersOf('src/fleet'));
  for (const [index, { name, below }] of inner.entries()) {
    const before = new Set(inner.slice(0, index).map((room) => room.name));
    for (const each of below) assert.ok(before.has(each), `${name} may import ${each}`);
    const others = inner.map((room) => room.name).filter((room) => room !== name);
    for (const file of filesBelow(`src/fleet/${name}`))
      for (const [, room = ''] of read(file).matchAll(/ from '\.\.\/(\w+)\/[\w./-]+';$/gm))
        assert.ok(!others.includes(room) || below.includes(room), `${file} imports of ${room}`);
  }
});

test('nothing waits by a clock that can be set', () => {
  /** Who tells a time of day, or keeps one in a file. */
  const tellers = [
    'src/bench/thread-main.ts',
    'src/cli/group/tables.ts',
    'src/control/lines.ts',
    'src/control/session/changes.ts',
    'src/dashboard/link/moment.ts',
    'src/dashboard/panels/changes.tsx',
    'src/dashboard/parts/numbers.ts',
    'src/filters/registry.ts',
    'src/replicator/member/open.ts',
    'src/replicator/state/state-file.ts',
    'src/replicator/state/state.ts',
    'src/subscribers/leases.ts',
  ];
  const found = filesBelow('src').filter((path) => /\bDate\.now\(|new Date\(/.test(read(path)));
  assert.equal(found.sort(), tellers);
});

test('the linter refuses an import of a room by any that may not, and only that', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-rooms-'));
  try {
    for (const path of ['biome.json', 'tools/lint'])
      cpSync(join(ROOT, path), join(folder, path), { recursive: true });
    for (const { name } of rooms) {
      mkdirSync(join(folder, 'src', name), { recursive: true });
      // its own line is left empty, so that a line's number is a room's
      const imports = rooms.map((to) =>
        to.name === name ? '\n' : `import '../${to.name}/one.js';\n`,
      );
      writeFileSync(join(folder, 'src', name, 'one.ts'), imports.join(''));
    }
    const args = ['lint', '--only=style/noRestrictedImports', '--reporter=json'];
    const { stdout } = spawnSync(
      process.execPath,
      [BIOME, ...args, '--max-diagnostics=none', 'src'],
      {
        cwd: folder,
        encoding: 'utf8',
      },
    );
    const { diagnostics } = JSON.parse(stdout) as {
      diagnostics: { location: { path: string; start: { line: number } } }[];
    };
    const refused = diagnostics.map(({ location: { path, start } }) => {
      const [, room] = path.split('/').slice(-3);
      return `${room} → ${rooms[start.line - 1]?.name}`;
    });
    const unlawful = rooms.flatMap(({ name, below }) =>
      rooms
        .filter((room) => room.name !== name && !below.includes(room.name))
        .map((room) => `${name} → ${room.name}`),
    );
    assert.equal(refused.sort(), unlawful.sort());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the includes of native/ follow the table', () => {
  for (const { name, below } of nativeRooms) {
    const allowed = new Set([...below, name]);
    for (const file of filesBelow(`native/${name}`))
      for (const [, room = ''] of read(file).matchAll(/^#include "(\w+)\//gm))
        assert.ok(allowed.has(room), `${file} includes a file of ${room}`);
  }
});

test('no folder has more than 14 files, and no file of native/ more than 400 lines', () => {
  const files = ['src', 'native', 'test', 'tools', 'assembly', 'bpf'].flatMap(filesBelow);
  const counts = new Map<string, number>();
  for (const file of files) {
    const folder = file.slice(0, file.lastIndexOf('/'));
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  for (const [folder, count] of counts)
    assert.ok(count <= FOLDER_FILES_MAX, `${folder} has ${count} files`);
  for (const file of files.filter((each) => /^native\/.*\.[ch]pp$/.test(each))) {
    const lines = read(file).split('\n').length - 1;
    assert.ok(lines <= NATIVE_LINES_MAX, `${file} has ${lines} lines`);
  }
});

test('no comment is wider than 100 columns, which no formatter looks at', () => {
  const files = ['src', 'test', 'tools', 'assembly'].flatMap(filesBelow);
  for (const file of files.filter((each) => /\.(ts|mjs)$/.test(each) && !/layout\.ts$/.test(each)))
    for (const [index, line] of read(file).split('\n').entries())
      if (/^\s*(\/\/|\/?\*)/.test(line))
        assert.ok(line.length <= COLUMNS_MAX, `${file}:${index + 1} has ${line.length} columns`);
});

test('every path that a page of docs/ names is there', () => {
  let found = 0;
  for (const name of readdirSync(join(ROOT, 'docs')).filter((file) => file.endsWith('.md'))) {
    const text = read(join('docs', name));
    const named = text.matchAll(/`((?:\.ci|assembly|bpf|docs|native|src|test|tools)\/[\w./-]+)`/g);
    for (const [, path = ''] of named) {
      found++;
      assert.ok(existsSync(join(ROOT, path)), `docs/${name} names ${path}, which is not there`);
    }
  }
  assert.ok(found > 30, `only ${found} paths were found`);
});

test.run();
