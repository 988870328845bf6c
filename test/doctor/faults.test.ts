/**
 * Goal: doctor names each fault and its cure, and the cure, run as it is printed, mends it.
 *
 * Method: a table of faults, each made for real: on a veth link in namespaces, by limits and rights
 * of a process, by a launcher that runs. Before the fault doctor does not name it; then it does;
 * then the line that it prints is given to `sh -c` where doctor was; then it does not name it any
 * more. A cure that is another `up` line is judged with `doctor` in the place of `up`, and then
 * run as it is printed, until packets flow; but for those that need a shell of fewer rights.
 *
 * needs: a link
 * takes: 100 s
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Report, Row } from '../../src/doctor/report.js';
import { KINDS } from '../../src/doctor/topics.js';
import { quoted } from '../../src/domain/finding.js';
import type { SubscriberRow } from '../../src/domain/statistics.js';
import { GROUP, type Link, NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { eventually, MAIN, Program, ROOT } from '../rig/program.js';
import { Replicator, startUp } from '../rig/replicator.js';
import { networkTest } from '../rig/scenario.js';
import { startForeignXdp } from '../rig/wire.js';

const test = suite('faults');

const FEED = ['rep0', REPLICATOR_IP, '9000'];
/** A pair with both ends in the replicator's namespace; its names are nobody else's. */
const PAIR = `dr${process.pid}`;
const [NEAR, FAR] = [`${PAIR}a`, `${PAIR}b`];
const PAIR_FEED = [NEAR, '10.79.0.1', '9000'];
const QUEUES = 2;

/** Where doctor and the cures are run. */
interface Place {
  readonly link: Link;
  /** In the namespace, or a shell of its own; gives stdout. */
  readonly sh: (line: string) => Promise<string>;
}

interface Fault {
  /** The finding's name. */
  readonly finding: string;
  readonly fault: string;
  /** Behind `doctor` (default: the link and its feed). */
  readonly words?: readonly string[];
  /** Before the fault, and not part of it. */
  readonly prepare?: (place: Place) => Promise<unknown> | unknown;
  /** Absent: the words are the fault, and it is not there without their flags. */
  readonly make?: (place: Place) => Promise<unknown> | unknown;
  /** What all is run by, such as a shell with fewer rights; default: `sh`. */
  readonly shell?: readonly string[];
  /** In the place of `node main.js` of doctor. */
  readonly program?: string;
  /** Which of the printed lines (default: the first). */
  readonly cure?: number;
}

const DOCTOR = `${process.execPath} ${MAIN}`;

/** A shell that reads its lines one by one, and goes on: limits are its own. */
async function openShell(link: Link, command: readonly string[]): Promise<Place['sh']> {
  const [file = 'sh', ...args] = command;
  const program = new Program(file, args, { namespace: link.replicator });
  programs.push(program);
  let count = 0;
  return async (line) => {
    const end = `end of line ${count++}`;
    const from = program.stdout.length;
    program.write(`${line}\necho; echo "${end} $?"`);
    await program.line(new RegExp(`^${end} \\d+$`, 'm'));
    return program.stdout.slice(from, program.stdout.indexOf(end));
  };
}

async function namespaceShell(link: Link): Promise<Place['sh']> {
  return async (line) => {
    const args = ['netns', 'exec', link.replicator, 'sh', '-c', line];
    const { stdout, stderr, status } = spawnSync('ip', args, { encoding: 'utf8', cwd: ROOT });
    // doctor's own status is looked at in a test of its own
    if (status !== 0 && stdout === '') throw new Error(`${line}: ${stderr}`);
    return stdout;
  };
}

/** What doctor says by its JSON; null: it does not name that. */
async function named({ sh }: Place, line: string, finding: string): Promise<Row | null> {
  const said = await sh(line);
  const report = JSON.parse(said.slice(said.indexOf('{'), said.lastIndexOf('}') + 1)) as Report;
  const rows = report.sections.flatMap((section) => section.rows);
  return rows.find(({ name }) => name === finding) ?? null;
}

