/**
 * What npm runs where fantail is installed as a package: compiles fantail-rx and the addon, which
 * the package has as sources. The JavaScript, the filters and the pages are in it as they were
 * built. In a clone it does nothing: `npm run build` does all of it there.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { identify } from './build.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Where npm has put a package that this one depends on: below it, or beside it. */
function folderOf(name, from = ROOT) {
  const folder = join(from, 'node_modules', name);
  if (existsSync(folder)) return folder;
  if (dirname(from) === from) throw new Error(`npm has installed no ${name}`);
  return folderOf(name, dirname(from));
}

function run(program, args) {
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === 0) return true;
  process.stderr.write(`${error?.message ?? ''}${stdout ?? ''}${stderr ?? ''}`);
  return false;
}

function install() {
  if (existsSync(join(ROOT, 'tsconfig.json'))) return true;
  if (!run(process.execPath, [join('tools', 'setup.mjs'), '--check', '--package'])) return false;
  const made = run('make', [
    ...['--no-print-directory', '-C', 'native', `-j${availableParallelism()}`, 'programs'],
    `NODE_API_HEADERS=${folderOf('node-api-headers')}`,
    `NODE_ADDON_API=${folderOf('node-addon-api')}`,
  ]);
  if (made) identify();
  return made;
}

process.exitCode = install() ? 0 : 1;
