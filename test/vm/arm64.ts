/**
 * fantail on arm64, as far as another machine can tell: everything native compiles for it, and
 * random filters, on the Node of that machine in QEMU's user mode, are contained as they are here.
 * V8 has a trap handler there since 2023, which turns a store to a page that may only be read into
 * a trap; this is where it is seen.
 *
 * Started by main.ts.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Campaign, told } from '../fuzz/campaign.js';
import { seedOfRun } from '../fuzz/chance.js';
import { NODES, nodeFor } from '../nodes/nodes.js';
import { ROOT, run } from '../rig/program.js';
import { arm64Folder } from './packages.js';

const test = suite('arm64');
const TARGET = 'aarch64-linux-gnu';
/** Of Node: the oldest that fantail takes, and those that users have. */
const VERSIONS = ['20.20.2', ...Object.values(NODES)];
const MODULES = 60;
const BUILD_MS_MAX = 600_000;
const CAMPAIGN_MS_MAX = 600_000;

/** The sources, compiled for arm64, beside what is the same on every machine. */
class Tree {
  readonly folder = mkdtempSync(join(tmpdir(), 'fantail-arm64-'));

  constructor(private readonly tools: string) {
    for (const name of ['bpf', 'native', 'dist', 'build', 'package.json', 'test/wire'])
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

for (const version of VERSIONS)
  test(`random filters are contained by Node ${version}`, async () => {
    const seed = seedOfRun();
    console.log(`fuzz: SEED=${seed}`);
    const campaign = new Campaign(seed, {
      execPath: join(tools, 'usr', 'bin', 'qemu-aarch64-static'),
      execArgv: ['-L', join(tools, 'usr', TARGET), nodeFor('arm64', version)],
      script: join(tree.folder, 'dist', 'test', 'fuzz', 'child.js'),
    });
    await campaign.run({ from: 0, count: MODULES, ms: CAMPAIGN_MS_MAX });
    console.log(told(campaign.tally));
    assert.equal(campaign.tally.faults, []);
    const { counts } = campaign.tally;
    const trapped = Object.values(counts).reduce((sum, each) => sum + (each.trapped ?? 0), 0);
    assert.ok(trapped > 0, 'some of them stored where they may not');
  });

test.after(() => tree.close());

test.run();
