/**
 * What `fantail up` says when it cannot run: status 2 for a command line that makes no sense, 1 for
 * a machine that does not allow it, and each time one line on stderr that names what is wrong and
 * what to do, and nothing left behind.
 *
 * needs: a link
 * takes: 25 s
 */
// time limit: 180 s

import { createServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Link, REPLICATOR_IP } from '../rig/link.js';
import type { Program } from '../rig/program.js';
import { fantail, Replicator, residueOf, startUp, type UpOptions } from '../rig/replicator.js';
import { networkTest } from '../rig/scenario.js';
import { LISTEN_PORT, replicatedRoute, startForeignXdp, startSink } from '../rig/wire.js';

const test = suite('errors');

/** One line, no stack, nothing on stdout. */
function assertOneLine(program: Program, status: number, pattern: RegExp): void {
  assert.is(program.end?.status, status, program.told());
  assert.is(program.stdout, '', program.told());
  const lines = program.stderr.trimEnd().split('\n');
  assert.is(lines.length, 1, `one line: ${program.told()}`);
  assert.ok(pattern.test(lines[0] ?? ''), `does not match ${pattern}: ${program.told()}`);
}

// ---- Status 2: bad usage ----

/**
 * An interface that is not there: what is accepted by mistake ends with status 1 instead of
 * running.
 */
const UP = ['up', 'eth77', '10.77.0.1', '9000'];
const MISUSES: readonly [args: string[], says: RegExp][] = [
  [['up'], /interface/],
  [['up', 'lo', '127.0.0.1'], /listen_port/],
  [[...UP, 'more'], /argument/],
  [['up', 'lo', 'localhost', '9000'], /localhost/],
  [['up', 'lo', '127.0.0.256', '9000'], /127\.0\.0\.256/],
  [['up', 'lo', '127.0.0.1', '0'], /port/],
  [['up', 'lo', '127.0.0.1', '65536'], /65536/],
  [['up', 'lo', '127.0.0.1', '9000x'], /9000x/],
  [[...UP, '--mdoe', 'copy'], /--mdoe.*--mode/],
  [[...UP, '--mode', 'warp'], /zerocopy.*warp/],
  [[...UP, '--layout', 'sideways'], /split.*sideways/],
  [[...UP, '--queues', 'many'], /--queues.*many/],
  [[...UP, '--queues', '3-1'], /--queues.*3-1/],
  [[...UP, '--queues', '-1'], /--queues|-1/],
  [[...UP, '--workers', '0'], /--workers/],
  [[...UP, '--workers', '17'], /--workers/],
  [[...UP, '--workers', '1.5'], /--workers/],
  [[...UP, '--cpus', 'x'], /--cpus/],
  [[...UP, '--order', 'random'], /rotate.*random/],
  [[...UP, '--udp-checksum', 'half'], /full.*half/],
  [[...UP, '--multicast-ttl', '0'], /--multicast-ttl must be .* from 1 to 255, not '0'/],
  [[...UP, '--multicast-ttl', '256'], /--multicast-ttl .*256/],
  [[...UP, '--control', '12345'], /--control/],
  [[...UP, '--control', '127.0.0.1:99999'], /--control/],
  [[...UP, '--control', '10.77.0.1:12345'], /token/], // beyond loopback only with a token
  [[...UP, '--allow', '10.0.0.0/33'], /--allow/],
  [[...UP, '--allow', 'everybody'], /--allow/],
  [[...UP, '--mode'], /--mode/],
  [[...UP, '--legacy-control', '127.0.0'], /--legacy-control/],
  [['upp', 'lo', '127.0.0.1', '9000'], /upp/],
];

for (const [args, says] of MISUSES)
  test(`bad usage, status 2 and one line: fantail ${args.join(' ')}`, async () => {
    assertOneLine(await fantail(args), 2, says);
  });

// ---- Status 1: the machine does not allow it ----

/** Runs `up`, which must fail in one line that matches, and leave nothing behind. */
async function assertFails(options: UpOptions, says: RegExp): Promise<void> {
  const xdpBefore = options.link.xdpProgram();
  const { program, marker } = await startUp(options);
  await program.wait();
  assertOneLine(program, 1, says);
  const left = residueOf(options.link, program, marker).filter((one) => {
    return xdpBefore === null || !one.startsWith(`XDP program ${xdpBefore} `);
  });
  assert.equal(left, [], 'nothing is left behind');
}

const copyMode = (...more: string[]) => ['--mode', 'copy', ...more];
type Case = (link: Link) => Promise<void>;

