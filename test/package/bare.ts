/**
 * Goal: fantail's package can be installed on a machine that has Node, npm, a compiler, and nothing
 * of fantail's; it says what is missing and how to get it, and the line that it prints does; it is
 * installed without a network, too; runs as root and as nobody; and goes without a trace. Method: a
 * Debian of the test's own.
 *
 * Run by main.ts.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { version } from '../../src/domain/installation.js';
import { lackForNetwork } from '../rig/program.js';
import { BareMachine, GIVEN } from './bare-machine.js';
import { debian, lackForDebian } from './debian.js';
import { figure, seconds } from './figures.js';
import { packInto } from './tarball.js';

const test = suite('a bare machine');
const FIRST = ['nodejs', 'npm', 'g++', 'make', 'python3', 'ca-certificates'];
const TARBALL = `${GIVEN}/fantail-${version}.tgz`;
const INSTALL = ['npm', 'install', '--global', '--no-audit', '--no-fund'];
const ENDPOINT = ['10.9.0.1', '5000'];

let machine: BareMachine;

function done(words: readonly string[], how = {}): string {
  const { status, stdout, told } = machine.run(words, how);
  assert.is(status, 0, `${words.join(' ')}: ${told}`);
  return stdout;
}

/** Folders that npm makes and does not remove. */
const OF_NPM = /^\+ \/usr\/local\/(?:lib\/node_modules \d|bin \d|share\/man\/man1 \d)/;

/**
 * What npm 9 leaves of an installation that failed: its links to what is not there any more. The
 * next installation takes them over, and takes them away in the end.
 */
const LEFT_BY_NPM = / 777 0 0 \d+ \.\.\/.*lib\/node_modules\/fantail\//;
/** iproute2 makes it with the first namespace that has a name, and keeps it empty. */
const OF_IPROUTE2 = '+ /run/netns d';

/** What has come since then, and what has gone. */
function changes(before: ReadonlySet<string>): string[] {
  const now = machine.state();
  const come = [...now].filter((each) => !before.has(each)).map((each) => `+ ${each}`);
  const gone = [...before].filter((each) => !now.has(each)).map((each) => `- ${each}`);
  return [...come, ...gone].filter((each) => !OF_NPM.test(each));
}

/** The line that it prints for what is missing, which must work as it stands. */
let cure = '';

test('what is missing is told in a line, and nothing is left of the attempt', () => {
  const before = machine.state();
  const { status, told } = machine.run([...INSTALL, TARBALL], { isOnline: true });
  assert.is.not(status, 0, told);
  const lines = [...told.matchAll(/setup: (missing to compile fantail: .*)$/gm)].map(
    ([, it]) => it,
  );
  assert.is(lines.length, 1, told);
  assert.match(lines[0] ?? '', /^missing to compile fantail: clang, libbpf-dev, .*; run: apt-get /);
  cure = /; run: (.*)$/.exec(lines[0] ?? '')?.[1] ?? '';
  const left = changes(before).filter((each) => !LEFT_BY_NPM.test(each));
  assert.equal(left, [], 'nothing else is left');
});

test('with what that line installs, it is compiled and installed', () => {
  const packages = machine.sh(cure, { isOnline: true });
  assert.is(packages.status, 0, packages.told);
  seconds('packages that compile', packages.seconds);
  const before = machine.state();
  const installed = machine.run([...INSTALL, TARBALL], { isOnline: true });
  assert.is(installed.status, 0, installed.told);
  seconds('npm install -g', installed.seconds);
  assert.is(done(['fantail', '--version']), `${version}\n`);
  figure(
    'installed, KiB',
    done(['du', '-sk', '/usr/local/lib/node_modules/fantail']).split('\t')[0] ?? '',
  );
  done(['npm', 'uninstall', '--global', 'fantail']);
  const changed = changes(before).filter((each) => {
    return each.startsWith('+') || !LEFT_BY_NPM.test(each);
  });
  assert.equal(changed, [], 'and gone without a trace');
});

