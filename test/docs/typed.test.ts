/**
 * Goal: who types what the pages show gets what they say. Method: the blocks that are marked `run`
 * (on the replicator's machine; `run net`: on another one) and the lines of the tables of
 * docs/migrating.md are typed as they stand, page by page from top to bottom, on a link with the
 * names and addresses of the pages; so are the clients of docs/protocol.md and the filter of
 * docs/filters.md.
 *
 * needs: a link
 * takes: 60 s
 */
// time limit: 300 s
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { atEnd, lackForNetwork, lackForProgram, Program, ROOT } from '../rig/program.js';
import { isJudged, words } from './commands.js';
import { type Block, codesOf, page, type Row } from './pages.js';

const test = suite('what pages show, typed');
const SCENE = join(ROOT, 'test/docs/scene.sh');
/** Debian's, which has Debian's packages. */
const PYTHON = '/usr/bin/python3';
const TRIES_MAX = 10;

type Side = 'host' | 'net';

/** The machine of the pages: see scene.sh. */
class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'fantail-pages-'));
  /** Where what is typed runs. */
  readonly here = join(this.folder, 'here');
  private readonly shell = new Program('unshare', [
    ...['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
    ...['bash', SCENE, this.folder, ROOT, process.execPath],
  ]);
  private readonly remove = atEnd(() => rmSync(this.folder, { recursive: true, force: true }));
  private typed = 0;

  async open(): Promise<void> {
    await this.shell.line(/^ready$/m);
  }

  /** Types it and gives what came of it on stdout; it must succeed. */
  async type(text: string, side: Side = 'host', statuses: readonly number[] = [0]) {
    const name = `block-${++this.typed}`;
    const file = join(this.folder, name);
    writeFileSync(file, `${text}\n`);
    const [out, err] = [this.shell.stdout.length, this.shell.stderr.length];
    this.shell.write(`${side} ${file}`);
    const [end, status] = await this.shell.line(new RegExp(`\\ndone ${name} (\\d+)\\n`));
    const said = this.shell.stdout.slice(out).replace(end, '');
    const told = `${text}\n${said}${this.shell.stderr.slice(err)}`;
    assert.ok(statuses.includes(Number(status)), `status ${status} of: ${told}`);
    return said;
  }

  close(): void {
    this.shell.close();
    this.remove();
  }
}

const lack = lackForNetwork();
const scene = lack === null ? new Scene() : null;
test.before(() => scene?.open());
test.after(() => scene?.close());

/** A test on the scene; where there can be none it is skipped. */
function typedTest(name: string, work: (scene: Scene) => Promise<void>): void {
  test(name, async () => {
    if (scene === null) {
      console.log(`skip: ${lack}`);
      return;
    }
    const began_ms = performance.now();
    await work(scene);
    console.log(`     ${((performance.now() - began_ms) / 1000).toFixed(1)} s: ${name}`);
  });
}

const isRun = (part: Block | Row): part is Block =>
  part.kind === 'block' && part.info[0] === 'sh' && part.info[1] === 'run';
const sideOf = ({ info }: Block): Side => (info[2] === 'net' ? 'net' : 'host');

/** Types the blocks of a page that are to be. */
async function typePage(scene: Scene, path: string): Promise<void> {
  const found = page(path).parts.filter(isRun);
  rmSync(join(scene.here, 'my-filter'), { recursive: true, force: true }); // of a page before
  assert.ok(found.length > 0, `${path} has no block to be typed`);
  for (const block of found) await scene.type(block.text, sideOf(block));
}

typedTest('README.md: a real interface, and a filter', (scene) => typePage(scene, 'README.md'));

typedTest('docs/operators.md: from the first feed to bulk, queues and clean', async (scene) => {
  await typePage(scene, 'docs/operators.md');
});

typedTest('docs/filters.md: stock filters, A/B lines, and one of one’s own', async (scene) => {
  await typePage(scene, 'docs/filters.md');
  const source = page('docs/filters.md').parts.find(
    (part): part is Block => part.kind === 'block' && part.info[1] === 'filter',
  );
  writeFileSync(join(scene.here, 'my-filter', 'my-filter.ts'), source?.text ?? '');
  await scene.type('fantail filter build my-filter');
  const sent = async (param: string) => {
    const module = 'my-filter/build/my-filter.wasm';
    const said = await scene.type(`fantail filter test ${module} --param '${param}' --json`);
    return [...said.matchAll(/"length":(\d+),"outcome":"sen[dt]"/g)].map(([, length]) => length);
  };
  // the payload of the sample of 74 bytes begins with a space
  assert.equal(await sent(' '), ['74']);
  assert.equal(await sent('A'), []);
  assert.equal(await sent('  '), [], 'that is no letter');
});

/**
 * Again and from the beginning where a worker was slow to follow, so that a program was told BUSY,
 * as it may be on a machine that is busy.
 */
async function typedInTime(scene: Scene, text: string): Promise<string> {
  for (let tries = 1; ; tries++) {
    const said = await scene.type(text);
    if (!said.includes('BUSY') || tries === TRIES_MAX) return said;
    for (const host of ['10.0.0.34', '10.0.0.35']) await scene.type(`fantail remove ${host} 9001`);
  }
}

