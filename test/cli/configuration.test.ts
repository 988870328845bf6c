/**
 * Goal: a configuration file says what the command line of `up` could, and what is wrong with one
 * is told with its place and its cure. Method: files of a few lines, read as `up --config` reads
 * them; the program itself for what it prints and how it ends.
 *
 * needs: a core
 * takes: 25 s
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigFile, faultText } from '../../src/cli/configuration/file.js';
import { givenOf, keepWords } from '../../src/cli/configuration/given.js';
import { keysOf } from '../../src/cli/configuration/keys.js';
import { SECTIONS } from '../../src/cli/configuration/sections.js';
import { configurationOf, settled } from '../../src/cli/configuration/settings.js';
import { up } from '../../src/cli/declarations/replicator.js';
import { originText } from '../../src/domain/configuration.js';
import { readModule } from '../../src/filters/first.js';
import type { UpFlags } from '../../src/replicator/config.js';
import type { Configuration } from '../../src/replicator/reload/configured.js';
import { LIVE, REFUSED } from '../../src/replicator/reload/fates.js';
import { MAIN, ROOT } from '../rig/program.js';

const test = suite('configuration');

const folder = mkdtempSync(join(tmpdir(), 'configuration-'));
test.after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'F.yaml');
const token = join(folder, 'token');
const readToken = join(folder, 'read-token');
writeFileSync(token, 'a-token\n', { mode: 0o600 });
writeFileSync(readToken, 'another\n', { mode: 0o600 });
const userFile = join(folder, 'user');
writeFileSync(userFile, 'blue:secret\n', { mode: 0o600 });
const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(folder, name));
execFileSync(
  'openssl',
  ['req', '-x509', '-newkey', 'ed25519', '-nodes', '-days', '9', '-subj', '/CN=x']
    .concat(['-keyout', key ?? ''])
    .concat(['-out', cert ?? '']),
  { stdio: 'ignore' },
);

const flagsOf = (_: string, flags: UpFlags) => flags;

/** Those words and that file, as `up` takes them. */
async function asked(words: readonly string[], text: string | null): Promise<Configuration> {
  const made = up();
  const kept = keepWords(made);
  made.action(() => {});
  await made.parseAsync(words, { from: 'user' });
  if (text !== null) writeFileSync(path, text);
  return configurationOf(
    { made, given: givenOf(made, kept), flagsOf },
    text === null ? null : path,
  );
}

/** `line:column: sentence` of each fault. */
function faultsOf(text: string): string[] {
  const file = new ConfigFile(path, text);
  settled({ made: up(), given: new Map(), flagsOf }, file);
  return file.inOrder.map((fault) => faultText(fault).slice(path.length + 1));
}

const FEED = ['eth0', '10.0.0.1', '5000'];

const GROUP = 'https://127.0.0.1:2379/blue';
const HASH = '0123456789abcdef'.repeat(4);
/** Keys that say nothing without `fleet`. */
const OF_MEMBERS = [
  ...['member', 'weight', 'fleet-isolated', 'fleet-allow-module', 'fleet-user-file', 'fleet-ca'],
  'fleet-plaintext',
  'upstream',
];

