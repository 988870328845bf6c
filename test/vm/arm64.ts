/**
 * fantail on arm64, as far as another machine can tell: everything native compiles for it, and the
 * Nodes for it, in QEMU's user mode, say whether they have the trap handler that contains filters;
 * `up` refuses one that has none (src/filters/traps.ts).
 * (Filters themselves, run so, did not answer within two minutes: not looked into.)
 *
 * Started by main.ts.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NODES, nodeFor } from '../nodes/nodes.js';
import { ROOT, run } from '../rig/program.js';
import { arm64Folder } from './packages.js';

const test = suite('arm64');
const TARGET = 'aarch64-linux-gnu';
/** Of Node: the oldest that fantail takes, and those that users have; whether each has it. */
const VERSIONS = [
  ['20.20.2', false],
  ...Object.values(NODES).map((version) => [version, true] as const),
] as const;
const BUILD_MS_MAX = 600_000;

/** The native sources, compiled for arm64. */
class Tree {
  readonly folder = mkdtempSync(join(tmpdir(), 'fantail-arm64-'));

  constructor(private readonly tools: string) {
    for (const name of ['bpf', 'native', 'test/wire'])
      cpSync(join(ROOT, name), join(this.folder, name), {
        recursive: true,
        filter: (path) => path !== join(ROOT, 'native', 'build'),
      });
    symlinkSync(join(ROOT, 'node_modules'), join(this.folder, 'node_modules'));
  }

  compile(): void {
    const { tools } = this;
    const own = (path: string) => join(tools, 'usr', path);
    const include = ['include', `include/${TARGET}`].map((path) => `-isystem ${own(path)}`);
    const libraries = [`lib/${TARGET}`, `${TARGET}/lib`].flatMap((path) => [
      `-L${own(path)}`,
      `-Wl,-rpath-link,${own(path)}`,
    ]);
    const compiler = [own(`bin/${TARGET}-g++`), `--sysroot=${tools}`, `-B${own(`${TARGET}/bin`)}`];
    mkdirSync(join(this.folder, 'native', 'build'), { recursive: true });
    run(
      'env',
      [
        `PATH=${own('bin')}:${process.env.PATH ?? ''}`,
        `LD_LIBRARY_PATH=${own('lib/x86_64-linux-gnu')}`,
        ...['make', '-s', '-C', join(this.folder, 'native'), `-j${cpus().length}`],
        `CXX=${[...compiler, ...include, ...libraries].join(' ')}`,
        `LTO_AR=${own(`bin/${TARGET}-gcc-ar`)}`,
      ],
      '',
      BUILD_MS_MAX,
    );
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const tools = arm64Folder();
const tree = new Tree(tools);

test('everything native compiles for it', () => {
  tree.compile();
  for (const name of ['fantail-rx', 'fantail.node'])
    assert.match(run('file', ['-b', join(tree.folder, 'native', 'build', name)]), /aarch64/);
});

for (const [version, has] of VERSIONS)
  test(`Node ${version} there ${has ? 'has' : 'lacks'} the trap handler, and fantail knows`, () => {
    const traps = join(ROOT, 'dist', 'src', 'filters', 'traps.js');
    const script = `import { hasTrapHandler } from '${traps}'; console.log(hasTrapHandler());`;
    const emulator = [
      join(tools, 'usr', 'bin', 'qemu-aarch64-static'),
      '-L',
      join(tools, 'usr', TARGET),
    ];
    const node = [nodeFor('arm64', version), '--input-type=module', '-e', script];
    assert.is(run('env', [...emulator, ...node]).trim(), String(has));
  });

test.after(() => tree.close());

test.run();
