/**
 * What `npm version` runs: before it changes anything with `--check`, and again, with the new
 * version in package.json, before it makes commit and tag.
 *
 *   docs/CHANGELOG.md   what is under "Unreleased" is under the new version and today's date (UTC)
 *                       from then on; where there is nothing, it refuses
 *   pages, manifests    tarball and image by name become those of the new version
 *
 * Nothing but Node and git; the files that it has written are staged.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const CHANGELOG = 'docs/CHANGELOG.md';
/** Pages that tell of the past. */
const HISTORY = [CHANGELOG, 'docs/decisions.md', 'docs/measured.md'];
/** The heading, and what is under it up to the next one. */
const UNRELEASED = /^## Unreleased\n([\s\S]*?)(?=^## |$(?![\s\S]))/m;

function fail(sentence) {
  process.stderr.write(`release: ${sentence}\n`);
  process.exit(1);
}

const textOf = (file) => readFileSync(join(ROOT, file), 'utf8');

/** The changes that are not released; ends with a sentence where there are none. */
function unreleased() {
  const [, changes] =
    UNRELEASED.exec(textOf(CHANGELOG)) ??
    fail(`${CHANGELOG} has no heading "## Unreleased"; put it above the newest version`);
  if (changes.trim() === '')
    fail(`nothing is under "Unreleased" in ${CHANGELOG}; say there what users will see`);
  return changes.trim();
}

/** Pages and manifests that name the version that one installs. */
function namingFiles() {
  const within = (folder, ends) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith(ends))
      .map((name) => `${folder}/${name}`);
  return ['README.md', ...within('docs', '.md'), ...within('tools/container', '.yaml')].filter(
    (file) => !HISTORY.includes(file),
  );
}

function release(before, now) {
  const changes = unreleased();
  const today = new Date().toISOString().slice(0, 10);
  const section = `## Unreleased\n\n## ${now} (${today})\n\n${changes}\n\n`;
  const changelog = textOf(CHANGELOG).replace(UNRELEASED, () => section);
  const written = new Map([[CHANGELOG, `${changelog.trimEnd()}\n`]]);
  for (const file of namingFiles()) {
    const text = textOf(file);
    const renamed = ['fantail-', 'fantail:'].reduce(
      (whole, name) => whole.replaceAll(`${name}${before}`, `${name}${now}`),
      text,
    );
    if (renamed !== text) written.set(file, renamed);
  }
  for (const [file, text] of written) writeFileSync(join(ROOT, file), text);
  const { status } = spawnSync('git', ['add', ...written.keys()], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) fail('git cannot stage what it has written; see: git status');
}

if (process.argv[2] === '--check') unreleased();
else {
  const { npm_old_version: before, npm_new_version: now } = process.env;
  if (before === undefined || now === undefined) fail('npm runs it; type: npm version patch');
  release(before, now);
}