/** Of every key what a command line would say, and a file. */
const SAMPLES: Readonly<Record<string, { words: string[]; yaml: string }>> = {
  feed: {
    words: ['--feed', 'b=10.0.0.1:5001', '--feed', 'c=239.1.1.1:5002@10.0.0.9'],
    yaml: '["b=10.0.0.1:5001", c=239.1.1.1:5002@10.0.0.9]',
  },
  promiscuous: { words: ['--promiscuous'], yaml: 'true' },
  mode: { words: ['--mode', 'copy'], yaml: 'copy' },
  layout: { words: ['--layout', 'split'], yaml: '"split"' },
  queues: { words: ['--queues', '0-2,5'], yaml: '[0-2, 5]' },
  workers: { words: ['--workers', '2'], yaml: '2' },
  cpus: { words: ['--cpus', '3,1'], yaml: '3,1' },
  'busy-poll': { words: ['--busy-poll'], yaml: 'true' },
  transmit: { words: ['--transmit', 'auto'], yaml: 'auto' },
  order: { words: ['--order', 'fixed'], yaml: 'fixed' },
  'udp-checksum': { words: ['--udp-checksum', 'full'], yaml: 'full' },
  'multicast-ttl': { words: ['--multicast-ttl', '7'], yaml: '7' },
  control: { words: ['--control', '127.0.0.1:12400'], yaml: '127.0.0.1:12400' },
  'token-file': { words: ['--token-file', token], yaml: 'token' },
  'read-token-file': { words: ['--read-token-file', readToken], yaml: readToken },
  'tls-cert': { words: ['--tls-cert', cert ?? ''], yaml: 'cert.pem' },
  'tls-key': { words: ['--tls-key', key ?? ''], yaml: './key.pem' },
  'metrics-subscribers': { words: ['--metrics-subscribers', '0'], yaml: '0' },
  allow: { words: ['--allow', '10.0.0.0/8', '--allow', '1.2.3.4'], yaml: '[10.0.0.0/8, 1.2.3.4]' },
  filter: { words: ['--filter', join(folder, 'f.wasm')], yaml: 'f.wasm' },
  state: { words: ['--state', join(folder, 'state')], yaml: 'state' },
  'legacy-control': { words: ['--legacy-control', '10.0.0.5'], yaml: '10.0.0.5' },
  'log-format': { words: ['--log-format', 'json'], yaml: 'json' },
  'log-level': { words: ['--log-level', 'debug'], yaml: 'debug' },
  netns: { words: ['--netns', 'blue'], yaml: 'blue' },
  fleet: { words: ['--fleet', GROUP], yaml: GROUP },
  member: { words: ['--member', 'm1'], yaml: 'm1' },
  weight: { words: ['--weight', '3'], yaml: '3' },
  upstream: { words: ['--upstream', 'm2'], yaml: 'm2' },
  'fleet-isolated': { words: ['--fleet-isolated', 'stop'], yaml: 'stop' },
  'fleet-allow-module': { words: ['--fleet-allow-module', HASH], yaml: `[${HASH}]` },
  'fleet-user-file': { words: ['--fleet-user-file', userFile], yaml: 'user' },
  'fleet-ca': { words: ['--fleet-ca', cert ?? ''], yaml: 'cert.pem' },
  'fleet-cert': { words: ['--fleet-cert', cert ?? ''], yaml: 'cert.pem' },
  'fleet-key': { words: ['--fleet-key', key ?? ''], yaml: './key.pem' },
  'fleet-plaintext': { words: ['--fleet-plaintext'], yaml: 'true' },
};
const HEAD = 'interface: eth0\nlisten-ip: 10.0.0.1\nlisten-port: 5000\n';

test('the keys of a file are the arguments and flags of up --help, and the other way round', () => {
  const help = spawnSync(process.execPath, [MAIN, 'up', '--help'], { encoding: 'utf8' }).stdout;
  const flags = [...help.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, name = '']) => name);
  const words = [...help.matchAll(/^ {2}([a-z_]+) {2}/gm)].map(([, name = '']) => name);
  const others = ['config', 'help', 'version'];
  const wanted = [...words.map((name) => name.replaceAll('_', '-')), ...flags];
  assert.ok(wanted.length > 25, help);
  assert.equal(
    keysOf(up())
      .map(({ name }) => name)
      .sort(),
    wanted.filter((name) => !others.includes(name)).sort(),
  );
});

