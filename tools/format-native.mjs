/**
 * Holds every C++, C and BPF C source to .clang-format: names what differs and exits 1; with
 * --write rewrites it.
 *
 * `npm run lint` and `npm run format` call it. The formatter is clang-format compiled to
 * WebAssembly, an npm package, so that everybody has the same version of it: two versions of
 * clang-format seldom agree.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const GENERATED = 'native/shm/layout.h';

const sources = ['native', 'bpf', 'test', 'tools'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => `${folder}/${file}`)
    .filter((file) => /\.(cpp|hpp|c|h)$/.test(file))
    .filter((file) => !file.includes('/build/') && file !== GENERATED),
);
const how = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '-Werror'];
const program = join(ROOT, 'node_modules', '.bin', 'clang-format');
const { status } = spawnSync(program, [...how, ...sources], { cwd: ROOT, stdio: 'inherit' });
process.exit(status ?? 1);
