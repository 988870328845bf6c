/**
 * `npm run build`: everything that a fresh clone lacks, and nothing that it has.
 *
 *   setup → npm ci → tsc → gen → programs (esbuild) → links of the commands → pages → filters (asc)
 *                              → native (make), beside those three                → identity
 *
 * Runs before node_modules exists, so it may use nothing but Node itself. Each step says so when it
 * works; a step whose inputs have not changed since it last succeeded (by content, not by date) is
 * passed over in silence. In CI the generated files are only checked, never rewritten.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const STAMPS = join(ROOT, 'build', 'stamps');
const isCi = Boolean(process.env.CI);
const DEFAULT_FILTER = 'rewrite';

/** Below src/: what programs import, and what Node runs as a process or thread of its own. */
const PROGRAMS = [
  'api/index',
  'bench/thread-main',
  'demo/feed-main',
  'demo/listener-main',
  'doctor/network-main',
  'filters/check/child',
  'worker/loader',
  'worker/tx-worker',
];
const BUNDLES = join(ROOT, 'build', 'programs');
const TYPES = join(ROOT, 'build', 'types');

class BuildFailure extends Error {}

function say(line) {
  // stdout stays free: `npm start -- --json` must print JSON there and nothing else.
  process.stderr.write(`build: ${line}\n`);
}

/**
 * Runs one program of a step to its end, its output passed on; with `quiet` the output is shown
 * only if it fails.
 */