test('each key of a file means what the command line would have meant by the flag', async () => {
  const ofFlags = keysOf(up()).filter(({ attribute }) => attribute !== null);
  assert.equal(ofFlags.map(({ name }) => name).sort(), Object.keys(SAMPLES).sort());
  const together: Readonly<Record<string, string[]>> = {
    'read-token-file': ['token-file'],
    'tls-cert': ['tls-key'],
    'tls-key': ['tls-cert'],
    ...Object.fromEntries(OF_MEMBERS.map((each) => [each, ['fleet']])),
    'fleet-cert': ['fleet-key', 'fleet'],
    'fleet-key': ['fleet-cert', 'fleet'],
  };
  for (const name of Object.keys(SAMPLES)) {
    const names = [name, ...(together[name] ?? [])];
    const words = names.flatMap((each) => SAMPLES[each]?.words ?? []);
    const lines = names.map((each) => `${each}: ${SAMPLES[each]?.yaml}\n`).join('');
    const byWords = await asked([...FEED, ...words], null);
    const byFile = await asked([], HEAD + lines);
    assert.equal(byFile.config, byWords.config, name);
    const bare = await asked(FEED, null);
    const isSaid = (it: Configuration) => it.settings.find((each) => each.key === name)?.value;
    assert.not.equal(isSaid(byFile), isSaid(bare), `${name} is another value than without it`);
  }
});

test('of every key it is said whether a reload applies it', () => {
  const fates = [...Object.values(LIVE).flatMap(({ keys }) => keys), ...Object.keys(REFUSED)];
  assert.equal(
    fates.sort(),
    keysOf(up())
      .map(({ name }) => name)
      .sort(),
  );
});

test('the command line goes before the file, the file before the default; each says who said it', async () => {
  const text = `${HEAD}mode: copy\nworkers: 2\nallow:\n  - 10.0.0.0/8\n  - 10.1.0.0/16\nbusy-poll: false\n`;
  const found = await asked(
    ['eth1', '10.0.0.2', '--mode', 'skb', '--allow', '1.2.3.0/24', '--order', 'fixed'],
    text,
  );
  const { config, settings } = found;
  assert.equal(
    [config.interfaceName, config.listenIp, config.listenPort, config.mode, config.workers],
    ['eth1', '10.0.0.2', 5000, 'skb', 2],
  );
  assert.equal(config.allow, ['1.2.3.0/24'], 'a list of the command line stands in its place');
  const from = (name: string) =>
    settings.find(({ key }) => key === name)?.words.map((word) => originText(word.from));
  assert.equal(
    ['interface', 'listen-port', 'workers', 'allow', 'busy-poll', 'order', 'layout'].map(from),
    [
      ['command line'],
      [`${path}:3`],
      [`${path}:5`],
      ['command line'],
      [`${path}:9`],
      ['command line'],
      ['default'],
    ],
  );
});