const replicators: Replicator[] = [];
/** Shells, and others that a case has started. */
const programs: Program[] = [];

async function startIn(link: Link, flags: readonly string[]): Promise<Replicator> {
  const replicator = await Replicator.start({ link, inside: true, flags });
  replicators.push(replicator);
  return replicator;
}

/** Until nobody has answered for it. */
async function subscribe(
  link: Link,
  ip: string,
  { flags = [], access = [] }: { flags?: readonly string[]; access?: readonly string[] } = {},
): Promise<void> {
  const replicator = await startIn(link, ['--mode', 'copy', ...flags, ...access]);
  await replicator.cli('add', ip, '9101', ...access);
  await eventually(`${ip} is unresolved`, async () => {
    const { subscribers } = JSON.parse(await replicator.cli('list', '--json', ...access)) as {
      subscribers: SubscriberRow[];
    };
    return subscribers.some((row) => row.ip === ip && row.state === 'unresolved');
  });
}

/** A token in a file whose name a shell does not take as it is. */
const FOLDER = mkdtempSync(join(tmpdir(), 'fantail doctor '));
const TOKEN = join(FOLDER, 'token');
writeFileSync(TOKEN, 'a-token-that-nobody-guesses\n', { mode: 0o600 });

const ip =
  (...args: string[]) =>
  ({ link }: Place) =>
    link.ip('replicator', ...args);

function makePair({ link }: Place): void {
  link.ip('replicator', 'link', 'add', NEAR, 'type', 'veth', 'peer', 'name', FAR);
  for (const end of [NEAR, FAR]) link.ip('replicator', 'link', 'set', end, 'up');
  link.ip('replicator', 'addr', 'add', '10.79.0.1/24', 'dev', NEAR);
}

/** A launcher that is killed, so that its data plane goes on alone. */
async function orphan(place: Place): Promise<void> {
  const { program } = await startUp({
    link: place.link,
    interface: NEAR,
    listenIp: '10.79.0.1',
    inside: true,
    flags: ['--mode', 'copy'],
  });
  await program.line(/^ready /m);
  process.kill(program.pid, 'SIGKILL');
  await eventually('it has ended', () => program.end !== null);
}

/** A UDP socket of somebody else on the feed's port. */
const takePort =
  (ip: string) =>
  async ({ link }: Place) => {
    const script = `const s = require('node:dgram').createSocket('udp4');
    s.bind(9000, '${ip}', () => console.log('bound'));`;
    const program = link.start('replicator', process.execPath, ['-e', script]);
    programs.push(program);
    await program.line(/^bound$/m);
  };

/** The printed line starts a launcher whose packets flow. */
async function assertStarts(link: Link, line: string): Promise<void> {
  const program = link.start('replicator', 'sh', ['-c', `exec ${line}`]);
  programs.push(program);
  await program.line(/^ready /m);
  process.kill(program.pid, 'SIGTERM');
  await program.wait();
}

/** The command line that runs its arguments as nobody, who has those capabilities. */
function asNobody(...capabilities: string[]): string {
  const given = ['-all', ...capabilities.map((name) => `+${name}`)].join();
  const user = '--reuid=65534 --regid=65534 --clear-groups';
  return `setpriv ${user} --inh-caps=${given} --ambient-caps=${given}`;
}

/** A clone may be where only root can enter: it is seen at /mnt, by that shell alone. */
const MOUNTED = ['unshare', '-m', 'sh'];
const MOUNT = `mount --bind ${ROOT} /mnt && cd /mnt`;
const SHIM = join(ROOT, 'native', 'build', 'frozen-clock.so');