function run(program, args, quiet = false) {
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    cwd: ROOT,
    stdio: quiet ? 'pipe' : ['ignore', process.stderr, process.stderr],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === 0) return;
  if (quiet) process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`);
  throw failureOf(program, args, error?.message ?? signal ?? `status ${status}`);
}

/** The same beside what this process does; settles when the program has ended. */
function runBeside(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', process.stderr, process.stderr],
    });
    child.on('error', (error) => reject(failureOf(program, args, error.message)));
    child.on('close', (status, signal) => {
      if (status === 0) resolve();
      else reject(failureOf(program, args, signal ?? `status ${status}`));
    });
  });
}

const failureOf = (program, args, how) =>
  new BuildFailure(`${program} ${args.join(' ')} failed (${how})`);

/** A program of node_modules, by its name there. */
const tool = (name) => join(ROOT, 'node_modules', '.bin', name);

/** Every file below `folder` whose name ends in one of `endings`, in a fixed order. */
function filesOf(folder, endings) {
  const found = [];
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== 'build' && entry.name !== 'node_modules')
        found.push(...filesOf(path, endings));
    } else if (endings.some((ending) => entry.name.endsWith(ending))) found.push(path);
  }
  return found;
}

function digest(files) {
  const hash = createHash('sha256').update(`${process.version} ${process.arch}\0`);
  for (const file of files) {
    hash.update(`${file}\0`);
    if (existsSync(join(ROOT, file))) hash.update(readFileSync(join(ROOT, file)));
  }
  return hash.digest('hex');
}

/** Whether a step has succeeded on the inputs of that digest, and its outputs are still there. */
function isFresh({ name, wanted, outputs }) {
  const stamp = join(STAMPS, name);
  if (!outputs.every((output) => existsSync(join(ROOT, output)))) return false;
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
}

/** From here on until it has succeeded, whatever outputs there are may be half of them. */
function begun({ name }) {
  rmSync(join(STAMPS, name), { force: true });
}

function succeeded({ name, wanted }) {
  mkdirSync(STAMPS, { recursive: true });
  writeFileSync(join(STAMPS, name), wanted);
}

/**
 * Whether node_modules holds what package-lock.json asks for: npm leaves there a lock file of what
 * it installed.
 */
function modulesAreFresh() {
  const installedPath = join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return false;
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages;
  if (!Object.keys(installed).every((path) => path in wanted)) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    // The root itself is not installed, and optional packages are often for another machine.
    if (path === '' || entry.optional === true || entry.devOptional === true) return true;
    return installed[path]?.version === entry.version;
  });
}

function installModules() {
  if (modulesAreFresh()) return;
  say('installing Node packages');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

function compileTypeScript() {
  // Its own check of what is fresh would cost as much as it does: it takes about a second.
  run(tool('tsc'), [], true);
}

/** The commands that npm links, by name: paths below the root. */
const commands = () => JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).bin;

/** What a folder holds, as one word. */
function contentOf(folder) {
  const hash = createHash('sha256');
  for (const file of existsSync(folder) ? filesOf(relative(ROOT, folder), ['']) : [])
    hash.update(`${relative(folder, join(ROOT, file))}\0`).update(readFileSync(join(ROOT, file)));
  return hash.digest('hex');
}

/**
 * Each program with all that it imports in a few files: Node opens and resolves 300 files for `up`
 * otherwise, which takes as long as all the rest of its start. What they share is in chunks.
 * Replaced only where something has changed: a `fantail up` that runs starts its next worker there.
 */
function bundlePrograms() {
  const bundled = relative(ROOT, BUNDLES);
  const fresh = `${BUNDLES}.new`;
  const entries = Object.values(commands()).map((file) => relative(bundled, file.slice(0, -3)));
  rmSync(fresh, { recursive: true, force: true });
  run(tool('esbuild'), [
    ...[...entries, ...PROGRAMS].map((name) => join('dist', 'src', `${name}.js`)),
    '--bundle',
    '--splitting',
    '--outbase=dist/src',
    `--outdir=${relative(ROOT, fresh)}`,
    '--platform=node',
    '--format=esm',
    '--target=node20',
    '--minify-whitespace',
    '--external:assemblyscript',
    // what Ink loads for its own developers, and the half of React that is for those
    '--external:react-devtools-core',
    '--define:process.env.NODE_ENV="production"',
    '--log-level=warning',
    // what packages that are not modules call
    "--banner:js=import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  ]);
  if (contentOf(fresh) === contentOf(BUNDLES)) return rmSync(fresh, { recursive: true });
  rmSync(BUNDLES, { recursive: true, force: true });
  renameSync(fresh, BUNDLES);
}

/** The types of what programs import, and of nothing else that fantail consists of. */
function copyTypes() {
  const fresh = `${TYPES}.new`;
  rmSync(fresh, { recursive: true, force: true });
  const left = [join('api', 'index.d.ts')];
  const seen = new Set(left);
  for (let file = left.pop(); file !== undefined; file = left.pop()) {
    const text = readFileSync(join(ROOT, 'dist', 'src', file), 'utf8');
    mkdirSync(dirname(join(fresh, file)), { recursive: true });
    writeFileSync(join(fresh, file), text);
    for (const [, from] of text.matchAll(/(?:from|import\()\s*'(\.[^']+)\.js'/g)) {
      const next = `${join(dirname(file), from)}.d.ts`;
      if (!seen.has(next)) left.push(next);
      seen.add(next);
    }
  }
  rmSync(TYPES, { recursive: true, force: true });
  renameSync(fresh, TYPES);
}

/** Manual pages, which the commands print of themselves; package.json tells npm where they are. */
function writePages() {
  const step = {
    name: 'pages',
    wanted: digest([...filesOf('build/programs', ['.js']), 'package.json']),
    outputs: ['build/man/fantail.1'],
  };
  if (isFresh(step)) return;
  begun(step);
  rmSync(join(ROOT, 'build', 'man'), { recursive: true, force: true });
  run(process.execPath, ['build/programs/main.js', 'man', '--all', 'build/man'], true);
  succeeded(step);
}

/** One word for all that a supervisor and a data plane must have in common (installation.ts). */
export function identify() {
  const native = ['fantail-rx', 'fantail.node'].map((name) => join('native', 'build', name));
  const word = digest([...filesOf(join('build', 'programs'), ['.js']), ...native]).slice(0, 16);
  writeFileSync(join(ROOT, 'build', 'identity'), `${word}\n`);
}

/**
 * Makes `npx fantail` and the others find what was just built. npx would else keep a copy of the
 * list of commands as it was when it was first asked, and tsc writes files that nobody may execute.
 */
function linkCommands() {
  for (const [name, file] of Object.entries(commands())) {
    chmodSync(join(ROOT, file), 0o755);
    const target = join('..', '..', file);
    if (existsSync(tool(name)) && readlinkSync(tool(name)) === target) continue;
    rmSync(tool(name), { force: true });
    symlinkSync(target, tool(name));
  }
}

function generate() {
  for (const generator of ['gen-layout', 'gen-protocol', 'gen-reference'])
    run(process.execPath, [`dist/tools/${generator}.js`, ...(isCi ? ['--check'] : [])]);
}

/** The stock filters, each a file; of the default one a debug build too. */
async function compileFilters() {
  const shared = filesOf('assembly', ['.ts']).filter(
    (file) => !file.startsWith('assembly/filters/'),
  );
  const common = [...shared, 'asconfig.json', 'package-lock.json', 'tools/compile-filters.mjs'];
  const filters = filesOf('assembly/filters', ['.ts']).map((source) => {
    const name = basename(source, '.ts');
    const output = `build/filters/${name}`;
    const jobs = [[source, 'release', output]];
    if (name === DEFAULT_FILTER) jobs.push([source, 'debug', `${output}.debug`]);
    return { name, jobs, step: stepOf(`filter-${name}`, [source, ...common], jobs) };
  });
  const stale = filters.filter(({ step }) => !isFresh(step));
  if (stale.length === 0) return;
  say(`compiling filters to WebAssembly: ${stale.map(({ name }) => name).join(', ')}`);
  for (const { step } of stale) begun(step);
  const words = stale.flatMap(({ jobs }) => jobs.flat());
  await runBeside(process.execPath, ['tools/compile-filters.mjs', ...words]);
  for (const { step } of stale) succeeded(step);
}

const stepOf = (name, inputs, jobs) => ({
  name,
  wanted: digest(inputs),
  outputs: jobs.map(([, , output]) => `${output}.wasm`),
});

/** The page of the control port; its types come from all over src. */
async function buildDashboard() {
  const tools = ['tools/build-dashboard.mjs', 'tsconfig.json', 'tsconfig.dashboard.json'];
  const step = {
    name: 'dashboard',
    wanted: digest([
      ...filesOf('src', ['.ts', '.tsx', '.css', '.html']),
      ...[...tools, 'package-lock.json'],
    ]),
    outputs: ['build/dashboard/page.html'],
  };
  if (isFresh(step)) return;
  begun(step);
  await runBeside(tool('tsc'), ['-p', 'tsconfig.dashboard.json']);
  await runBeside(process.execPath, ['tools/build-dashboard.mjs']);
  succeeded(step);
}

const NATIVE = ['.cpp', '.hpp', '.c', '.h', 'Makefile'];

async function compileNative() {
  const step = {
    name: 'native',
    wanted: digest([
      ...filesOf('native', NATIVE),
      ...filesOf('bpf', NATIVE),
      ...filesOf('test/wire', NATIVE),
      'package-lock.json',
    ]),
    outputs: ['native/build/fantail-rx', 'native/build/fantail.node'],
  };
  if (isFresh(step)) return;
  say('compiling the XDP program, fantail-rx and the addon (a minute the first time)');
  begun(step);
  await runBeside('make', [
    ...['--no-print-directory', '-C', 'native'],
    `-j${availableParallelism()}`,
  ]);
  succeeded(step);
}

async function bundleThenCompileFilters() {
  bundlePrograms();
  copyTypes();
  linkCommands();
  await buildDashboard();
  writePages();
  await compileFilters();
}

/** Builds what is missing or stale; throws BuildFailure with the step that failed. */
export async function build() {
  run(process.execPath, ['tools/setup.mjs']);
  installModules();
  compileTypeScript();
  generate();
  const ended = await Promise.allSettled([compileNative(), bundleThenCompileFilters()]);
  const [failure, other] = ended.filter(({ status }) => status === 'rejected');
  if (other !== undefined) say(other.reason.message);
  if (failure !== undefined) throw failure.reason;
  identify();
}

/** The same, for a program's start: says what failed and ends the process with status 1. */
export async function buildOrExit() {
  try {
    await build();
  } catch (thrown) {
    if (!(thrown instanceof BuildFailure)) throw thrown;
    say(thrown.message);
    process.exit(1);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildOrExit();
