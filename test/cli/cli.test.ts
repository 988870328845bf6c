/**
 * Goal: every command of the CLI that needs no data plane does what its help says, and every misuse
 * is one line and status 2. Method: the program as users start it, against a control port over a
 * table in memory; help and wrong words in this process.
 *
 * needs: a core
 * takes: 40 s
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fantail as program } from '../../src/cli/fantail.js';
import { statusOf } from '../../src/cli/program.js';
import { isFantail } from '../../src/control/client.js';
import { type Control, startControl } from '../../src/control/server.js';
import { busyStats, MemoryReplicator } from '../rig/memory-replicator.js';
import { ROOT } from '../rig/program.js';

const test = suite('cli');
const PROGRAM = join(ROOT, 'build', 'programs', 'main.js');
const commands = [
  ...['up', 'add', 'remove', 'pause', 'resume', 'list', 'stats', 'send', 'bench', 'demo', 'filter'],
  'doctor',
];
const ANSWER_MS_MAX = 20_000;
const clientCommands = [
  ['add', '10.0.0.34', '9001'],
  ['remove', '10.0.0.34', '9001'],
  ['pause', '10.0.0.34', '9001'],
  ['resume', '10.0.0.34', '9001'],
  ['list'],
  ['stats'],
];

interface Outcome {
  status: number;
  stdout: string;
  stderr: string;
}

function fantail(...words: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [PROGRAM, ...words],
      { timeout: ANSWER_MS_MAX },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code;
        resolve({ status: typeof code === 'number' ? code : -1, stdout, stderr });
      },
    );
  });
}

const late = async (words: string[]): Promise<number> => {
  await sleep(ANSWER_MS_MAX, undefined, { ref: false });
  throw new Error(`fantail ${words.join(' ')} is not refused, it runs`);
};

/**
 * The same in this process, for words that lead to nothing but text: a start of Node for each would
 * be most of what it takes.
 */
async function answered(...words: string[]): Promise<Outcome> {
  const outcome = { status: 0, stdout: '', stderr: '' };
  const writers = { stdout: process.stdout.write, stderr: process.stderr.write };
  for (const name of ['stdout', 'stderr'] as const)
    process[name].write = (text: string | Uint8Array) => {
      outcome[name] += text;
      return true;
    };
  try {
    outcome.status = await Promise.race([statusOf(program(), words), late(words)]);
  } finally {
    for (const name of ['stdout', 'stderr'] as const) process[name].write = writers[name];
  }
  return outcome;
}

/** From the program, started: exactly one line on stderr that matches, nothing on stdout. */
async function refuses(status: number, pattern: RegExp, ...words: string[]): Promise<void> {
  assertRefused(status, pattern, words, await fantail(...words));
}

/** Wrong words: status 2, and the same of what they are answered. */
async function misused(pattern: RegExp, ...words: string[]): Promise<void> {
  assertRefused(2, pattern, words, await answered(...words));
}

function assertRefused(status: number, pattern: RegExp, words: string[], outcome: Outcome): void {
  const what = `fantail ${words.join(' ')}: ${JSON.stringify(outcome)}`;
  assert.is(outcome.status, status, what);
  assert.match(outcome.stderr, /^fantail[^\n]*\n$/, what);
  assert.match(outcome.stderr, pattern, what);
  assert.is(outcome.stdout, '', what);
}

let table: MemoryReplicator;
let control: Control;
let url: string;
let folder: string;

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fantail-cli-'));
});
test.after(() => rmSync(folder, { recursive: true }));
test.before.each(async () => {
  table = new MemoryReplicator();
  control = await startControl({ address: '127.0.0.1', port: 0, tokens: null, replicator: table });
  url = `ws://127.0.0.1:${control.port}`;
});
test.after.each(() => control.close());

// ---- help and misuse ----------------------------------------------------------------------------

