/**
 * What runs where: modes, queues, workers, layout and cores for every kind of machine and flag.
 *
 * needs: a core
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { numberList } from '../../src/cli/arguments.js';
import { Failure, UsageError } from '../../src/domain/errors.js';
import { hasTrapHandler } from '../../src/filters/traps.js';
import type { Interface } from '../../src/memory/addon.js';
import { configOf, type UpFlags } from '../../src/replicator/config.js';
import { MTU_MAX } from '../../src/replicator/plan/checks.js';
import { checkListenAddress, deploymentOf } from '../../src/replicator/plan/deployment.js';
import { DRIVER_FACTS } from '../../src/replicator/plan/driver-facts.js';
import { ROOT } from '../rig/program.js';

const test = suite('deployment');

const ALL = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_IPC_LOCK'];

function card(queues: number, more: Partial<Interface> = {}): Interface {
  return {
    index: 2,
    mtu: 1500,
    mac: '02:00:00:00:00:01',
    up: true,
    addresses: [{ ip: '10.0.0.1', prefix: 24 }],
    others: [],
    rx_queues: queues,
    tx_queues: queues,
    driver: 'veth',
    driver_version: '1.0',
    combined: true,
    queues_max: 64,
    name: 'eth0',
    loopback: false,
    ...more,
  };
}

/** What cli/ hands over where no flag is given. */
const DEFAULTS: UpFlags = {
  mode: 'auto',
  layout: 'auto',
  queues: 'all',
  order: 'rotate',
  udpChecksum: 'zero',
  transmit: 'ring',
  multicastTtl: 1,
  metricsSubscribers: 256,
};

interface Given {
  flags?: Partial<UpFlags>;
  link?: Interface | null;
  capabilities?: readonly string[];
  cores?: number;
  kernel?: string;
  isModule?: boolean;
  hasTrapHandler?: boolean;
  memlock_bytes?: number;
  memlockMost?: number;
  canRaise?: boolean;
  files?: number;
  addresses?: number;
}

function deploy(given: Given = {}) {
  const { flags = {}, link = card(1), capabilities = ALL, cores = 8, kernel = '6.18.5' } = given;
  const interfaceName = link === null ? '-' : 'eth0';
  const listen = { interfaceName, listenIp: '10.0.0.1', listenPort: 5000 };
  const config = configOf(listen, { ...DEFAULTS, ...flags });
  return deploymentOf(config, {
    link,
    takesRules: true,
    kernel,
    isModule: given.isModule ?? false,
    capabilities,
    hasTrapHandler: given.hasTrapHandler ?? true,
    cores: Array.from({ length: cores }, (_, i) => i),
    online: Array.from({ length: cores }, (_, i) => i),
    memlock: {
      soft: given.memlock_bytes ?? 8 << 20,
      hard: given.memlockMost ?? Number.POSITIVE_INFINITY,
    },
    canRaise: given.canRaise ?? false,
    openFiles: { soft: 1024, hard: given.files ?? 4096 },
    addressSpace: {
      soft: given.addresses ?? Number.POSITIVE_INFINITY,
      hard: Number.POSITIVE_INFINITY,
    },
    shell: 4711,
  });
}

