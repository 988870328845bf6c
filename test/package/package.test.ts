/**
 * Goal: fantail can be installed as a package: from its tarball alone it compiles, runs from any
 * folder and goes without a trace. Method: npm itself, into a prefix of the test's own. On a
 * machine that has nothing, and all that it does then, is tried by `npm run test:package`.
 *
 * needs: a link
 * takes: 90 s
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { version } from '../../src/domain/installation.js';
import { lackForNetwork, ROOT } from '../rig/program.js';
import { packInto, TARBALL } from './tarball.js';

const test = suite('package');
const folder = mkdtempSync(join(tmpdir(), 'package-'));
test.after(() => rmSync(folder, { recursive: true }));
const tarball = join(folder, TARBALL);
const prefix = join(folder, 'prefix');
const installed = join(prefix, 'bin', 'fantail');
/** Of a compressed package; sources, bundles and pages are less than 1 MB. */
const SIZE_MAX = 2_000_000;
const QUIET = ['--no-audit', '--no-fund', '--loglevel=error'];

/** How it is compiled as it is for users takes twice as long, and is tried there. */
const QUICKLY = { MAKEFLAGS: '-- LTO= CXXFLAGS=-O0' };

function run(program: string, words: readonly string[], where = ROOT) {
  const { status, stdout, stderr, error } = spawnSync(program, words, {
    cwd: where,
    env: { ...process.env, ...QUICKLY },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return { status, stdout, told: `${error ?? ''}${stdout}${stderr}` };
}

/** What must go well. */
function done(program: string, words: readonly string[], where = ROOT): string {
  const { status, stdout, told } = run(program, words, where);
  assert.is(status, 0, `${program} ${words.join(' ')}: ${told}`);
  return stdout;
}

test('the tarball has what is needed, and no more', () => {
  assert.is(packInto(folder), tarball);
  assert.ok(statSync(tarball).size < SIZE_MAX, String(statSync(tarball).size));
  const files = done('tar', ['tzf', tarball]).trimEnd().split('\n');
  const inside = files.map((file) => file.replace(/^package\//, ''));
  const folders = [...new Set(inside.map((file) => file.split('/')[0] ?? ''))].sort();
  assert.equal(folders, [
    ...['LICENSE', 'README.md', 'asconfig.json', 'assembly', 'bpf', 'build'],
    ...['docs', 'native', 'package.json', 'tools'],
  ]);
  assert.not.ok(
    inside.some((file) => /\.(o|a|node|tgz|debug\.wasm)$|^native\/build|\.test\./.test(file)),
  );
  for (const file of [
    'build/programs/main.js',
    'build/filters/rewrite.wasm',
    'build/man/fantail.1',
    'tools/container/Dockerfile',
  ])
    assert.ok(inside.includes(file), file);
});

test('where something to compile with is missing, one line says what and how to get it', () => {
  if (lackForNetwork() !== null) return; // the header is hidden in a mount namespace
  const place = join(folder, 'unpacked');
  mkdirSync(place);
  done('tar', ['xzf', tarball, '-C', place]);
  const script = 'mount --make-rprivate / && mount -t tmpfs none /usr/include/libmnl && exec "$@"';
  const words = ['-m', 'sh', '-c', script, 'sh', process.execPath, 'tools/install.mjs'];
  const { status, told } = run('unshare', words, join(place, 'package'));
  assert.is(status, 1);
  assert.match(
    told,
    /^setup: missing to compile fantail: libmnl-dev; (run: apt-get|run: dnf|install)[^\n]*\n$/,
  );
});

test('it installs with npm, for production alone, and runs from any folder', () => {
  const words = ['install', '-g', '--prefix', prefix, '--omit=dev', ...QUIET, tarball];
  done('npm', words, folder);
  assert.is(done(installed, ['--version'], '/'), `${version}\n`);
  assert.match(done(installed, ['up', '--help'], '/'), /^Usage: fantail up /);
  assert.ok(existsSync(join(prefix, 'share', 'man', 'man1', 'fantail-up.1')));
  const seconds = done(installed, ['demo', '--json', '--seconds', '1'], '/');
  const last = JSON.parse(seconds.trimEnd().split('\n').at(-1) ?? '') as {
    subscribers: { state: string; received: number; lost: number }[];
  };
  const receiving = last.subscribers.filter(({ state }) => state === 'receiving');
  assert.is(receiving.length, 3, seconds);
  for (const { received, lost } of receiving) assert.ok(received > 0 && lost === 0, seconds);
});

test('uninstalled, it leaves nothing but empty folders', () => {
  done('npm', ['uninstall', '-g', '--prefix', prefix, ...QUIET, 'fantail'], folder);
  const left = readdirSync(prefix, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name));
  assert.equal(
    left.filter((file) => !file.endsWith('/lib/node_modules/.package-lock.json')),
    [],
  );
});

test.run();