test('every command has --help that fits a screen, and --version from package.json', async () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.match((await fantail('--help')).stdout, /^Usage: fantail /);
  for (const words of [[], ...commands.map((name) => [name])]) {
    const help = await answered(...words, '--help');
    const lines = help.stdout.split('\n');
    assert.is(help.status, 0);
    assert.match(help.stdout, new RegExp(`^Usage: ${['fantail', ...words].join(' ')}`));
    // what `up` takes is more than a screen, in groups, and doctor takes most of that; fantail's
    // own has a line for each command
    const most = ['up', 'doctor'].includes(words[0] ?? '') ? 80 : words.length === 0 ? 40 : 30;
    assert.ok(lines.length <= most && lines.every((line) => line.length <= 100), help.stdout);
    assert.equal(await answered(...words, '--version'), {
      status: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
  }
});

test('help tells defaults and limits', async () => {
  const { stdout: up } = await answered('up', '--help');
  const flags = [
    'mode',
    'layout',
    'queues',
    'workers',
    'cpus',
    'busy-poll',
    'order',
    'udp-checksum',
    'control',
  ];
  for (const flag of [
    ...flags,
    'token-file',
    'allow',
    'filter',
    'state',
    'legacy-control',
    'netns',
  ])
    assert.match(up, `--${flag} `);
  assert.match(up, '(default: 127.0.0.1:12345');
  assert.match((await answered('send', '--help')).stdout, '(default: 10)');
  assert.match((await answered('add', '--help')).stdout, '(default: ws://127.0.0.1:12345)');
});

test('misuse exits 2 with one line and a suggestion', async () => {
  await refuses(2, /which command\? one of up, add/);
  await misused(/unknown command 'lst'; did you mean list\? see: fantail --help$/m, 'lst');
  await misused(
    /^fantail up: unknown option '--quues'; did you mean --queues\?/,
    'up',
    '--quues',
    '0',
  );
  await misused(
    /unknown option '--stat'; did you mean --state/,
    'up',
    'lo',
    '127.0.0.1',
    '9000',
    '--stat',
    'f',
  );
  await misused(/^fantail add: missing required argument 'dest_port'/, 'add', '10.0.0.34');
  await misused(/too many arguments/, 'add', '10.0.0.34', '9001', 'x');
  await misused(/argument missing/, 'list', '--control');
  await misused(/there is no such command/, 'help', 'nothing');
});

test('a wrong value exits 2, quotes it and says what is right', async () => {
  for (const command of ['add', 'remove', 'pause', 'resume']) {
    await misused(
      /dest_ip must be an IPv4 address such as .*'10\.0\.0\.300'/,
      command,
      '10.0.0.300',
      '9001',
    );
    for (const port of ['0', '65536', '1.5', '09001', 'x']) {
      await misused(/dest_port must be a port from 1 to 65535/, command, '10.0.0.34', port);
    }
  }
  for (const bad of [
    '127.0.0.1:12345',
    'http://127.0.0.1:1',
    'ws://',
    'ws://h:99999',
    'ws://h/x',
    'ws://u@h',
  ]) {
    await misused(/--control .*such as ws:\/\/127\.0\.0\.1:12345/, 'list', '--control', bad);
  }
  for (const bad of ['x', '10.0.0.300', '10.0.0.5:', '10.0.0.5:0', '10.0.0.5:1:2', '::1', '']) {
    await misused(/--legacy-control/, 'up', 'lo', '127.0.0.1', '9000', '--legacy-control', bad);
  }
  await misused(/--watch must be a number from 0\.1 to 3600, not '0'/, 'stats', '--watch', '0');
  await misused(/exclude each other/, 'stats', '--watch', '--check');
  await misused(/count must be a whole number from 1/, 'send', '127.0.0.1', '9000', '0');
  await misused(/target_port/, 'send', '127.0.0.1', '0');
  await misused(/--rate must be/, 'send', '127.0.0.1', '9000', '--rate', '-5');
  await misused(
    /exclude each other/,
    'send',
    '127.0.0.1',
    '9000',
    '--rate',
    '5',
    '--interval-ms',
    '5',
  );
  await misused(/at most 65507/, 'send', '127.0.0.1', '9000', '1', 'x'.repeat(65_505));
});

// ---- who answers --------------------------------------------------------------------------------

test('where nothing listens, the line says how to start it', async () => {
  await control.close();
  for (const words of clientCommands) {
    const [name = ''] = words;
    const line = new RegExp(
      `^fantail ${name}: nothing listens at ${url}; start it with: fantail up <interface>`,
    );
    await refuses(1, line, ...words, '--control', url);
  }
});

test('what answers and is no fantail is told from one that is', async () => {
  const web = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo; // it listens on TCP
  await refuses(1, /is not a fantail control port/, 'list', '--control', `ws://127.0.0.1:${port}`);
  assert.is(await isFantail('127.0.0.1', port), false);
  web.close();
  const noise = createTcpServer((socket) => socket.end('220 hello\r\n')).listen(0, '127.0.0.1');
  await once(noise, 'listening');
  const { port: noisePort } = noise.address() as AddressInfo; // it listens on TCP
  await refuses(
    1,
    /is not a fantail control port/,
    'list',
    '--control',
    `ws://127.0.0.1:${noisePort}`,
  );
  assert.is(await isFantail('127.0.0.1', noisePort), false);
  noise.close();
  assert.is(await isFantail('127.0.0.1', control.port), true);
});

test('a token is read from its file; a missing, wrong or unreadable one is told', async () => {
  const token = 'a-token-of-32-characters-for-test';
  const guarded = await startControl({
    address: '127.0.0.1',
    port: 0,
    tokens: { all: token, read: null },
    replicator: table,
  });
  const at = ['--control', `ws://127.0.0.1:${guarded.port}`];
  const file = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text, { mode });
    return join(folder, name);
  };
  await refuses(1, /wants a token; give it with --token-file F$/m, 'list', ...at);
  await refuses(1, /refuses the token in /, 'list', ...at, '--token-file', file('wrong', 'x\n'));
  await refuses(1, /is empty; fill it with: /, 'list', ...at, '--token-file', file('empty', '\n'));
  await refuses(1, /must be one word/, 'list', ...at, '--token-file', file('two', 'a b\n'));
  const open = file('open', `${token}\n`, 0o644);
  await refuses(1, /everybody may read .*chmod 600 \S+open$/m, 'list', ...at, '--token-file', open);
  await refuses(1, /cannot read the token/, 'list', ...at, '--token-file', join(folder, 'none'));
  const { status } = await fantail('list', ...at, '--token-file', file('right', `${token}\n`));
  assert.is(status, 0);
  assert.is(await isFantail('127.0.0.1', guarded.port), true);
  await guarded.close();
});