const FAULTS: readonly Fault[] = [
  // ---- the interface
  {
    finding: 'link_down',
    fault: 'the interface is switched off',
    make: ip('link', 'set', 'rep0', 'down'),
  },
  {
    finding: 'no_address',
    fault: 'the interface has no address',
    make: ip('addr', 'flush', 'dev', 'rep0'),
  },
  {
    finding: 'listen_address',
    fault: 'the feed is sent to an address that this host has not any more',
    words: ['rep0', '10.78.0.1', '9000'],
    prepare: ip('addr', 'add', '10.78.0.1/32', 'dev', 'rep0'),
    make: ip('addr', 'del', '10.78.0.1/32', 'dev', 'rep0'),
  },
  {
    finding: 'listen_address',
    fault: 'the feed is sent to another host',
    words: ['rep0', '10.78.0.2', '9000'],
    cure: 1,
  },
  {
    finding: 'queue_range',
    fault: 'a queue is asked for that the card has switched off',
    words: [...FEED, '--queues', '1'],
    make: ({ sh }) => sh('ethtool -L rep0 rx 1 tx 1'),
  },
  {
    finding: 'queue_unserved',
    fault: 'the wrong queue: one of two is served, and the other may get the feed',
    words: [...FEED, '--queues', '1'],
  },
  {
    finding: 'mtu_frame',
    fault: 'an MTU that no frame holds',
    make: ip('link', 'set', 'rep0', 'mtu', '9000'),
  },
  {
    finding: 'mtu_bulk',
    fault: 'an MTU that bulk transmit does not take',
    words: [...FEED, '--transmit', 'bulk'],
    make: ip('link', 'set', 'rep0', 'mtu', '3400'),
  },
  {
    finding: 'xdp_native',
    fault: 'a veth with fewer RX queues than its other end sends on',
    words: [...FEED, '--mode', 'copy', '--queues', '0'],
    make: ({ sh }) => sh('ethtool -L rep0 rx 1'),
  },
  {
    finding: 'bulk_target',
    fault: 'the other end of a veth without GRO, and bulk transmit',
    words: [...PAIR_FEED, '--transmit', 'bulk'],
    prepare: async (place) => {
      makePair(place);
      await place.sh(`ethtool -K ${FAR} gro on`);
    },
    make: ({ sh }) => sh(`ethtool -K ${FAR} gro off`),
  },
  {
    finding: 'offload_merges',
    fault: 'offloads that join datagrams',
    make: ({ sh }) => sh('ethtool -K rep0 rx-gro-list on rx-udp-gro-forwarding on'),
  },
  {
    finding: 'offload_checksum',
    fault: 'the other end leaves checksums to be filled in, and mode skb',
    words: [...PAIR_FEED, '--mode', 'skb'],
    prepare: async (place) => {
      makePair(place);
      await place.sh(`ethtool -K ${FAR} tx off`);
    },
    make: ({ sh }) => sh(`ethtool -K ${FAR} tx on`),
  },
  {
    finding: 'napi_timers',
    fault: 'interrupts that busy polling does not put off',
    words: [...FEED, '--busy-poll'],
    prepare: ({ sh }) =>
      sh(
        'echo 2 > /sys/class/net/rep0/napi_defer_hard_irqs; echo 200000 > /sys/class/net/rep0/gro_flush_timeout',
      ),
    make: ({ sh }) => sh('echo 0 > /sys/class/net/rep0/gro_flush_timeout'),
  },
  // ---- what else has a hand in it
  {
    finding: 'xdp_foreign',
    fault: "another's XDP program",
    make: ip(...'link set dev rep0 xdpdrv obj native/build/replicate.bpf.o sec xdp'.split(' ')),
  },
  {
    finding: 'xdp_foreign',
    fault: "another's XDP program in generic mode",
    make: ip(...'link set dev rep0 xdpgeneric obj native/build/replicate.bpf.o sec xdp'.split(' ')),
  },
  {
    finding: 'xdp_held',
    fault: "another's XDP program that a process holds",
    make: ({ link }) => startForeignXdp(link, 'link'),
  },
  { finding: 'port_taken', fault: "a program has the feed's port", make: takePort(REPLICATOR_IP) },
  {
    finding: 'port_taken',
    fault: "a program has the feed's port, and a bystander that of another address",
    prepare: takePort('127.0.0.1'),
    make: takePort(REPLICATOR_IP),
  },
  {
    finding: 'port_of_bridge',
    fault: 'the interface is a port of a bridge',
    prepare: ip('link', 'add', 'br0', 'type', 'bridge'),
    make: ip('link', 'set', 'rep0', 'master', 'br0'),
  },
  { finding: 'no_arp', fault: 'ARP is off', make: ip('link', 'set', 'rep0', 'arp', 'off') },
  {
    finding: 'no_multicast',
    fault: 'multicast is off, and the feed is sent to a group',
    words: ['rep0', GROUP.ip, '9000'],
    make: ip('link', 'set', 'rep0', 'multicast', 'off'),
  },
  {
    finding: 'no_multicast',
    fault: 'multicast is off, and the second feed is sent to a group',
    words: [...FEED, '--feed', `b=${GROUP.ip}:9001`],
    make: ip('link', 'set', 'rep0', 'multicast', 'off'),
  },
  {
    finding: 'rp_filter',
    fault: 'a strict rp_filter of all interfaces',
    prepare: ({ sh }) =>
      sh('sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.rep0.rp_filter=0'),
    make: ({ sh }) => sh('sysctl -qw net.ipv4.conf.all.rp_filter=1'),
  },
  {
    finding: 'rp_filter',
    fault: 'a strict rp_filter',
    prepare: ({ sh }) => sh('sysctl -qw net.ipv4.conf.all.rp_filter=0'),
    make: ({ sh }) => sh('sysctl -qw net.ipv4.conf.rep0.rp_filter=1'),
  },
  {
    finding: 'orphan',
    fault: 'a data plane whose supervisor was killed',
    words: PAIR_FEED,
    prepare: makePair,
    make: orphan,
  },
  // ---- subscribers of a launcher that runs
  {
    finding: 'subscriber_neighbour',
    fault: 'a subscriber whom nobody answers for',
    make: ({ link }) => subscribe(link, NOBODY_IP),
  },
  {
    finding: 'subscriber_neighbour',
    fault: 'a subscriber whom nobody answers for, of a launcher that asks for a token',
    words: [...FEED, '--token-file', quoted(TOKEN)],
    make: ({ link }) => subscribe(link, NOBODY_IP, { access: ['--token-file', TOKEN] }),
  },
  {
    finding: 'subscriber_route',
    fault: 'a subscriber whom no route leads to',
    make: ({ link }) => subscribe(link, '10.99.0.5', { flags: ['--allow', '10.99.0.0/24'] }),
  },
  // ---- the process
  {
    finding: 'memlock',
    fault: 'no memlock: neither the capability nor a limit that is high enough',
    shell: MOUNTED,
    prepare: ({ sh }) =>
      sh(`${MOUNT}; AS='${asNobody('net_admin', 'net_raw', 'bpf', 'ipc_lock')}'`),
    program: `$AS ${process.execPath} /mnt/build/programs/main.js`,
    make: ({ sh }) => sh(`AS='${asNobody('net_admin', 'net_raw', 'bpf')}'`),
  },
  {
    finding: 'address_space',
    fault: 'little address space',
    shell: ['sh'],
    make: ({ sh }) => sh(`prlimit --pid $$ --as=${8 * 2 ** 30}:`),
  },
  {
    finding: 'cpu_denied',
    fault: 'a core is asked for that the shell may not use',
    words: [...FEED, '--cpus', '1'],
    shell: ['sh'],
    make: ({ sh }) => sh('taskset -pc 0 $$'),
  },
  {
    finding: 'rights',
    fault: 'no rights',
    shell: MOUNTED,
    prepare: ({ sh }) => sh(MOUNT),
    program: `$AS ${process.execPath} /mnt/build/programs/main.js`,
    make: ({ sh }) => sh(`AS='${asNobody()}'`),
  },
  {
    finding: 'clock_frozen',
    fault: 'a frozen clock',
    shell: ['sh'],
    make: ({ sh }) => sh(`export LD_PRELOAD=${SHIM}`),
  },
  // ---- what is asked for
  {
    finding: 'workers_many',
    fault: 'more workers than queues',
    words: [...FEED, '--workers', '2'],
    make: ({ sh }) => sh('ethtool -L rep0 rx 1 tx 1'),
  },
  {
    finding: 'cores_shared',
    fault: 'more busy processes than cores',
    words: [...FEED, '--layout', 'split', '--workers', '1', '--cpus', '0'],
  },
  {
    finding: 'zero_copy_missing',
    fault: 'zero copy by name, which the driver has not',
    words: [...FEED, '--mode', 'zerocopy'],
  },
  {
    finding: 'bulk_impossible',
    fault: 'bulk transmit without native XDP',
    words: [...FEED, '--mode', 'skb', '--transmit', 'bulk'],
  },
];