const FAILURES: Readonly<Record<string, Case>> = {
  'an interface that is not there': (link) =>
    assertFails({ link, interface: 'eth77', flags: copyMode() }, /eth77/),
  'an interface that is not there, in socket mode': (link) =>
    assertFails({ link, interface: 'eth77', flags: ['--mode', 'socket'] }, /eth77/),
  'a queue that the interface has not': (link) =>
    assertFails({ link, flags: copyMode('--queues', '2') }, /queue.*\b2\b|\b2\b.*queue/i),
  'a queue among others that the interface has not': (link) =>
    assertFails({ link, flags: copyMode('--queues', '0-4') }, /queue/i),
  'more workers than queues': (link) =>
    assertFails({ link, flags: copyMode('--workers', '3') }, /worker.*queue/i),
  'a token file that is not there': (link) =>
    assertFails({ link, flags: copyMode('--token-file', '/nowhere/token') }, /\/nowhere\/token/),
  'a filter file that is not there': (link) =>
    assertFails(
      { link, flags: copyMode('--filter', '/nowhere/filter.wasm') },
      /\/nowhere\/filter\.wasm/,
    ),
  'a CPU that the machine has not': (link) =>
    assertFails({ link, flags: copyMode('--cpus', '1000') }, /1000/),
  'a veth that receives on fewer queues than its peer sends on': (link) => {
    const queues = (rx: number, tx: number) => ['numrxqueues', `${rx}`, 'numtxqueues', `${tx}`];
    const peer = ['type', 'veth', 'peer', 'name', 'odd1', ...queues(2, 2)];
    link.ip('replicator', 'link', 'add', 'odd0', ...queues(1, 1), ...peer);
    for (const end of ['odd0', 'odd1']) link.ip('replicator', 'link', 'set', end, 'up');
    link.ip('replicator', 'addr', 'add', '10.79.0.1/24', 'dev', 'odd0');
    const odd = { link, interface: 'odd0', listenIp: '10.79.0.1' };
    return assertFails({ ...odd, flags: copyMode() }, /too few queues .* numrxqueues/);
  },
  'zero copy, which veth has not, by name': (link) =>
    assertFails({ link, flags: ['--mode', 'zerocopy'] }, /zero.?copy/i),
  'bulk transmit by sockets': (link) =>
    assertFails({ link, flags: ['--mode', 'socket', '--transmit', 'bulk'] }, /--mode copy/),
  'bulk transmit without the right to see what the device refuses': (link) => {
    const capabilities = ['net_admin', 'net_raw', 'bpf', 'ipc_lock'];
    const flags = copyMode('--transmit', 'bulk');
    return assertFails({ link, unprivileged: true, capabilities, flags }, /CAP_PERFMON/);
  },
  'no privileges': (link) =>
    assertFails({ link, unprivileged: true, flags: copyMode() }, /CAP_|root|privilege/),
};

for (const [what, work] of Object.entries(FAILURES))
  networkTest(test, `status 1, one line, nothing left: ${what}`, { queues: 2 }, work);

test('status 1 and one line: a network namespace that is not there', async () => {
  const program = await fantail([
    'up',
    'rep0',
    REPLICATOR_IP,
    '9000',
    '--netns',
    'ft-nowhere',
    '--mode',
    'copy',
  ]);
  assertOneLine(program, 1, /ft-nowhere/);
});

networkTest(
  test,
  'status 1, one line, nothing left: a control port in use, if it was asked for',
  { queues: 1 },
  async (link) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    try {
      const args = [
        'up',
        'rep0',
        REPLICATOR_IP,
        '9000',
        '--netns',
        link.replicator,
        '--mode',
        'copy',
      ];
      const program = await fantail([...args, '--control', `127.0.0.1:${address.port}`]);
      assertOneLine(
        program,
        1,
        new RegExp(`${address.port}.*--control|--control.*${address.port}`),
      );
      assert.is(link.xdpProgram(), null);
      assert.equal(link.abstractSockets(), []);
    } finally {
      server.close();
    }
  },
);

networkTest(
  test,
  'status 1, one line, nothing left: a listen port that another program has',
  { queues: 1 },
  async (link) => {
    const here = { ...replicatedRoute(link), sinkInterface: 'rep0' };
    const start = {
      start: (_: string, command: string, args: readonly string[]) =>
        link.start('replicator', command, args),
    };
    const holder = await startSink(
      { ...here, ...start },
      { subscribers: [{ ip: REPLICATOR_IP, port: LISTEN_PORT }] },
    );
    await assertFails({ link, flags: copyMode() }, new RegExp(`${LISTEN_PORT}`));
    await holder.stop();
  },
);

for (const how of ['link', 'netlink'] as const)
  networkTest(
    test,
    `somebody else's XDP program stays, status 1 names its id: attached by ${how}`,
    { queues: 1 },
    async (link) => {
      const { program, id } = await startForeignXdp(link, how);
      await assertFails({ link, flags: copyMode() }, new RegExp(`\\b${id}\\b`));
      await assertFails({ link, flags: ['--mode', 'auto'] }, new RegExp(`\\b${id}\\b`));
      assert.is(link.xdpProgram(), String(id));
      // Socket mode has no use for XDP, and so no quarrel.
      const replicator = await Replicator.start({ link, flags: ['--mode', 'socket'] });
      assert.equal(await replicator.stop(), { status: 0, signal: null });
      assert.is(link.xdpProgram(), String(id));
      replicator.close();
      program.close();
    },
  );

networkTest(
  test,
  'status 1, one line, nothing left: an MTU beyond a chunk',
  { queues: 1, mtu: 9000 },
  async (link) => {
    await assertFails({ link, flags: copyMode() }, /MTU.*9000|9000.*MTU/i);
  },
);

networkTest(
  test,
  '--mode auto on veth falls back to copy, and says why',
  { queues: 1 },
  async (link) => {
    const replicator = await Replicator.start({ link });
    try {
      const stats = await replicator.stats();
      assert.is(stats.mode, 'copy');
      assert.equal(
        stats.fallbacks.map(({ mode }) => mode),
        ['zerocopy'],
      );
      assert.ok((stats.fallbacks[0]?.reason ?? '').length > 10);
      assert.equal(await replicator.stop(), { status: 0, signal: null });
      assert.equal(await replicator.residue(), []);
    } finally {
      replicator.close();
    }
  },
);

test.run();