function fails(work: () => unknown, pattern: RegExp): void {
  try {
    work();
  } catch (error) {
    assert.instance(error, Failure);
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable(`should fail with ${pattern}`);
}

test('auto tries zerocopy, copy, skb, socket in that order', () => {
  assert.equal(deploy().modes, ['zerocopy', 'copy', 'skb', 'socket']);
  assert.equal(deploy().fallbacks, []);
});

test('a named mode is the only one', () => {
  assert.equal(deploy({ flags: { mode: 'skb' } }).modes, ['skb']);
});

test('auto without privileges is socket mode, and names what is missing for each better mode', () => {
  const { modes, fallbacks } = deploy({ capabilities: ['CAP_NET_RAW'] });
  assert.equal(modes, ['socket']);
  assert.equal(
    fallbacks.map(({ mode }) => mode),
    ['zerocopy', 'copy', 'skb'],
  );
  for (const { reason } of fallbacks)
    assert.match(reason, /CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK.*sudo/);
});

test('CAP_SYS_ADMIN stands for CAP_BPF, as in the kernel', () => {
  const capabilities = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_SYS_ADMIN', 'CAP_IPC_LOCK'];
  assert.is(deploy({ capabilities }).modes.length, 4);
});

test('a limit of locked memory that holds all frames stands for CAP_IPC_LOCK, and is named if it does not', () => {
  const capabilities = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF'];
  const modes = (memlock_bytes: number) => deploy({ capabilities, memlock_bytes }).modes;
  assert.is(modes(Number.POSITIVE_INFINITY).length, 4);
  assert.is(modes(64 << 20).length, 4, 'a queue takes 8192 RX and 4096 TX frames, and their slots');
  assert.equal(modes(63 << 20), ['socket']);
  fails(
    () => deploy({ capabilities, flags: { mode: 'copy' } }),
    /CAP_IPC_LOCK, since .* 8 MiB, is less than 64 MiB.*prlimit --pid 4711 --memlock=unlimited:$/,
  );
  const low = { capabilities, flags: { mode: 'copy' }, memlockMost: 8 << 20 } as const;
  fails(() => deploy({ ...low, canRaise: true }), /--memlock=unlimited:unlimited$/);
  fails(() => deploy(low), /LimitMEMLOCK=infinity of a unit/);
});

test('too few addresses for one filter are refused, for sixteen warned of; so are few open files', () => {
  const GiB = 2 ** 30;
  fails(
    () => deploy({ addresses: 11 * GiB }),
    /11\.0 GiB of addresses: no filter.*--as=unlimited:$/,
  );
  assert.match(deploy({ addresses: 12 * GiB }).warnings.join(), /1 of 16 filters at once/);
  assert.equal(deploy({ addresses: 162 * GiB }).warnings, []);
  assert.match(deploy({ files: 100 }).warnings.join(), /100 files open; raise it where/);
});

test('a named mode without privileges, or on a loopback or -, fails with the reason', () => {
  fails(
    () => deploy({ flags: { mode: 'copy' }, capabilities: [] }),
    /--mode copy is not possible.*CAP_NET_RAW/,
  );
  fails(() => deploy({ flags: { mode: 'copy' }, link: card(1, { loopback: true }) }), /loopback/);
  fails(() => deploy({ flags: { mode: 'zerocopy' }, link: null }), /no link/);
});

test('a queue at or past the active ones is refused with the line that makes more', () => {
  fails(
    () => deploy({ flags: { queues: [0, 4] }, link: card(4) }),
    /queue 4 is out of range.*4 active \(0 to 3\).*ethtool -L eth0 combined 5/,
  );
  assert.equal(deploy({ flags: { queues: [1, 3] }, link: card(4) }).queues, [1, 3]);
});

test('the line that makes more queues is of the kind that the card has, and there is none past its most', () => {
  const two = (more: Partial<Interface>) => deploy({ flags: { queues: [2] }, link: card(2, more) });
  fails(() => two({ combined: false }), /ethtool -L eth0 rx 3 tx 3/);
  fails(() => two({ queues_max: 2 }), /2 active.*cannot have as many/);
});

test('queues that only receive, or only transmit, are not served', () => {
  assert.equal(deploy({ link: card(4, { tx_queues: 2 }) }).queues, [0, 1]);
});

test('workers are at most the queues, the cores but one, and 8; and at least one', () => {
  assert.is(deploy({ link: card(4) }).workers, 4);
  assert.is(deploy({ link: card(16), cores: 32 }).workers, 8);
  assert.is(deploy({ link: card(4), cores: 3 }).workers, 2);
  assert.is(deploy({ link: card(4), cores: 1 }).workers, 1);
  fails(() => deploy({ flags: { workers: 3 }, link: card(2) }), /more than the 2 queues/);
});

test('auto takes split when RX and every worker get a core each and one is left over, else inline', () => {
  assert.is(deploy({ link: card(1), cores: 3 }).layout, 'split');
  assert.is(deploy({ link: card(1), cores: 2 }).layout, 'inline');
  assert.is(deploy({ flags: { workers: 2 }, link: card(2), cores: 4 }).layout, 'split');
  assert.is(deploy({ flags: { workers: 2 }, link: card(2), cores: 3 }).layout, 'inline');
});

test('split without a core to spare hands over with sched_yield, and warns', () => {
  const { yields, warnings } = deploy({ flags: { layout: 'split' }, cores: 2 });
  assert.is(yields, true);
  assert.match(warnings.join(), /sched_yield/);
  assert.is(deploy({ flags: { layout: 'split' }, cores: 3 }).yields, false);
  assert.is(deploy({ flags: { layout: 'inline' }, cores: 1 }).yields, false);
});

test('--cpus: in split first RX, then workers; in inline one per worker; too few are shared in turn', () => {
  const split = deploy({ flags: { layout: 'split', cpus: [5, 1, 2] }, link: card(4) });
  assert.equal([split.rxCpu, split.workerCpus], [5, [1, 2]]);
  const inline = deploy({ flags: { layout: 'inline', cpus: [3, 4], workers: 3 }, link: card(4) });
  assert.equal([inline.rxCpu, inline.workerCpus], [null, [3, 4, 3]]);
});

test('a core of --cpus that this process may not use is refused with those that it may', () => {
  fails(
    () => deploy({ flags: { cpus: [0, 1000] }, cores: 2 }),
    /core 1000 of --cpus.*0, 1; start fantail up --cpus 0,1$/,
  );
});

test('an MTU beyond a frame is refused with the line that mends it, in socket mode it is cut', () => {
  fails(() => deploy({ link: card(1, { mtu: 9000 }) }), /MTU 9000.*ip link set dev eth0 mtu 3498/);
  assert.is(deploy({ flags: { mode: 'socket' }, link: card(1, { mtu: 9000 }) }).mtu, MTU_MAX);
  assert.is(deploy({ link: card(1, { mtu: MTU_MAX }) }).mtu, MTU_MAX);
});

test('AF_XDP on an interface without an address fails with the line that gives it one; socket mode does not need it', () => {
  fails(() => deploy({ link: card(1, { addresses: [] }) }), /ip addr add 10\.0\.0\.1\/24 dev eth0/);
  assert.equal(deploy({ flags: { mode: 'socket' }, link: card(1, { addresses: [] }) }).modes, [
    'socket',
  ]);
});

test('only an address that is received at can be listened on', () => {
  const link = {
    addresses: [{ ip: '10.0.0.1', prefix: 24 }],
    others: [{ ip: '192.0.2.1', prefix: 31 }],
  };
  const check = (listenIp: string, promiscuous = false) =>
    checkListenAddress({ interfaceName: 'eth0', listenIp, promiscuous }, link);
  for (const ip of ['10.0.0.1', '192.0.2.1', '10.0.0.255', '255.255.255.255']) check(ip);
  for (const group of ['224.0.0.1', '232.1.1.1', '239.255.255.255']) check(group);
  for (const ip of ['10.0.0.2', '192.0.2.0', '223.255.255.255', '240.0.0.1', '0.0.0.0'])
    fails(() => check(ip), /is neither .* ip addr add .*\/32 dev eth0/);
  fails(() => check('10.0.0.2'), /, or, if it is another host's, .* --promiscuous$/);
  for (const ip of ['10.0.0.1', '10.0.0.2', '1.0.0.0', '223.255.255.255', '239.1.1.1'])
    check(ip, true);
  for (const ip of ['0.0.0.0', '0.255.255.255', '127.0.0.1', '240.0.0.1'])
    fails(() => check(ip, true), /is neither .* ip addr add .*\/32 dev eth0$/);
});

test('promiscuous mode takes frames off a link: what cannot is refused, and never fallen back to', () => {
  const flags = { promiscuous: true };
  assert.equal(deploy({ flags }).modes, ['zerocopy', 'copy', 'skb']);
  assert.equal(deploy({ flags: { ...flags, mode: 'skb' } }).modes, ['skb']);
  fails(
    () => deploy({ flags: { ...flags, mode: 'socket' } }),
    /--promiscuous is not possible on eth0: in socket mode .*--mode auto, zerocopy, copy or skb/,
  );
  fails(() => deploy({ flags, link: null }), /--promiscuous .* '-' is no link/);
  fails(() => deploy({ flags, link: card(1, { loopback: true }) }), /--promiscuous .*loopback/);
  fails(() => deploy({ flags, capabilities: [] }), /--promiscuous .*CAP_NET_RAW.*run with sudo/);
});

test('an interface that is down is a warning with the line that mends it', () => {
  assert.match(deploy({ link: card(1, { up: false }) }).warnings.join(), /ip link set dev eth0 up/);
  assert.equal(deploy().warnings, []);
});

test('a Node that does not stop stores to pages that may only be read is refused, with the cure', () => {
  fails(() => deploy({ hasTrapHandler: false }), /use Node 22 or newer/);
  assert.is(hasTrapHandler(), true, 'this one does');
});

test('bulk is copy mode and nothing else, needs CAP_PERFMON, and warns of an MTU that is too large', () => {
  const capabilities = [...ALL, 'CAP_PERFMON'];
  const flags = { transmit: 'bulk' } as const;
  const ice = card(1, { driver: 'ice', mtu: 3498 }); // what is said of its zero copy is no matter
  const { modes, fallbacks, mtu, warnings } = deploy({ flags, capabilities, link: ice });
  assert.equal([modes, fallbacks, mtu], [['copy'], [], 3314]);
  assert.match(warnings.join(), /up to 3314 bytes/);
  assert.match(warnings.join(), /whether ice is done .* was not measured/);
  const igb = card(1, { driver: 'igb' });
  assert.match(deploy({ flags, capabilities, link: igb }).warnings.join(), /page pool lives on/);
  assert.equal(deploy({ flags, capabilities }).warnings, []);
  fails(() => deploy({ flags }), /CAP_PERFMON/);
  fails(() => deploy({ flags, capabilities: [] }), /not possible on eth0: AF_XDP takes/);
  fails(() => deploy({ flags: { ...flags, mode: 'zerocopy' }, capabilities }), /--mode copy/);
});

test('--transmit auto has both ways where bulk is known to be safe, else the ring with its reason', () => {
  const capabilities = [...ALL, 'CAP_PERFMON'];
  const flags = { transmit: 'auto' } as const;
  const both = deploy({ flags, capabilities });
  assert.equal([both.paths, both.ringBecause], [{ ring: true, bulk: true }, '']);
  assert.equal(both.modes, deploy().modes, 'and tries the same modes');
  const ring = { ring: true, bulk: false };
  for (const [given, reason] of [
    [{ capabilities: ALL }, /CAP_PERFMON/],
    [{ capabilities: [] }, /AF_XDP takes/],
    [{ capabilities, link: card(1, { driver: 'ice' }) }, /ice .* was not measured/],
    [{ capabilities, link: card(1, { mtu: 3498 }) }, /up to 3314 bytes .* the MTU is 3498/],
    [{ capabilities, link: null }, /no link/],
  ] as const) {
    const { paths, ringBecause } = deploy({ flags, ...given });
    assert.equal(paths, ring);
    assert.match(ringBecause, reason);
  }
  const { paths, ringBecause } = deploy({ flags: { ...flags, mode: 'skb' }, capabilities });
  assert.equal(paths, ring);
  assert.match(ringBecause, /--mode copy, not skb/);
});

test('a worker that sends in bulk has a pump where a core is left for each, or was named for it', () => {
  const capabilities = [...ALL, 'CAP_PERFMON'];
  const flags = { transmit: 'bulk', layout: 'inline', workers: 1 } as const;
  const pumpsOf = (more: Given) => deploy({ capabilities, ...more }).pumpCpus;
  assert.is(pumpsOf({ flags, cores: 2 }), null, 'none would be left over');
  assert.equal(pumpsOf({ flags, cores: 3 }), [null]);
  assert.equal(pumpsOf({ flags: { ...flags, cpus: [0, 1] }, cores: 2 }), [1]);
  assert.is(pumpsOf({ flags: { ...flags, cpus: [1] }, cores: 8 }), null);
  const split = { ...flags, layout: 'split' } as const;
  assert.is(pumpsOf({ flags: split, cores: 3 }), null);
  assert.equal(pumpsOf({ flags: { ...split, cpus: [3, 2, 1] }, cores: 4 }), [1]);
  assert.equal(pumpsOf({ flags: { ...flags, workers: 2 }, link: card(2) }), [null, null]);
  assert.is(pumpsOf({ flags: { ...flags, transmit: 'ring' } }), null);
});

test('a queue that nobody serves here is a warning with the lines that mend it', () => {
  const { warnings } = deploy({ flags: { queues: [1] }, link: card(3) });
  assert.match(warnings.join(), /queue 0, 2 of eth0 is not served here.*--queues all/);
  assert.match(warnings.join(), /comes by the kernel, unless another launcher serves it;/);
  assert.match(
    warnings.join(),
    /ethtool -N eth0 flow-type udp4 dst-ip 10\.0\.0\.1 dst-port 5000 action 1/,
  );
  assert.equal(deploy({ link: card(3) }).warnings, []);
  assert.equal(deploy({ flags: { queues: [1], mode: 'socket' }, link: card(3) }).warnings, []);
});

for (const [driver, driver_version, kernel, has, isModule = false] of [
  ['ice', '7.3.4', '7.3.4', false],
  ['ena', '6.18.5', '6.18.5', true],
  ['ena', '2.13.1g', '6.8.0-1019-aws', false],
  ['ena', '2.17.0g', '6.8.0-1019-aws', true],
  ['mlx5_core', '6.0.19', '6.0.19', false],
  ['mlx5_core', '6.1.0', '6.1.0', true],
  ['i40e', '5.18.19', '5.18.19', false],
  ['i40e', '5.19.1', '5.19.1', true],
  ['virtio_net', '1.0.0', '6.18.5', true],
  ['virtio_net', '1.0.0', '6.18.5', false, true],
  ['igb', '6.14.0', '6.14.0', true, true],
] as const)
  test(`auto ${has ? 'tries' : 'passes over'} zero copy on ${driver} ${driver_version}${isModule ? ', a module' : ''}, Linux ${kernel}`, () => {
    const link = card(1, { driver, driver_version });
    const { modes, fallbacks, warnings } = deploy({ link, kernel, isModule });
    assert.equal(modes, [...(has ? ['zerocopy'] : []), 'copy', 'skb', 'socket']);
    assert.equal(warnings, []);
    const named = deploy({ link, kernel, isModule, flags: { mode: 'zerocopy' } });
    assert.equal(named.modes, ['zerocopy'], 'who names it has it');
    if (has) return assert.equal([fallbacks, named.warnings], [[], []]);
    assert.equal(
      fallbacks.map(({ mode }) => mode),
      ['zerocopy'],
    );
    assert.match(fallbacks[0]?.reason ?? '', new RegExp(`^${driver}: .*\\(.+\\)$`));
    assert.equal(named.warnings, [`${fallbacks[0]?.reason}; start fantail up --mode auto`]);
  });

test('the driver facts are those of docs/zero-copy.md, row by row', () => {
  const page = readFileSync(join(ROOT, 'docs', 'zero-copy.md'), 'utf8');
  const table = page.slice(page.indexOf('| driver |')).split('\n\n')[0] ?? '';
  const rows = DRIVER_FACTS.map(({ driver, kernels, versions, asModule, what, ...rest }) => {
    const { handling, source } = rest;
    const text = (version: readonly number[]) => version.join('.');
    const holds = [
      ...(kernels?.from === undefined ? [] : [`from ${text(kernels.from)}`]),
      ...(kernels?.below === undefined ? [] : [`before ${text(kernels.below)}`]),
      ...(versions?.upTo === undefined ? [] : [`its own versions up to ${text(versions.upTo)}`]),
      ...(asModule ? ['where it is a module'] : []),
    ];
    return `| ${[driver, holds.join(', ') || 'any', what, handling, source].join(' | ')} |`;
  });
  assert.equal(table.trimEnd().split('\n').slice(2), rows);
});

test('lists of numbers take single ones and ranges, and refuse the rest', () => {
  assert.equal(numberList('--queues', 63)('0-3,7'), [0, 1, 2, 3, 7]);
  for (const text of ['', ',', '1-', '3-1', 'a', '64', '-1', '1.5', '0,,1'])
    assert.throws(
      () => numberList('--queues', 63)(text),
      (error: unknown) => error instanceof UsageError,
    );
});

test('a control port that others reach needs a token', () => {
  const control = { address: '10.0.0.1', port: 12345 };
  assert.throws(
    () => deploy({ flags: { control } }),
    (error: unknown) => error instanceof UsageError && /needs --token-file/.test(error.message),
  );
});

test.run();