/** Lines of a cell that are commands of this project. */
const linesIn = (cell = '') => codesOf(cell).filter((code) => isJudged(words(code)));

typedTest('docs/migrating.md: each old line that is ours, and each new one', async (scene) => {
  let typed = 0;
  for (const part of page('docs/migrating.md').parts) {
    if (isRun(part)) await scene.type(part.text, sideOf(part));
    if (part.kind !== 'row' || part.head[1] !== 'instead') continue;
    const side = part.head[0] === 'you type elsewhere' ? 'net' : 'host';
    for (const line of [...linesIn(part.cells[0]), ...linesIn(part.cells[1])]) {
      // it says what it finds wrong with whatever machine this is
      await scene.type(line, side, line.startsWith('fantail doctor') ? [0, 1] : [0]);
      typed++;
    }
  }
  assert.ok(typed > 25, `only ${typed} lines were typed`);
});

typedTest(
  'docs/protocol.md: its clients in JavaScript and Python do what they say',
  async (scene) => {
    const { parts } = page('docs/protocol.md');
    const client = (language: string) =>
      parts.find((part): part is Block => part.kind === 'block' && part.info[0] === language)
        ?.text ?? '';
    await scene.type('fantail up eth1 10.0.0.5 5000 --layout split');
    writeFileSync(join(scene.here, 'client.mjs'), client('js'));
    const said = await typedInTime(scene, 'node client.mjs');
    assert.match(said, /existing: false/);
    assert.match(said, /^10\.0\.0\.34 9001 \w+$/m);
    assert.match(await scene.type('fantail list'), /no subscribers|^(?!.*10\.0\.0\.34)/s);
    const has = () => spawnSync(PYTHON, ['-c', 'import websocket']).status === 0;
    const missing = lackForProgram('python3-websocket', has, 'python3', 'python3-websocket');
    if (missing !== null) {
      console.log(`skip: ${missing}`);
      return;
    }
    writeFileSync(join(scene.here, 'client.py'), client('python'));
    const answers = await typedInTime(scene, `${PYTHON} client.py`);
    assert.match(answers, /'existing': False/);
    assert.match(answers, /^NOT_ALLOWED$/m);
    assert.match(answers, /^10\.0\.0\.35 9001 \w+$/m);
  },
);

/** A program in the scene that sends messages and prints what comes back, a line each. */
function asking(messages: readonly string[]): string {
  return `import WebSocket from 'ws';
    const socket = new WebSocket('ws://127.0.0.1:12345');
    let left = ${messages.length};
    socket.on('open', () => ${JSON.stringify(messages)}.forEach((each) => socket.send(each)));
    socket.on('message', (data) => {
      console.log(String(data));
      if (--left === 0) socket.close();
    });`;
}

typedTest('docs/protocol.md: who types in wscat is answered as it shows', async (scene) => {
  const shown = page('docs/protocol.md').parts.find(
    (part): part is Block => part.kind === 'block' && part.text.startsWith('> '),
  );
  const lines = (mark: string) =>
    [...(shown?.text ?? '').matchAll(new RegExp(`^${mark} (.*)$`, 'gm'))].map(
      ([, line = '']) => line,
    );
  writeFileSync(join(scene.here, 'typed.mjs'), asking(lines('>')));
  const said = (await typedInTime(scene, 'node typed.mjs')).split('\n');
  assert.ok(lines('<').length > 1);
  for (const line of lines('<')) assert.ok(said.includes(line), `${line}: ${said.join('\n')}`);
});

/** Those whose keys are names of what is counted. */
const COUNTS = new Set(['drops', 'xdp', 'stages_ns', 'sockets', 'device', 'queue.driver']);

/** Every key of an answer, of rows in it too. */
function keysIn(value: unknown, of = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => keysIn(each, of));
  if (typeof value !== 'object' || value === null || COUNTS.has(of)) return [];
  const row = 'queue' in value ? 'queue.' : '';
  return Object.entries(value).flatMap(([key, inner]) => [
    key,
    ...keysIn(inner, key === 'driver' ? `${row}${key}` : key),
  ]);
}

typedTest(
  'docs/protocol.md names every field of list, stats, filters and changes',
  async (scene) => {
    await scene.type('fantail add 10.0.0.34 9001'); // of the replicator that is there already
    const named = new Set(page('docs/protocol.md').codes.flatMap((code) => code.split(/[^\w]+/)));
    const asked = ['list', 'filter.list', 'changes', 'config', 'help'].map((op) => ({ op }));
    const requests = [...asked, { op: 'filter.info', name: 'rewrite' }];
    const messages = requests.map((request) => JSON.stringify(request));
    writeFileSync(join(scene.here, 'ask.mjs'), asking(messages));
    const said = await scene.type('fantail stats --queues --json; node ask.mjs');
    const answers = [...said.matchAll(/^\{.*\}$/gm)].map(([line]) => JSON.parse(line) as unknown);
    assert.is(answers.length, requests.length + 1);
    for (const answer of answers)
      for (const key of keysIn(answer)) assert.ok(named.has(key), `${key} is not named`);
  },
);

test.run();