const SECTION = `${HEAD}feed: [b=10.0.0.1:5001]\n`;
const wrong: [what: string, text: string, faults: RegExp[]][] = [
  [
    'a misspelt key',
    'interfce: eth0\n',
    [/^1:1: there is no key interfce; did you mean interface\?/],
  ],
  ['a strange key', 'a b: 1\n', [/^1:1: there is no key a b; see: fantail up --help/]],
  ['a flag with its dashes', '--mode: copy\n', [/^1:1: there is no key --mode/]],
  ['--config itself', 'config: other.yaml\n', [/^1:1: there is no key config/]],
  [
    'a key twice',
    'mode: copy\nmode: skb\n',
    [/^2:1: mode is there already; each key is there once$/],
  ],
  ['a wrong word', 'mode: fast\n', [/^1:7: mode must be one of auto, .*, not 'fast'$/]],
  ['a port with a zero', 'listen-port: 05000\n', [/^1:14: listen-port must be a port .*'05000'$/]],
  ['an address', 'listen-ip: 10.0.0\n', [/^1:12: listen-ip must be an IPv4 address/]],
  ['no value', 'mode:\n', [/^1:1: mode has no value; give it one, or take the line out$/]],
  ['null', 'mode: ~\n', [/^1:1: mode has no value/]],
  ['a list for one', 'mode: [copy]\n', [/^1:7: mode is one value, not a list$/]],
  ['a map for one', 'mode: { a: 1 }\n', [/^1:7: mode is one value, such as a word$/]],
  ['an empty list', 'allow: []\n', [/^1:8: allow is an empty list; take the line out$/]],
  ['a switch', 'busy-poll: yes\n', [/^1:12: busy-poll is true or false, not 'yes'$/]],
  ['the second of a list', 'allow:\n  - 10.0.0.0/8\n  - 10.0.0.0/33\n', [/^3:5: allow must be a/]],
  ['two feeds of a name', 'feed: [b=10.0.0.1:1, b=10.0.0.1:2]\n', [/^1:22: feed b=.* already$/]],
  ['no list of lines', 'hello\n', [/^1:1: a configuration file has lines such as: interface/]],
  ['no YAML', 'mode: "copy\n', [/^\d:\d+: Missing closing "quote/]],
  ['a tab', 'allow:\n\t- 10.0.0.0/8\n', [/^2:1: .*[Tt]abs/]],
  ['an alias of nothing', 'mode: *x\n', [/^1:7: nothing above is marked as &x$/]],
  [
    'an alias of nothing in lists',
    'subscribers:\n  - *desk\n  - { ip: *one, port: 1 }\nallow: [*net]\n',
    [/^2:5: nothing above is marked as &desk$/, /^3:11: .* &one$/, /^4:9: .* &net$/],
  ],
  [
    'a subscriber that is part of itself',
    'subscribers:\n  - &a { ip: *a, port: 1 }\n',
    [/^2:\d+: /],
  ],
  ['a tag', 'mode: !own copy\n', [/^1:7: Unresolved tag/]],
  ['two documents', 'mode: copy\n---\nmode: skb\n', [/multiple documents/]],
  [
    'all faults',
    'mode: fast\nqueues: 64\nx: 1\n',
    [/^1:7: mode/, /^2:9: queues/, /^3:1: there is no key x/],
  ],
  [
    'what goes together, where the file has it',
    'layout: auto\nread-token-file: read-token\n',
    [/^2:18: --read-token-file needs --token-file too/],
  ],
  [
    'a control port beyond loopback without a token',
    'layout: auto\ncontrol: 10.0.0.1:12345\n',
    [/^2:10: --control 10\.0\.0\.1 is reached from outside; it needs --token-file$/],
  ],
  ['a key twice within', 'allow: &a\n  - { b: 1, "b": 2 }\n', [/^2:13: b is there already/]],
  ['a token file', 'layout: auto\ntoken-file: none\n', [/^2:13: cannot read the token: ENOENT/]],
  [
    'a section that is none',
    'subscribers: 10.0.0.34:9001\n',
    [/^1:14: subscribers is a list, such/],
  ],
  [
    'a subscriber',
    'subscribers: [10.0.0.34]\n',
    [/^1:15: of subscribers each is such as: - \{ ip/],
  ],
  [
    'an address of one',
    'subscribers:\n  - ip: 10.0.0\n    port: 1\n',
    [/^2:9: "10\.0\.0" is not an/],
  ],
  ['a port of one', 'subscribers:\n  - ip: 10.0.0.1\n    port: 0\n', [/^3:11: 0 is not a port/]],
  [
    'a key of one',
    'subscribers: [{ ip: 10.0.0.1, port: 1, x: 1 }]\n',
    [/^1:15: there is no 'x' here/],
  ],
  ['no port of one', 'subscribers:\n  - ip: 10.0.0.1\n', [/^2:5: port is missing, as in: - \{ ip/]],
  [
    'one twice',
    'subscribers:\n  - { ip: 10.0.0.34, port: 1 }\n  - { ip: 10.0.0.34, port: 1 }\n',
    [/^3:5: 10\.0\.0\.34:1 is there already, at .*:2$/],
  ],
  [
    'a feed that is none',
    `${SECTION}subscribers:\n  - { ip: 10.0.0.34, port: 1, feeds: "b,c" }\n`,
    [/^6:5: there is no feed c; there are main, b \(see feed:\)$/],
  ],
  [
    'a filter that is none',
    `${SECTION}filters: [{ name: vlan }]\nsubscribers:\n  - { ip: 10.0.0.34, port: 1, filter: gre }\n`,
    [/^7:5: there is no filter gre; there are rewrite, vlan \(see filters:\)$/],
  ],
  [
    'a param of no filter',
    'subscribers: [{ ip: 10.0.0.34, port: 1, param: n=1 }]\n',
    [/^1:15: 10\.0\.0\.34:1 has a param and no filter/],
  ],
  [
    'a param too long',
    `subscribers: [{ ip: 1.2.3.4, port: 1, filter: rewrite, param: ${'x'.repeat(65)} }]\n`,
    [/^1:63: param must be text or hex/],
  ],
  ['the name of a filter', 'filters: [{ name: A }]\n', [/^1:11: a filter name has 1 to 32 of/]],
  ['that of the built-in', 'filters: [{ name: rewrite }]\n', [/^1:11: rewrite is built in/]],
  [
    'a filter that is also that of all',
    'filter: mine.wasm\nfilters: [{ name: mine, file: other.wasm }]\n',
    [/^2:11: mine is what filter: is called already/],
  ],
  [
    'a filter twice',
    'filters: [{ name: a }, { name: a }]\n',
    [/^1:24: there is a filter a already/],
  ],
];

for (const [what, text, expected] of wrong)
  test(`told with its place and its cure: ${what}`, () => {
    const faults = faultsOf(text);
    assert.is(faults.length, expected.length, faults.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(faults[index] ?? '', pattern);
  });

test('a token that cannot be read is told in its place, and ends with 1 as by the flag; by the flag it has none', () => {
  const other = join(folder, 'token-other');
  writeFileSync(other, '', { mode: 0o600 });
  const text = `${HEAD}token-file: token\nread-token-file: token-other\n`;
  assert.match(faultsOf(text)[0] ?? '', /^5:18: the token file .*token-other is empty/);
  writeFileSync(path, text);
  const words = ['up', '--config', path];
  const ofFile = program(...words);
  assert.is(ofFile.status, 1);
  assert.match(ofFile.stderr, /F\.yaml:5:18: the token file/);
  writeFileSync(path, HEAD);
  const ofFlag = program(...words, '--token-file', other);
  assert.is(ofFlag.status, 1);
  assert.match(ofFlag.stderr, /fantail up: the token file .* is empty/);
});

test('neither a pipe nor a file without end is read for a token, a certificate or a module', () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const line of ['token-file: ', `tls-key: ${key}\ntls-cert: `])
    assert.match(faultsOf(`${line}${pipe}\n`)[0] ?? '', /pipe is no file$/);
  assert.throws(() => readModule(pipe), /is no file/);
  assert.match(faultsOf('token-file: /dev/zero\n')[0] ?? '', /\/dev\/zero is no file$/);
});

test('a file of many keys is judged in the time that it takes to read it', () => {
  const count = 50_000;
  const text = Array.from({ length: count }, (_, index) => `k${index}: 1\n`).join('');
  const file = new ConfigFile(path, text);
  assert.is(file.entries.length, count);
});

test('comments, anchors and an empty file are fine', async () => {
  assert.equal(faultsOf(''), []);
  assert.equal(faultsOf('# nothing\n'), []);
  const { config } = await asked([], `${HEAD}# why\nallow: &all [10.0.0.0/8] # this\nmode: copy\n`);
  assert.equal([config.allow, config.mode], [['10.0.0.0/8'], 'copy']);
});

// ---- the program --------------------------------------------------------------------------------

function program(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('config check says ok and ends with 0, or each fault in its place and ends with 1', () => {
  writeFileSync(path, `${HEAD}mode: copy\n`);
  assert.equal(program('config', 'check', path), {
    status: 0,
    stdout: `${path}: ok\n`,
    stderr: '',
  });
  writeFileSync(path, 'mode: copy\n');
  assert.match(program('config', 'check', path).stdout, /: ok; interface is left to the command/);
  writeFileSync(path, `${HEAD}mode: fast\nlayout: both\n`);
  const { status, stdout } = program('config', 'check', path);
  assert.is(status, 1);
  assert.equal(
    stdout.split('\n').map((line) => line.slice(0, path.length + 5)),
    [`${path}:4:7:`, `${path}:5:9:`, ''],
  );
  const json = program('config', 'check', path, '--json');
  assert.is(json.status, 1);
  const said = JSON.parse(json.stdout);
  assert.equal([said.ok, said.faults.length, said.faults[1].line], [false, 2, 5]);
});

test('config check looks into the modules that a file names', () => {
  const bad = join(folder, 'bad.wasm');
  writeFileSync(bad, 'hello');
  const stock = join(ROOT, 'build', 'filters', 'vlan.wasm');
  writeFileSync(path, `${HEAD}filters:\n  - name: vlan\n  - { name: own, file: ${stock} }\n`);
  assert.is(program('config', 'check', path).status, 0);
  writeFileSync(path, `${HEAD}filter: bad.wasm\nfilters:\n  - name: nowhere\n`);
  const { status, stdout } = program('config', 'check', path);
  assert.is(status, 1);
  assert.match(stdout, /:4:9: .*WebAssembly|:4:9: /);
  assert.match(stdout, /:6:5: there is no filter nowhere in the stock; give the file/);
});

test('config show prints each setting and who said it; with --json one object', () => {
  writeFileSync(path, `${HEAD}allow: [10.0.0.0/8, 10.1.0.0/16]\n`);
  const { status, stdout } = program('config', 'show', path);
  assert.is(status, 0);
  assert.match(stdout, new RegExp(`^interface +eth0 +${path}:1$`, 'm'));
  assert.match(stdout, new RegExp(`^allow +10.1.0.0/16 +${path}:4$`, 'm'));
  assert.match(stdout, /^mode +auto +default$/m);
  assert.match(stdout, /^state +- +default$/m);
  const { file, settings } = JSON.parse(program('config', 'show', path, '--json').stdout);
  assert.is(file, path);
  assert.equal(settings[0], { key: 'interface', value: 'eth0', from: `${path}:1` });
  assert.equal(settings.length, stdout.trimEnd().split('\n').length - 1);
});

test('up refuses a wrong file with its first fault and status 2, and one that it cannot read with 1', () => {
  writeFileSync(path, `${HEAD}mode: fast\nlayout: both\n`);
  const misused = program('up', '--config', path);
  assert.is(misused.status, 2);
  assert.match(
    misused.stderr,
    new RegExp(
      `^fantail up: ${path}:4:7: mode must be .* \\(and 1 more\\); see: fantail config check`,
    ),
  );
  const none = program('up', '--config', join(folder, 'none.yaml'));
  assert.is(none.status, 1);
  assert.match(none.stderr, /^fantail up: cannot read the configuration: ENOENT/);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  assert.match(
    program('up', '--config', fifo).stderr,
    /cannot read the configuration: .* is no file/,
  );
  writeFileSync(path, 'interface: eth0\nlisten-ip: 10.0.0.1\n');
  assert.match(
    program('up', '--config', path).stderr,
    new RegExp(
      `missing required argument 'listen_port', and ${path} has no listen-port; see: fantail up`,
    ),
  );
  const [section = ''] = SECTIONS;
  writeFileSync(path, `${HEAD}${section}: 1\nlog-format: json\n`);
  assert.match(program('up', '--config', path).stderr, /filters is a list/);
});

test.run();
