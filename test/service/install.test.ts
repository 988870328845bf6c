/**
 * Goal: `fantail install-service` writes a unit that runs this installation, writes over nothing
 * that is somebody's, and can be undone. Method: a folder of the test's own, and systemd's own
 * checker of units.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { execProgram, execWord, unitOf } from '../../src/cli/service/unit.js';
import { MAIN, ROOT } from '../rig/program.js';

const test = suite('install-service');
const base = mkdtempSync(join(tmpdir(), 'install-service-'));
test.after(() => rmSync(base, { recursive: true }));

let folders = 0;
function emptyFolder(): string {
  const folder = join(base, String(folders++));
  mkdirSync(folder);
  return folder;
}

function install(folder: string, ...words: string[]) {
  const all = [MAIN, 'install-service', '--folder', folder, ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, all, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const unitIn = (folder: string) => join(folder, 'fantail@.service');

test('it writes the unit of this installation, and says what comes next', () => {
  const folder = emptyFolder();
  const { status, stdout } = install(folder);
  assert.is(status, 0);
  assert.equal(readdirSync(folder), ['fantail@.service']);
  assert.match(
    stdout,
    /^wrote .*\nnext, once there is \/etc\/fantail\/eth1\.yaml:\n {2}systemctl daemon-reload\n {2}systemctl enable --now fantail@eth1\n$/,
  );
  const unit = readFileSync(unitIn(folder), 'utf8');
  assert.match(
    unit,
    new RegExp(
      `^ExecStart=\\S*node\\S* ${ROOT}/build/programs/main\\.js up --config /etc/fantail/%i\\.yaml$`,
      'm',
    ),
  );
  assert.not.match(unit, /FANTAIL_WORDS|EnvironmentFile/);
  const settings = (text: string) =>
    text
      .split('\n')
      .filter((line) => /^\w+=/.test(line) && !/^(ExecStart|EnvironmentFile)=/.test(line));
  const own = readFileSync(join(ROOT, 'tools', 'fantail@.service'), 'utf8');
  assert.equal(settings(unit), settings(own), 'every restriction of the unit that it comes with');
});

test('its instances are the files beside the one that is named', () => {
  const folder = emptyFolder();
  const config = join(folder, 'the-desks.yaml');
  writeFileSync(config, '');
  const { stdout } = install(folder, '--config', config);
  assert.match(stdout, /^ {2}systemctl enable --now fantail@the-desks$/m);
  assert.ok(readFileSync(unitIn(folder), 'utf8').includes(`up --config ${folder}/%i.yaml\n`));
  assert.is(install(folder, '--config', join(folder, 'eth1')).status, 2);
  for (const name of ['the desks', 'büro', 'a%b', 'a\\b']) {
    const { status, stderr } = install(folder, '--config', join(folder, `${name}.yaml`));
    assert.is(status, 2);
    assert.match(stderr, /systemd takes no instance .*; give the file a name of letters/);
  }
});

test('a folder may be called anything', () => {
  const unit = unitOf('/etc/@@ 1%i $x/eth1.yaml', { node: '/node', main: '/main.js' });
  assert.match(unit, /^ExecStart=\/node \/main\.js up --config "\/etc\/@@ 1%%i \$\$x\/%i\.yaml"$/m);
});

test('words of ExecStart are quoted as systemd reads them', () => {
  assert.is(execWord('/usr/bin/node'), '/usr/bin/node');
  assert.is(execWord('/a b/100%/$x'), '"/a b/100%%/$$x"');
  assert.is(execWord('/a"b\\'), '"/a\\"b\\\\"');
  assert.is(execProgram('/a b/$x%'), '"/a b/$x%%"');
  assert.throws(() => execProgram('/a"b'), /starts no program with quotes/);
});

test('systemd takes it, for an installation whose path is no plain word, too', () => {
  const folder = emptyFolder();
  const home = join(folder, 'plain 100% $PATH');
  mkdirSync(home);
  const configs = join(folder, 'a "quoted" \\ one');
  const node = join(home, 'node');
  symlinkSync(process.execPath, node);
  const unit = unitOf(join(configs, 'eth1.yaml'), { node, main: MAIN });
  writeFileSync(unitIn(folder), unit);
  const instance = join(folder, 'fantail@eth1.service');
  writeFileSync(instance, unit);
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', instance], {
    encoding: 'utf8',
  });
  assert.equal(
    [status, stderr.split('\n').filter((line) => line.includes(folder))],
    [0, []],
    stderr,
  );
});

test('--print writes nothing', () => {
  const folder = emptyFolder();
  const { status, stdout } = install(folder, '--print');
  assert.is(status, 0);
  assert.equal(readdirSync(folder), []);
  install(folder);
  assert.is(readFileSync(unitIn(folder), 'utf8'), stdout);
});

test('what it wrote itself it writes again; what somebody changed it does not, unless forced', () => {
  const folder = emptyFolder();
  install(folder);
  assert.match(install(folder).stdout, /^.* is as it should be\n/);
  assert.is(install(folder, '--config', join(folder, 'NAME.yml')).status, 0, 'as it was written');
  appendFileSync(unitIn(folder), 'OOMScoreAdjust=-500\n');
  const changed = readFileSync(unitIn(folder), 'utf8');
  for (const words of [[], ['--remove']]) {
    const { status, stderr } = install(folder, ...words);
    assert.is(status, 1);
    assert.match(
      stderr,
      /was changed since it was written, or by another: compare it with --print/,
    );
    assert.is(readFileSync(unitIn(folder), 'utf8'), changed);
  }
  assert.is(install(folder, '--force').status, 0);
  assert.not.match(readFileSync(unitIn(folder), 'utf8'), /OOMScoreAdjust/);
});

test('--remove undoes it, and not while an instance is enabled', () => {
  const folder = emptyFolder();
  install(folder);
  const wants = join(folder, 'multi-user.target.wants');
  mkdirSync(wants);
  symlinkSync(unitIn(folder), join(wants, 'fantail@eth1.service'));
  const refused = install(folder, '--remove');
  assert.is(refused.status, 1);
  assert.match(
    refused.stderr,
    /enabled by it: fantail@eth1; first: systemctl disable --now fantail@eth1/,
  );
  rmSync(wants, { recursive: true });
  assert.match(install(folder, '--remove').stdout, /^removed .*\nnext:\n {2}systemctl stop/);
  assert.equal(readdirSync(folder), []);
  assert.match(install(folder, '--remove').stdout, /is not there/);
});

test('where it may not write, or others may not read, it says so', () => {
  const none = install(join(base, 'none'));
  assert.is(none.status, 1);
  assert.match(none.stderr, /^fantail install-service: cannot write .*ENOENT/m);
  const folder = emptyFolder();
  const config = join(folder, 'eth1.yaml');
  writeFileSync(config, '', { mode: 0o600 });
  assert.match(install(folder, '--config', config).stderr, /user may not read .*eth1\.yaml/);
  assert.match(
    install(folder, '--config', join(folder, 'eth2.yaml')).stderr,
    /eth2\.yaml is below \/tmp\/, which the unit hides \(PrivateTmp=\): put it elsewhere[\s\S]*there is no .*eth2\.yaml yet/,
  );
  assert.ok(existsSync(unitIn(folder)), 'and it is written all the same');
});

test.run();