// ---- subscribers --------------------------------------------------------------------------------

test('wss is spoken with whom the user trusts; what is wrong is told with its cure', async () => {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const name = ['-subj', '/CN=fantail', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', [...made, '-days', '2', '-keyout', key, '-out', cert, ...name], {
    stdio: 'pipe',
  });
  const guarded = await startControl({
    address: '127.0.0.1',
    port: 0,
    tokens: null,
    tls: { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') },
    replicator: table,
  });
  const wss = `wss://127.0.0.1:${guarded.port}`;
  const { status, stderr } = await fantail('list', '--control', wss, '--tls-ca', cert);
  assert.is(status, 0, stderr);
  await refuses(1, /is not trusted .*--tls-ca F$/m, 'list', '--control', wss);
  await refuses(1, /try wss:\/\//, 'list', '--control', `ws://127.0.0.1:${guarded.port}`);
  await refuses(1, /try ws:\/\//, 'list', '--control', `wss://127.0.0.1:${control.port}`);
  await refuses(1, /cannot read the cert/, 'list', '--control', wss, '--tls-ca', 'none');
  assert.is(await isFantail('127.0.0.1', guarded.port), true);
  await guarded.close();
});

test('up tells what is wrong with tokens and certificates before it opens anything', async () => {
  const lo = ['up', 'lo', '127.0.0.1', '9000', '--mode', 'socket'];
  const token = join(folder, 'a-token');
  writeFileSync(token, 'abc\n', { mode: 0o600 });
  await refuses(2, /needs --token-file too/, ...lo, '--read-token-file', token);
  const twice = ['--token-file', token, '--read-token-file', token];
  await refuses(2, /hold the same token/, ...lo, ...twice);
  await refuses(2, /are given together/, ...lo, '--tls-cert', token);
  await refuses(1, /cannot read --tls-key/, ...lo, '--tls-cert', token, '--tls-key', 'none');
  await refuses(1, /are no certificate/, ...lo, '--tls-cert', token, '--tls-key', token);
});

test('add, list, pause, resume and remove work, and say so when there was nothing to do', async () => {
  const at = ['--control', url];
  const done = (stdout: string) => ({ status: 0, stdout: `${stdout}\n`, stderr: '' });
  assert.equal(
    await fantail('list', ...at),
    done('no subscribers; add one with: fantail add <dest_ip> <dest_port>'),
  );
  assert.equal(await fantail('add', '10.0.0.34', '9001', ...at), done('added 10.0.0.34:9001'));
  assert.equal(
    await fantail('add', '10.0.0.34', '9001', ...at),
    done('10.0.0.34:9001 was subscribed already'),
  );
  const rows = [
    'ip         port  state  mac                worker  filter   feeds',
    '10.0.0.34  9001  live   02:00:00:00:00:02  0       default  main',
  ];
  assert.equal(await fantail('list', ...at), done(rows.join('\n')));
  const says = async (command: string, answer: string) =>
    assert.equal(await fantail(command, '10.0.0.34', '9001', ...at), done(answer));
  await says('pause', '10.0.0.34:9001 paused');
  await says('pause', '10.0.0.34:9001 was paused already');
  assert.match((await fantail('list', ...at)).stdout, /9001 {2}paused/);
  await says('resume', '10.0.0.34:9001 resumed');
  await says('resume', '10.0.0.34:9001 was not paused');
  await says('remove', 'removed 10.0.0.34:9001');
  const nobody = await fantail('pause', '10.0.0.34', '9001', ...at);
  assert.is(nobody.status, 1);
  assert.match(nobody.stderr, /10\.0\.0\.34:9001 is not subscribed/);
  assert.equal(
    await fantail('remove', '10.0.0.34', '9001', ...at),
    done('10.0.0.34:9001 was not subscribed'),
  );
});

test('--json prints the reply unchanged, also a refusal', async () => {
  const at = ['--control', url, '--json'];
  assert.is(
    (await fantail('add', '10.0.0.34', '9001', ...at)).stdout,
    '{"id":1,"ok":true,"existing":false}\n',
  );
  const { stdout } = await fantail('list', ...at);
  assert.equal(JSON.parse(stdout), { id: 1, ok: true, subscribers: table.rows });
  assert.is(
    (await fantail('remove', '10.0.0.34', '9001', ...at)).stdout,
    '{"id":1,"ok":true,"removed":true}\n',
  );
  table.current = busyStats(5);
  assert.equal(JSON.parse((await fantail('stats', ...at)).stdout), {
    id: 1,
    ok: true,
    ...busyStats(5),
  });
  const refused = await fantail('add', '192.168.0.1', '9001', ...at);
  assert.is(refused.status, 1);
  assert.is(JSON.parse(refused.stdout).error.code, 'NOT_ALLOWED');
  await refuses(
    1,
    /192\.168\.0\.1 is outside .* \(NOT_ALLOWED\)$/m,
    'add',
    '192.168.0.1',
    '9001',
    '--control',
    url,
  );
});

// ---- stats --------------------------------------------------------------------------------------

test('stats is a page that a person can read', async () => {
  table.current = busyStats(1_234_567);
  const { stdout, status } = await fantail('stats', '--control', url);
  assert.is(status, 0);
  for (const part of [
    'eth9 · queues 0 · copy · inline',
    'zerocopy was not possible: the driver has none',
  ]) {
    assert.match(stdout, part);
  }
  for (const part of [
    'redirect=1234567 other=3',
    '10.0.0.34:9001  1,234,567  1,234,567',
    'no drops',
    '4242',
  ]) {
    assert.match(stdout, part);
  }
});

test('stats --check exits 0 where all is accounted for, else 1 with the difference', async () => {
  table.current = busyStats(1000);
  const good = await fantail('stats', '--check', '--control', url);
  const stdout = 'ok: every packet of 1 subscriber is accounted for\n';
  assert.equal(good, { status: 0, stdout, stderr: '' });
  table.current.xdp = { redirect: 1002, other: 3 };
  await refuses(1, /redirect 1002 is not .* difference 2$/m, 'stats', '--check', '--control', url);
  const asJson = await fantail('stats', '--check', '--json', '--control', url);
  assert.is(asJson.status, 1);
  assert.is(JSON.parse(asJson.stdout).xdp.redirect, 1002);
});

test('stats --check waits for copies in flight', async () => {
  table.current = busyStats(1000);
  const row = table.current.subscribers[0];
  assert.ok(row);
  row.sent = 990;
  row.in_flight = 10;
  // asked once while it has them, so that the completion comes after the first look
  const { stats } = table;
  let looks = 0;
  table.stats = () => {
    looks += 1;
    if (looks === 4) Object.assign(row, { sent: 1000, in_flight: 0 });
    return stats.call(table);
  };
  assert.is((await fantail('stats', '--check', '--control', url)).status, 0);
  assert.is(looks, 4);
});

async function watchUntil(words: string[], until: (stdout: string) => boolean): Promise<Outcome> {
  const child = spawn(process.execPath, [PROGRAM, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const ends = Date.now() + 10_000;
  while (!until(stdout) && Date.now() < ends) await sleep(20);
  child.kill('SIGINT');
  const [status] = await once(child, 'close');
  return { status: status ?? -1, stdout, stderr };
}

test('stats --watch prints blocks with rates, and Ctrl-C exits 0', async () => {
  table.current = busyStats(0);
  const growing = setInterval(() => {
    const now = busyStats(table.current.feed.received + 100);
    table.current = { ...now, uptime_ms: table.current.uptime_ms + 100 };
  }, 100);
  const watched = await watchUntil(['stats', '--watch', '0.2', '--control', url], (text) => {
    return text.split('eth9').length > 3;
  });
  clearInterval(growing);
  assert.is(watched.status, 0);
  assert.match(watched.stdout, /1,000\/s/);
  assert.match(watched.stdout, 'sent/s');
  assert.is(watched.stderr, '');
});

test('stats --watch --json prints one object a line', async () => {
  table.current = busyStats(7);
  const words = ['stats', '--watch', '0.1', '--json', '--control', url];
  const watched = await watchUntil(words, (text) => text.split('\n').length > 3);
  assert.is(watched.status, 0);
  const lines = watched.stdout.trimEnd().split('\n');
  for (const line of lines) assert.equal(JSON.parse(line), { event: 'stats', ...busyStats(7) });
});

test('stats --watch ends with 1 and a line when the replicator goes', async () => {
  const child = spawn(process.execPath, [PROGRAM, 'stats', '--watch', '0.1', '--control', url]);
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  await once(child.stdout, 'data');
  await sleep(200);
  await control.close();
  const [status] = await once(child, 'close');
  assert.is(status, 1);
  assert.match(stderr, /^fantail stats: ws:\/\/\S+ closed the connection: fantail stops\n$/);
});

// ---- send ---------------------------------------------------------------------------------------

test('send sends count packets with numbered payloads, ten by default', async () => {
  const socket = createSocket('udp4');
  const got: string[] = [];
  socket.on('message', (message) => got.push(String(message)));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const port = String(socket.address().port);
  const first = await fantail('send', '127.0.0.1', port);
  assert.is(first.status, 0);
  assert.match(first.stdout, /^sent 10 of 10 packets, 151 bytes, to 127\.0\.0\.1:\d+ in /);
  await sleep(100);
  assert.equal(
    got,
    Array.from({ length: 10 }, (_, index) => `fantail test #${index + 1}`),
  );
  got.length = 0;
  const { stdout } = await fantail(
    'send',
    '127.0.0.1',
    port,
    '3',
    'hello',
    '--interval-ms',
    '100',
    '--json',
  );
  const result = JSON.parse(stdout);
  assert.equal([result.ok, result.sent, result.bytes], [true, 3, 24]);
  assert.ok(result.elapsed_ms >= 195, `${result.elapsed_ms} ms`);
  await sleep(100);
  assert.equal(got, ['hello #1', 'hello #2', 'hello #3']);
  socket.close();
});

test('Ctrl-C ends send with 0 and what was sent', async () => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  const words = ['send', '127.0.0.1', String(port), '1000000', '--rate', '100'];
  const child = spawn(process.execPath, [PROGRAM, ...words]);
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += String(chunk);
  });
  await once(socket, 'message');
  child.kill('SIGINT');
  const [status] = await once(child, 'close');
  assert.is(status, 0);
  assert.match(stdout, /^sent \d+ of 1,000,000 packets/);
  socket.close();
});

test('send says why it cannot', async () => {
  await refuses(
    1,
    /cannot send to 255\.255\.255\.255:9: a broadcast address/,
    'send',
    '255.255.255.255',
    '9',
    '1',
  );
});

/** commander, what flags there are, the limits of the arena; no schema, no server, no terminal. */
const FIRST_BYTES_MAX = 250_000;

test('a command reads little before it knows what it is to do', () => {
  const left = [basename(PROGRAM)];
  const read = new Set(left);
  let bytes = 0;
  for (let file = left.pop(); file !== undefined; file = left.pop()) {
    const text = readFileSync(join(dirname(PROGRAM), file), 'utf8');
    bytes += text.length;
    for (const [, next = ''] of text.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) {
      if (!read.has(next)) left.push(next);
      read.add(next);
    }
  }
  assert.ok(read.size > 1 && bytes < FIRST_BYTES_MAX, `${bytes} bytes: ${[...read].join(', ')}`);
});

test.run();
