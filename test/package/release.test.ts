/**
 * Goal: `npm version` is all that a release needs: changelog, pages, commit and tag; without a
 * change that users would see it refuses and has touched nothing. Method: the files of this clone
 * as a repository of the test's own, and npm and git themselves.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { version } from '../../src/domain/installation.js';
import { lackForProgram, ROOT } from '../rig/program.js';

const test = suite('release');
const base = mkdtempSync(join(tmpdir(), 'release-'));
test.after(() => rmSync(base, { recursive: true }));

const NOT_COPIED = /^(?:\.git|node_modules|dist|build|native\/build|bench-results|plan-results)$/;
const ENVIRONMENT = {
  PATH: process.env.PATH,
  HOME: base,
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@example.org',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@example.org',
  npm_config_update_notifier: 'false',
};

const hasGit = () => spawnSync('git', ['--version']).status === 0;
const lack = lackForProgram('git', hasGit, 'git');

let repositories = 0;

/** A repository with the files of this clone, and that changelog. */
class Repository {
  readonly folder = join(base, String(repositories++));

  constructor(changelog: string) {
    const filter = (path: string) => !NOT_COPIED.test(relative(ROOT, path));
    cpSync(ROOT, this.folder, { recursive: true, filter });
    writeFileSync(join(this.folder, 'docs', 'CHANGELOG.md'), changelog);
    this.git('init', '-q');
    this.git('add', '-A');
    this.git('commit', '-q', '-m', 'all of it');
  }

  run(command: string, ...words: string[]) {
    return spawnSync(command, words, {
      cwd: this.folder,
      encoding: 'utf8',
      env: ENVIRONMENT,
    });
  }

  git(...words: string[]): string {
    const { status, stdout, stderr } = this.run('git', ...words);
    assert.is(status, 0, stderr);
    return stdout.trim();
  }

  text(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8');
  }
}

/** A changelog with that under its newest heading. */
const changelogWith = (newest: string) => `# Changes\n\n${newest}\n## ${version}\n\n- First.\n`;

const releaseTest = (name: string, work: () => void) =>
  test(name, () => {
    if (lack !== null) console.log(`skip: ${lack}`);
    else work();
  });

releaseTest('npm version patch makes commit and tag of the whole release', () => {
  const repository = new Repository(changelogWith('## Unreleased\n\n- A.\n- B, $& and `$1`.\n'));
  const days = [new Date().toISOString().slice(0, 10)];
  const { status, stdout, stderr } = repository.run('npm', 'version', 'patch');
  days.push(new Date().toISOString().slice(0, 10)); // it may be midnight
  assert.is(status, 0, stdout + stderr);
  const [major, minor, patch] = version.split('.').map(Number);
  const next = `${major}.${minor}.${Number(patch) + 1}`;
  assert.is(JSON.parse(repository.text('package.json')).version, next);
  assert.is(JSON.parse(repository.text('package-lock.json')).version, next);
  const whole = (day: string) =>
    changelogWith(`## Unreleased\n\n## ${next} (${day})\n\n- A.\n- B, $& and \`$1\`.\n`);
  assert.ok(days.map(whole).includes(repository.text('docs/CHANGELOG.md')));
  assert.is(repository.git('log', '-1', '--format=%s'), next);
  assert.is(repository.git('tag', '--points-at', 'HEAD'), `v${next}`);
  assert.is(repository.git('status', '--porcelain'), '');
  const changed = repository.git('diff', '--name-only', 'HEAD~1').split('\n');
  assert.ok(changed.includes('docs/operators.md') && changed.includes('package-lock.json'));
  assert.ok(changed.includes('tools/container/kubernetes.yaml'));
  const past = ['docs/decisions.md', 'docs/measured.md'].map((file) => `:!${file}`);
  for (const name of [`fantail-${version}`, `fantail:${version}`])
    assert.is(repository.run('git', 'grep', '-F', name, '--', '.', ...past).stdout, '');
  // the next one finds nothing to release yet
  assert.is(repository.run('npm', 'version', 'patch').status, 1);
});

releaseTest(
  'without a change to tell, or without the heading, it refuses and touches nothing',
  () => {
    for (const [newest, sentence] of [
      ['## Unreleased\n', /nothing is under "Unreleased" in docs\/CHANGELOG\.md; say there/],
      ['', /docs\/CHANGELOG\.md has no heading "## Unreleased"/],
    ] as const) {
      const repository = new Repository(changelogWith(newest));
      const { status, stderr } = repository.run('npm', 'version', 'minor');
      assert.is(status, 1);
      assert.match(stderr, sentence);
      assert.is(JSON.parse(repository.text('package.json')).version, version);
      assert.is(repository.git('status', '--porcelain'), '');
      assert.is(repository.git('log', '--format=%s'), 'all of it');
      assert.is(repository.git('tag'), '');
    }
  },
);

test('this changelog has the heading under which the next change goes', () => {
  assert.match(readFileSync(join(ROOT, 'docs', 'CHANGELOG.md'), 'utf8'), /^## Unreleased$/m);
});

test.run();