test('without a network it is installed from what npm has kept, for production alone', () => {
  const words = [...INSTALL, '--offline', '--omit=dev', TARBALL];
  const installed = machine.run(words);
  assert.is(installed.status, 0, installed.told);
  seconds('npm install -g --offline --omit=dev', installed.seconds);
  assert.is(done(['fantail', '--version'], { isNobody: true, folder: '/usr' }), `${version}\n`);
});

test('the demo runs, and where there is no ip it says so', () => {
  const demo = ['fantail', 'demo', '--json', '--seconds', '3'];
  const { status, told } = machine.run(demo, { folder: '/var' });
  assert.is(status, 0, told);
  assert.match(
    told,
    /no virtual link \(there is no ip here, .*: install iproute2\): showing socket/,
  );
  const added = machine.sh('apt-get install -y -qq --no-install-recommends iproute2', {
    isOnline: true,
  });
  assert.is(added.status, 0, added.told);
  for (const isNobody of [false, true]) {
    const lines = done(demo, { isNobody, folder: '/var' }).trimEnd().split('\n');
    // its own format
    const { subscribers } = JSON.parse(lines.at(-1) ?? '') as {
      subscribers: { state: string; received: number; lost: number }[];
    };
    const receiving = subscribers.filter(({ state }) => state === 'receiving');
    assert.is(receiving.length, 3, lines.at(-1));
    for (const { received, lost } of receiving) assert.ok(received > 0 && lost === 0);
  }
});

test('up runs in any folder: by AF_XDP as root, in socket mode as nobody, who is told why', async () => {
  const link = 'ip link add rep0 type veth peer name net0';
  const address = `ip addr add ${ENDPOINT[0]}/24 dev rep0`;
  assert.is(
    machine.sh(`${link} && ${address} && ip link set rep0 up && ip link set net0 up`).status,
    0,
  );
  for (const [isNobody, mode, folder] of [
    [false, 'copy', '/etc'],
    [true, 'socket', '/usr/share'],
  ] as const) {
    const up = machine.start(['fantail', 'up', 'rep0', ...ENDPOINT], { isNobody, folder });
    await up.line(new RegExp(`^ready .*mode=${mode}`, 'm'));
    if (isNobody) assert.match(up.stderr, /AF_XDP takes CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF/);
    assert.is(await machine.stop(up), 0, up.told());
  }
});

test('what it brings is there: filters are compiled, and the unit runs this installation', () => {
  done(['fantail', 'filter', 'new', 'mine'], { folder: '/tmp' });
  done(['fantail', 'filter', 'build', 'mine'], { folder: '/tmp' });
  done(['rm', '-r', '/tmp/mine']);
  const unit = done(['fantail', 'install-service', '--print']);
  assert.match(unit, /^ExecStart=\S+ \/usr\/local\/lib\/node_modules\/fantail\//m);
});

test('uninstalled, it has left nothing: no file, process, namespace, interface or map', () => {
  done(['ip', 'link', 'del', 'rep0']);
  done(['npm', 'uninstall', '--global', 'fantail']);
  const ofPackages = /^[+-] \/(?:usr|etc|var)\/(?!local\/)/; // what apt has installed meanwhile
  const left = changes(fresh).filter((each) => !ofPackages.test(each) || /fantail/i.test(each));
  assert.equal(
    left.filter((each) => each !== OF_IPROUTE2),
    [],
  );
});

let fresh: ReadonlySet<string> = new Set();

test.before(async () => {
  machine = new BareMachine(debian('node', FIRST));
  await machine.boot();
  packInto(machine.given);
  fresh = machine.state();
});
test.after(() => machine.close());

const lack = lackForNetwork() ?? lackForDebian();
if (lack === null) test.run();
else console.log(`skip: ${lack}`);
