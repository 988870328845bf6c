/**
 * Goal: who types what the pages show gets what they say. Method: every line of the blocks that
 * are marked `run`, but those that untyped.ts lists, and the lines of the tables of
 * docs/migrating.md are typed as they stand, page by page from top to bottom, on a link with the
 * names and addresses of the pages; so are the programs of docs/protocol.md and docs/api.md and the
 * filter of docs/filters.md. Where the words behind `run` say so the line is typed
 *
 *   net     on another machine of the link
 *   demo    while the demo runs that `npm start` has started
 *   fleet   with etcd on three hosts
 *
 * needs: a link
 * takes: 150 s
 */
// time limit: 300 s
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bench } from '../planning/bench-file.js';
import { etcdProgram, lackForEtcd } from '../rig/fleet/etcd.js';
import {
  atEnd,
  eventually,
  lackForNetwork,
  lackForProgram,
  Program,
  ROOT,
} from '../rig/program.js';
import { isJudged, words } from './commands.js';
import { type Block, codesOf, page, pages, type Row } from './pages.js';
import { isUntyped, keyOf } from './untyped.js';

const test = suite('what pages show, typed');
const SCENE = join(ROOT, 'test/docs/scene.sh');
/** Debian's, which has Debian's packages. */
const PYTHON = '/usr/bin/python3';
const TRIES_MAX = 10;

const SIDES = ['host', 'net', 'demo', 'fleet'] as const;
type Side = (typeof SIDES)[number];

/** What would take longer than it says: the same with less of it. */
const SHORTER: readonly (readonly [string, string])[] = [
  ['sleep 3 ', 'sleep 1 '],
  [' 100000 10000 ', ' 2000 10000 '],
  [' 20000 5000', ' 2000 5000'],
];

/** The machine of the pages: see scene.sh. */
class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'fantail-pages-'));
  /** Where what is typed runs. */
  readonly here = join(this.folder, 'here');
  private readonly shell = new Program('unshare', [
    ...['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'],
    ...['bash', SCENE, this.folder, ROOT, process.execPath],
  ]);
  private readonly remove = atEnd(() => rmSync(this.folder, { recursive: true, force: true }));
  private count = 0;

  async open(): Promise<void> {
    await this.shell.line(/^ready$/m);
  }

  /** Types it and gives what came of it on stdout; it must succeed. */
  async type(text: string, side: Side = 'host') {
    const name = `block-${++this.count}`;
    const file = join(this.folder, name);
    writeFileSync(file, `${text}\n`);
    const [out, err] = [this.shell.stdout.length, this.shell.stderr.length];
    // what goes on in the demo goes on until another block starts something
    const block = side === 'demo' ? side : name;
    this.shell.write(`${side === 'net' ? side : 'host'} ${block} ${file}`);
    const [end, status] = await this.shell.line(new RegExp(`\\ndone ${name} (\\d+)\\n`));
    const said = this.shell.stdout.slice(out).replace(end, '');
    const told = `${text}\n${said}${this.shell.stderr.slice(err)}`;
    assert.is(status, '0', told);
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
  part.kind === 'block' &&
  ['sh', 'js', 'python'].includes(part.info[0] ?? '') &&
  part.info[1] === 'run';
const sideOf = ({ info: [, , side] }: Block): Side => SIDES.find((each) => each === side) ?? 'host';

const placeOf = (path: string, { line }: Block) => `${path}:${line}`;
const typedPlaces = new Set<string>();

/** What takes seconds and stands on several pages: it is typed once, and what it makes stays. */
const SLOW = /^fantail filter (new|build|test) /;
const slowTyped = new Set<string>();
function isTypedAlready(line: string): boolean {
  const key = keyOf(line).replace(/^npx /, '');
  if (!SLOW.test(key)) return false;
  const { size } = slowTyped;
  return slowTyped.add(key).size === size;
}

/** The text of a block, which is typed now. */
function taken(path: string, block: Block): string {
  typedPlaces.add(placeOf(path, block));
  const lines = block.text.split('\n').filter((line) => !isUntyped(line) && !isTypedAlready(line));
  return SHORTER.reduce((text, [long, short]) => text.replaceAll(long, short), lines.join('\n'));
}

type Choice = (block: Block) => boolean;
const onThisLink: Choice = (block) => ['host', 'net'].includes(sideOf(block));

/** Types the blocks of a page that are of commands and chosen. */
async function typePage(scene: Scene, path: string, choice: Choice = onThisLink): Promise<void> {
  const found = page(path).parts.filter(isRun);
  const chosen = found.filter((block) => block.info[0] === 'sh' && choice(block));
  assert.ok(chosen.length > 0, `${path} has no such block to be typed`);
  for (const block of chosen) {
    const text = taken(path, block);
    if (text.includes(' --cpus 1') && cpus().length < 2)
      console.log(`skip: ${placeOf(path, block)} is for a machine of two cores`);
    else {
      const said = await scene.type(text, sideOf(block));
      // a worker of a machine that is busy follows later
      assert.not.match(said, /^(< )?error (?!BUSY)|"ok":false(?!.*"BUSY")/m, text);
    }
  }
}

/** The program of a page, in that language, for a file. */
function programIn(path: string, language: string): string {
  const block = page(path).parts.find(
    (part): part is Block => isRun(part) && part.info[0] === language,
  );
  assert.ok(block !== undefined, `${path} has nothing in ${language}`);
  return taken(path, block);
}

typedTest('README.md: a real interface, and a filter', async (scene) => {
  await typePage(scene, 'README.md');
});

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
    if (isRun(part) && onThisLink(part))
      await scene.type(taken('docs/migrating.md', part), sideOf(part));
    if (part.kind !== 'row' || part.head[1] !== 'instead') continue;
    const side = part.head[0] === 'you type elsewhere' ? 'net' : 'host';
    for (const line of [...linesIn(part.cells[0]), ...linesIn(part.cells[1])]) {
      await scene.type(line, side);
      typed++;
    }
  }
  assert.ok(typed > 25, `only ${typed} lines were typed`);
});