async function check(fault: Fault, link: Link): Promise<void> {
  const { finding, words = FEED, program = DOCTOR } = fault;
  const sh = await (fault.shell === undefined
    ? namespaceShell(link)
    : openShell(link, fault.shell));
  const place = { link, sh };
  const line = `${program} doctor ${words.join(' ')} --json`;
  await fault.prepare?.(place);
  const before = fault.make === undefined ? `${DOCTOR} doctor ${FEED.join(' ')} --json` : line;
  assert.is(await named(place, before, finding), null, 'it is not named before it is there');
  await fault.make?.(place);
  const row = await named(place, line, finding);
  assert.ok(row, `${finding} is named`);
  const cure = row.cures[fault.cure ?? 0];
  assert.ok(cure, `${finding} has a line: ${JSON.stringify(row)}`);
  const isLaunch = / up /.test(cure);
  const after = isLaunch ? withJson(cure.replace(' up ', ' doctor ')) : line;
  if (!isLaunch) {
    const told = await sh(`sh -c ${quoted(cure)} 2>&1; echo "status $?"`);
    assert.match(told, /^status 0$/m, `${cure}: ${told}`);
  }
  await eventually(`${finding} is not named after: ${cure}`, async () => {
    return (await named(place, after, finding)) === null;
  });
  if (isLaunch && fault.shell !== MOUNTED) await assertStarts(link, cure);
}

