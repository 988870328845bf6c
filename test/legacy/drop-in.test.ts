/**
 * Goal: the four commands that users bring with them exist by their names, take their arguments,
 * and work with each other, on a link and on that of the demo. Method: as users start them: the
 * files that package.json names, in the place where they would run.
 *
 * needs: a link
 * takes: 30 s
 */
// time limit: 120 s
import { createSocket } from 'node:dgram';
import { accessSync, constants, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Result } from '../../src/bench/report.js';
import { addon } from '../../src/memory/addon.js';
import { HOSTS, type Link, NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { eventually, lackForNetwork, Program, ROOT, run } from '../rig/program.js';
import { networkTest } from '../rig/scenario.js';

const test = suite('drop-in commands');
const HOST = HOSTS[0] ?? '';
const FEED = [REPLICATOR_IP, '9000'];

// npm requires the field
const { bin, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
  version: string;
};

/** Words of a command line whose first is one of the commands. */
function start(words: readonly string[], namespace?: string): Program {
  const [name = '', ...args] = words;
  const file = bin[name];
  if (file === undefined) throw new Error(`package.json has no command ${name}`);
  return new Program(
    process.execPath,
    [join(ROOT, file), ...args],
    namespace === undefined ? {} : { namespace },
  );
}

async function finish(words: readonly string[], namespace?: string): Promise<Program> {
  const program = start(words, namespace);
  await program.wait(30_000);
  return program;
}

/** What a command prints that succeeds. */
async function output(words: readonly string[], namespace?: string): Promise<string> {
  const program = await finish(words, namespace);
  assert.is(program.end?.status, 0, program.told());
  return program.stdout;
}

async function refuses(
  status: number,
  pattern: RegExp,
  words: readonly string[],
  namespace?: string,
) {
  const program = await finish(words, namespace);
  assert.is(program.end?.status, status, program.told());
  assert.match(program.stderr, pattern);
  assert.ok(program.stderr.startsWith(`${words[0]}: `), program.stderr);
  assert.is(program.stderr.split('\n').length, 2, 'one line');
}

// ---- by themselves ----

const names = ['packet_replicator', 'control_client', 'test_client', 'market_data_provider_client'];

test('package.json names the four, as files that node runs, and each has help and a version', async () => {
  assert.equal(Object.keys(bin), ['fantail', ...names]);
  for (const [name, file] of Object.entries(bin)) {
    assert.ok(existsSync(join(ROOT, file)) && statSync(join(ROOT, file)).isFile());
    assert.is(
      realpathSync(join(ROOT, 'node_modules', '.bin', name)),
      realpathSync(join(ROOT, file)),
      'for npx',
    );
    accessSync(join(ROOT, file), constants.X_OK);
    assert.match(readFileSync(join(ROOT, file), 'utf8'), /^#!\/usr\/bin\/env node\n/);
    const help = await output([name, '--help']);
    assert.match(help, new RegExp(`^Usage: ${name} `));
    assert.ok(
      help.split('\n').every((line) => line.length <= 100),
      help,
    );
    assert.is(await output([name, '--version']), `${version}\n`);
  }
});

test('misuse is one line and status 2', async () => {
  await refuses(2, /missing required argument 'interface'; see: packet_replicator --help/, [
    'packet_replicator',
  ]);
  await refuses(2, /too many arguments: it takes 3, not 4/, [
    'packet_replicator',
    'lo',
    ...FEED,
    'true',
  ]);
  await refuses(2, /listen_port must be/, ['packet_replicator', 'lo', '127.0.0.1', '0']);
  await refuses(2, /missing required argument 'replicator_ip'/, ['control_client']);
  await refuses(2, /missing required argument 'operation'/, ['control_client', '127.0.0.1']);
  await refuses(2, /replicator_ip must be/, ['control_client', 'somewhere', 'list']);
  await refuses(2, /operation must be add, remove or list, not 'mcast'/, [
    'control_client',
    '127.0.0.1',
    'mcast',
  ]);
  await refuses(2, /add takes <ip> <port>/, ['control_client', '127.0.0.1', 'add', '10.0.0.1']);
  await refuses(2, /list takes no address/, ['control_client', '127.0.0.1', 'list', '10.0.0.1']);
  await refuses(2, /dest_port must be/, ['control_client', '127.0.0.1', 'remove', '10.0.0.1', '0']);
  await refuses(2, /target_port must be/, ['test_client', '127.0.0.1', 'x']);
  const client = ['market_data_provider_client', ...FEED, HOST, '9301'];
  await refuses(2, /missing required argument 'rate'/, [...client, '10']);
  await refuses(2, /rate must be/, [...client, '10', 'fast']);
});

test('a client of legacy control says when nobody is there, at once or after five seconds', async () => {
  const at = ['--control-port', '9'];
  await refuses(1, /nothing serves legacy control at 127\.0\.0\.1:9; start/, [
    'control_client',
    '127.0.0.1',
    'list',
    ...at,
  ]);
  const mute = createSocket('udp4').bind(0, '127.0.0.1');
  await new Promise((resolve) => mute.once('listening', resolve));
  let heard = 0;
  mute.on('message', () => {
    heard += 1;
  });
  const began = performance.now();
  const words = ['control_client', '127.0.0.1', 'add', '10.0.0.1', '9001'];
  await refuses(1, /has not answered for 5 s/, [
    ...words,
    '--control-port',
    String(mute.address().port),
  ]);
  assert.ok(performance.now() - began >= 5000);
  assert.ok(heard >= 4, 'it asks again');
  mute.close();
});

// ---- with each other ----

/** Runs packet_replicator where the link's replicator is, and stops it well. */
async function withPacketReplicator(
  link: Link,
  work: (program: Program) => Promise<void>,
): Promise<void> {
  const program = start(['packet_replicator', 'rep0', ...FEED], link.replicator);
  try {
    await program.line(/^ready .* legacy=10\.77\.0\.1:12345$/m, 20_000);
    await work(program);
    program.signal('SIGTERM');
    assert.equal(await program.wait(), { status: 0, signal: null }, program.told());
    await eventually('XDP is gone', () => link.xdpProgram() === null);
  } finally {
    program.signal('SIGTERM');
    await program.wait().catch(() => {});
    program.close();
  }
}

networkTest(test, 'the four work together on a link', { queues: 1 }, async (link) => {
  await withPacketReplicator(link, async (replicator) => {
    assert.match(replicator.stderr, /WARN.*legacy control on UDP 10\.77\.0\.1:12345 asks nobody/);
    const control = (...words: string[]) => ['control_client', REPLICATOR_IP, ...words];
    assert.is(await output(control('list'), link.net), 'Active destinations (0):\n');
    assert.is(await output(control('add', HOST, '9101'), link.net), 'Operation successful\n');
    assert.is(
      await output(control('list'), link.net),
      `Active destinations (1):\n  ${HOST}:9101\n`,
    );
    await refuses(
      1,
      /Operation failed: .*10\.78\.0\.1:9101/,
      control('add', '10.78.0.1', '9101'),
      link.net,
    );

    const listener = addon.openUdp(link.net, { ip: HOST, port: 9101 });
    assert.match(
      await output(['test_client', ...FEED, '5', 'hello'], link.net),
      /^sent 5 of 5 packets, 40 bytes/,
    );
    const into = Buffer.alloc(100);
    for (let each = 1; each <= 5; each++) {
      const length = addon.receiveUdp(listener, into, 60_000_000);
      assert.is(into.toString('utf8', 0, length), `hello #${each}`);
    }
    assert.is(await output(control('remove', HOST, '9101'), link.net), 'Operation successful\n');

    const client = ['market_data_provider_client', ...FEED, HOST, '9301', '2000', '2000'];
    // our own type
    const result = JSON.parse(await output([...client, '--json'], link.net)) as Result;
    const { sent, received, duplicated, reordered, corrupt } = result;
    assert.equal([sent, received, duplicated, reordered, corrupt], [2000, 2000, 0, 0, 0]);
    assert.is(await output(control('list'), link.net), 'Active destinations (0):\n');

    const endless = start([...client.slice(0, 5), '1000000', '1000'], link.net);
    await eventually('it is subscribed', async () =>
      /:9301/.test(await output(control('list'), link.net)),
    );
    endless.signal('SIGINT');
    assert.equal(await endless.wait(), { status: 0, signal: null }, endless.told());
    assert.is(
      await output(control('list'), link.net),
      'Active destinations (0):\n',
      'Ctrl-C takes it back',
    );

    await output(control('add', NOBODY_IP, '9301', '--json'), link.net);
    const told = JSON.parse(await output([...control('list'), '--json'], link.net));
    assert.equal(told, { ok: true, destinations: [{ ip: NOBODY_IP, port: 9301 }] });
  });
});

// ---- on the link of the demo ----

test('all of them, and fantail bench, run on the link of the demo, which goes on undisturbed', async () => {
  const lack = lackForNetwork();
  if (lack !== null) {
    console.log(`skip: ${lack}`);
    return;
  }
  const demo = start(['fantail', 'demo', '--seconds', '60', '--json']);
  try {
    const [first] = await demo.line(/^\{.*\}$/m, 30_000);
    const { control } = JSON.parse(first) as { control: string };
    const spaces = run('ip', ['netns', 'list']);
    const [near = ''] = new RegExp(`fantail-demo-${demo.pid}-near`).exec(spaces) ?? [];
    const [far = ''] = new RegExp(`fantail-demo-${demo.pid}-far`).exec(spaces) ?? [];
    const feed = ['10.77.0.1', '5000', '10.77.0.2', '9100', '2000', '2000'];
    const bench = await output(['fantail', 'bench', ...feed, '--netns', far, '--control', control]);
    assert.match(bench, /^received 2,000: 0 lost/m);
    assert.match(
      await output(['control_client', '10.77.0.1', 'list'], far),
      /^Active destinations \(3\):/,
    );
    assert.match(
      await output(['test_client', '10.77.0.1', '5000', '100', 'hello'], far),
      /^sent 100/,
    );
    assert.match(
      await output(['market_data_provider_client', ...feed], far),
      /^received 2,000: 0 lost/m,
    );

    const second = [
      'fantail0',
      '10.77.0.1',
      '5001',
      '--mode',
      'socket',
      '--legacy-control',
      '10.77.0.1:12346',
    ];
    const replicator = start(['packet_replicator', ...second], near);
    await replicator.line(/^ready /m, 20_000);
    const other = [
      '10.77.0.1',
      '5001',
      '10.77.0.2',
      '9100',
      '1000',
      '1000',
      '--control-port',
      '12346',
    ];
    assert.match(
      await output(['market_data_provider_client', ...other], far),
      /^received 1,000: 0 lost/m,
    );
    replicator.signal('SIGINT');
    assert.equal(await replicator.wait(), { status: 0, signal: null }, replicator.told());

    demo.signal('SIGINT');
    assert.is((await demo.wait()).status, 0, demo.told());
    const last = JSON.parse(demo.stdout.trimEnd().split('\n').at(-1) ?? '') as {
      subscribers: { received: number; lost: number; duplicated: number; reordered: number }[];
    };
    for (const { received, lost, duplicated, reordered } of last.subscribers.slice(0, 3)) {
      assert.ok(received > 1000);
      assert.equal([lost, duplicated, reordered], [0, 0, 0], demo.stdout);
    }
  } finally {
    demo.signal('SIGTERM');
    await demo.wait().catch(() => {});
    demo.close();
  }
});

test.run();