typedTest(
  'docs/protocol.md: its clients in JavaScript and Python do what they say',
  async (scene) => {
    await scene.type('fantail up eth1 10.0.0.5 5000 --layout split');
    writeFileSync(join(scene.here, 'client.mjs'), programIn('docs/protocol.md', 'js'));
    const said = await typedInTime(scene, 'node client.mjs');
    assert.match(said, /existing: false/);
    assert.match(said, /^10\.0\.0\.34 9001 \w+$/m);
    assert.match(await scene.type('fantail list'), /no subscribers|^(?!.*10\.0\.0\.34)/s);
    const client = programIn('docs/protocol.md', 'python');
    const has = () => spawnSync(PYTHON, ['-c', 'import websocket']).status === 0;
    const missing = lackForProgram('python3-websocket', has, 'python3', 'python3-websocket');
    if (missing !== null) {
      console.log(`skip: ${missing}`);
      return;
    }
    writeFileSync(join(scene.here, 'client.py'), client);
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

/** It goes on, and is ended once it has told what it is to tell. */
const UNTIL_RECEIVED = `node api.mjs > api.out & pid=$!
until grep -q '^received [0-9]' api.out; do kill -0 $pid; sleep 0.05; done
kill $pid`;

typedTest('docs/api.md: its program adds, lists and watches', async (scene) => {
  writeFileSync(join(scene.here, 'api.mjs'), programIn('docs/api.md', 'js'));
  await scene.type(UNTIL_RECEIVED);
});

typedTest('docs/protocol.md: who types its lines gets answers, with a token too', async (scene) => {
  const withToken: Choice = ({ text }) => text.includes('TOKEN');
  await typePage(scene, 'docs/protocol.md', (block) => !withToken(block));
  await scene.type('printf TOKEN > /etc/fantail/token; chmod 600 /etc/fantail/token');
  const words = '--control 10.0.0.5:12345 --token-file /etc/fantail/token';
  await scene.type(`fantail up eth1 10.0.0.5 5000 ${words}`);
  await typePage(scene, 'docs/protocol.md', withToken);
  await typePage(scene, 'docs/measured.md');
});

typedTest('docs/configuration.md: its file is taken, and a unit is written', async (scene) => {
  const { parts } = page('docs/configuration.md');
  const file = parts.find(
    (part): part is Block => part.kind === 'block' && part.info[0] === 'yaml',
  );
  writeFileSync(join(scene.folder, 'etc/fantail/eth1.yaml'), file?.text ?? '');
  await scene.type('cp "$PROJECT/build/filters/dscp-ttl.wasm" /etc/fantail/mine.wasm');
  assert.match(await scene.type('fantail config check /etc/fantail/eth1.yaml'), /\bok\b/);
  await typePage(scene, 'docs/configuration.md');
  assert.ok(existsSync(join(scene.folder, 'etc/systemd/system/fantail@.service')));
});

typedTest('docs/doctor.md: it finds what there is to find', async (scene) => {
  await typePage(scene, 'docs/doctor.md');
});

typedTest('docs/plan.md: plans by a bench and by figures', async (scene) => {
  const folder = join(scene.here, 'bench-results');
  mkdirSync(folder);
  writeFileSync(join(folder, 'latest.json'), JSON.stringify(bench));
  await typePage(scene, 'docs/plan.md');
});

/** etcd1, etcd2 and etcd3, with certificates, and the files that the page has words for. */
const ETCD = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
  -subj /CN=etcd -addext subjectAltName=DNS:etcd1,DNS:etcd2,DNS:etcd3 -keyout key.pem -out ca.pem
head -c 24 /dev/urandom | base64 > token
chmod 600 token
cp "$PROJECT/build/filters/dscp-ttl.wasm" mine.wasm
peers=etcd1=http://127.0.0.1:2380,etcd2=http://127.0.0.2:2380,etcd3=http://127.0.0.3:2380
for number in 1 2 3; do
  echo "127.0.0.$number etcd$number" >> /etc/hosts
  at=127.0.0.$number
  setsid etcd --name etcd$number --data-dir /var/lib/etcd/etcd$number --initial-cluster $peers \
    --listen-peer-urls http://$at:2380 --initial-advertise-peer-urls http://$at:2380 \
    --listen-client-urls https://$at:2379 --advertise-client-urls https://etcd$number:2379 \
    --cert-file ca.pem --key-file key.pem > etcd$number.log 2>&1 &
done
until etcdctl --endpoints https://etcd1:2379 --cacert ca.pem endpoint health; do sleep 0.1; done`;

const lackOfEtcd = lack === null ? lackForEtcd() : null;

typedTest('docs/fleet.md, docs/plan.md: a group, its filters, a relay, a backup', async (scene) => {
  if (lackOfEtcd !== null) {
    console.log(`skip: ${lackOfEtcd}`);
    return;
  }
  for (const name of ['etcd', 'etcdctl'] as const) {
    const program = etcdProgram(name);
    if (program !== name) symlinkSync(program, join(scene.folder, 'bin', name));
  }
  await scene.type(ETCD);
  const isFleet: Choice = (block) => sideOf(block) === 'fleet';
  await typePage(scene, 'docs/fleet.md', isFleet);
  const etcd = '--fleet https://etcd1:2379/desks --fleet-ca ca.pem';
  assert.match(await scene.type(`fantail fleet list ${etcd}`), /10\.0\.0\.34 .*mine/);
  await typePage(scene, 'docs/plan.md', isFleet);
  const said = await scene.type(`fantail fleet status ${etcd}`);
  assert.match(said, /m4 .*m2/, 'a relay of that upstream');
});

typedTest('README.md, docs/migrating.md, docs/measured.md: on the demo’s link', async (scene) => {
  const isDemo: Choice = (block) => sideOf(block) === 'demo';
  await typePage(scene, 'README.md', isDemo);
  const views = () =>
    readdirSync(join(scene.folder, 'ups'))
      .filter((name) => name.endsWith('.out'))
      .map((name) => readFileSync(join(scene.folder, 'ups', name), 'utf8'))
      .join('');
  await eventually('its row counts', () => /^10\.77\.0\.14:9004 +[1-9]/m.test(views()));
  await typePage(scene, 'docs/migrating.md', isDemo);
  await typePage(scene, 'docs/measured.md', isDemo);
});

typedTest('nothing that is to be typed is left', async () => {
  const left = pages.flatMap(({ path, parts }) =>
    parts
      .filter(isRun)
      .filter((block) => sideOf(block) !== 'fleet' || lackOfEtcd === null)
      .map((block) => placeOf(path, block)),
  );
  assert.equal(
    left.filter((place) => !typedPlaces.has(place)),
    [],
  );
});

test.run();