/** The last word may be in quotes of `su -c`. */
const withJson = (line: string) =>
  line.endsWith("'") ? `${line.slice(0, -1)} --json'` : `${line} --json`;

for (const fault of FAULTS)
  networkTest(
    test,
    `${fault.finding}: ${fault.fault}: named, and mended by the line as it is printed`,
    { queues: QUEUES },
    async (link) => {
      try {
        await check(fault, link);
      } finally {
        for (const each of [...replicators.splice(0), ...programs.splice(0)]) each.close();
      }
    },
  );

networkTest(
  test,
  'open_files: few open files are named, with a line where they may be raised, or where to raise them',
  { queues: 1 },
  async (link) => {
    const sh = await openShell(link, ['sh']);
    try {
      await sh('prlimit --pid $$ --nofile=100:100');
      const row = await named(
        { link, sh },
        `${DOCTOR} doctor ${FEED.join(' ')} --json`,
        'open_files',
      );
      assert.is(row?.level, 'must');
      const [cure] = row?.cures ?? [];
      if (cure === undefined) return assert.match(row?.instead ?? '', /LimitNOFILE/);
      assert.match(await sh(`sh -c ${quoted(cure)}; ulimit -Hn`), /^1024$/m);
    } finally {
      for (const each of programs.splice(0)) each.close();
    }
  },
);

test.after(() => rmSync(FOLDER, { recursive: true }));

test('the faults are twenty at least, and of kinds that there are', () => {
  const kinds = new Set(FAULTS.map(({ finding }) => finding));
  assert.ok(kinds.size >= 20, `${kinds.size} kinds`);
  for (const kind of kinds) assert.ok(kind in KINDS, kind);
});

test.run();
