/**
 * Goal: what no test can make on a machine that is not its own (governors, NUMA, interrupts,
 * isolation, the source of the clock, VLANs) is read from the files where the kernel has it, judged
 * right, and mended by the printed line. These count beside the faults that are made for real.
 *
 * Method: a folder that holds such files, laid out as the kernel documents them (in its
 * Documentation/: ABI/testing/sysfs-devices-system-cpu, sysfs-class-net, sysfs-bus-pci for
 * numa_node and msi_irqs, ABI/stable/sysfs-devices-node,
 * ABI/obsolete/sysfs-devices-system-clocksource, core-api/irq/irq-affinity.rst,
 * admin-guide/sysctl/net.rst). The printed line is run on that folder.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { linesOf } from '../../src/doctor/cures.js';
import { Files } from '../../src/doctor/files.js';
import { checkMerging, checkVlan } from '../../src/doctor/findings/card.js';
import { checkClock, checkClocksource, checkKept } from '../../src/doctor/findings/clock.js';
import {
  checkGovernor,
  checkIrqs,
  checkIsolation,
  checkNuma,
} from '../../src/doctor/findings/cores.js';
import { checkJit, checkKernel } from '../../src/doctor/findings/kernel.js';
import { readMachine } from '../../src/doctor/machine.js';
import { chainsOf, inodesOfPort, readDevice } from '../../src/doctor/network.js';
import type { Finding } from '../../src/domain/finding.js';
import { type Given, SHELL, subjectOf } from './subjects.js';

const test = suite('machine');

/** Two nodes of four cores; eth0 is on node 1, its interrupts on cores 4 and 5. */
const MACHINE: Readonly<Record<string, string>> = {
  'sys/devices/system/cpu/online': '0-7',
  'sys/devices/system/cpu/isolated': '6-7',
  ...Object.fromEntries(
    Array.from({ length: 8 }, (_, core) => [
      `sys/devices/system/cpu/cpu${core}/cpufreq/scaling_governor`,
      'performance',
    ]),
  ),
  'sys/devices/system/node/node0/cpulist': '0-3',
  'sys/devices/system/node/node1/cpulist': '4-7',
  'sys/devices/system/node/possible': '0-1',
  'sys/devices/system/clocksource/clocksource0/current_clocksource': 'tsc',
  'sys/devices/system/clocksource/clocksource0/available_clocksource': 'tsc hpet acpi_pm',
  'proc/net/protocols':
    'protocol  size sockets  memory\nXDP        960      0      -1\nUDP       1088      5       0',
  'proc/sys/net/core/bpf_jit_enable': '1',
  'sys/class/net/eth0/ifindex': '2',
  'sys/class/net/eth0/iflink': '2',
  'sys/class/net/eth0/device/numa_node': '1',
  'sys/class/net/eth0/device/msi_irqs/41': 'msix',
  'sys/class/net/eth0/device/msi_irqs/42': 'msix',
  'proc/irq/41/smp_affinity_list': '4',
  'proc/irq/42/smp_affinity_list': '5',
};

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  }
}

function withTree(
  files: Readonly<Record<string, string>>,
  work: (root: string, look: (given?: Given) => ReturnType<typeof subjectOf>) => void,
): void {
  const root = mkdtempSync(join(tmpdir(), 'fantail-machine-'));
  try {
    write(root, { ...MACHINE, ...files });
    work(root, (given = {}) =>
      subjectOf({
        ...given,
        machine: readMachine(root),
        device: readDevice(new Files(root), 'eth0'),
        cores: [0, 1, 2, 3, 4, 5, 6, 7],
      }),
    );
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Runs the printed line on that folder instead of the machine's. */
function mend(root: string, finding: Finding): void {
  const [line = ''] = linesOf(finding, SHELL);
  const here = line.replaceAll(/\/(sys|proc)\//g, `${root}/$1/`);
  const { status, stderr } = spawnSync('sh', ['-c', here], { encoding: 'utf8' });
  assert.is(status, 0, `${here}: ${stderr}`);
}

interface Case {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly given?: Given;
  readonly check: (subject: ReturnType<typeof subjectOf>) => Finding | null;
  readonly says: RegExp;
  /** What the first line is; null: there is none, and that is said. */
  readonly line: RegExp | null;
  /** The line writes files of the folder. */
  readonly isMended?: boolean;
  readonly healthy?: Given;
}

const NAMED = { flags: { cpus: [6, 7] } } as const;

const CASES: readonly Case[] = [
  {
    name: 'governor',
    files: { 'sys/devices/system/cpu/cpu6/cpufreq/scaling_governor': 'powersave' },
    given: NAMED,
    check: checkGovernor,
    says: /governor of core 6 is powersave/,
    line: /^for core in 6; do echo performance > /,
    isMended: true,
  },
  {
    name: 'irq_affinity',
    files: { 'proc/irq/42/smp_affinity_list': '6' },
    given: NAMED,
    check: checkIrqs,
    says: /interrupt 42 of eth0 comes to a core of --cpus/,
    line: /^for irq in 42; do echo 0,1,2,3,4,5 > /,
    isMended: true,
  },
  {
    name: 'irq_affinity, where the kernel tells which core of several it is',
    files: { 'proc/irq/42/smp_affinity_list': '0-7', 'proc/irq/42/effective_affinity_list': '7' },
    given: NAMED,
    check: checkIrqs,
    says: /interrupt 42/,
    line: /irq in 42/,
  },
  {
    name: 'isolation',
    files: { 'sys/devices/system/cpu/isolated': '' },
    given: NAMED,
    check: checkIsolation,
    says: /core 6,7 of --cpus is not isolated/,
    line: null,
  },
  {
    name: 'numa',
    files: { 'sys/class/net/eth0/device/numa_node': '0' },
    given: NAMED,
    check: checkNuma,
    says: /core 6, 7 of --cpus is on node 1, and eth0 on node 0/,
    line: /up eth0 10\.0\.0\.1 5000 --cpus 0,1$/,
  },
  {
    name: 'clocksource',
    files: { 'sys/devices/system/clocksource/clocksource0/current_clocksource': 'hpet' },
    check: checkClocksource,
    says: /read from hpet/,
    line: /^echo tsc > /,
    isMended: true,
  },
  {
    name: 'clocksource, where there is no better one',
    files: {
      'sys/devices/system/clocksource/clocksource0/current_clocksource': 'acpi_pm',
      'sys/devices/system/clocksource/clocksource0/available_clocksource': 'acpi_pm',
    },
    check: checkClocksource,
    says: /acpi_pm/,
    line: null,
  },
  {
    name: 'bpf_jit',
    files: { 'proc/sys/net/core/bpf_jit_enable': '0' },
    check: checkJit,
    says: /bpf_jit_enable is 0/,
    line: /^sysctl -w net\.core\.bpf_jit_enable=1$/,
  },
  {
    name: 'af_xdp',
    files: { 'proc/net/protocols': 'protocol\nUDP  1088' },
    check: checkKernel,
    says: /has no AF_XDP/,
    line: null,
  },
  {
    name: 'kernel_old',
    files: {},
    given: { kernel: '5.4.0-99-generic' },
    check: checkKernel,
    says: /Linux 5\.4\.0/,
    line: null,
  },
  {
    name: 'offload_vlan',
    files: {
      'proc/net/vlan/eth0.5': 'eth0.5  VID: 5\nDevice: eth0',
      'proc/net/vlan/config': 'VLAN',
    },
    given: { features: [{ name: 'rx-vlan-hw-parse', changeable: true }] },
    check: checkVlan,
    says: /takes VLAN tags off, and carries eth0\.5/,
    line: /^ethtool -K eth0 rxvlan off$/,
  },
  {
    name: 'offload_merges, of a driver that does not let it be switched off',
    files: {},
    given: { features: [{ name: 'large-receive-offload', changeable: false }] },
    check: checkMerging,
    says: /large-receive-offload/,
    line: null,
    healthy: {},
  },
];

for (const { name, files, given, check, says, line, isMended, healthy } of CASES)
  test(`in files as the kernel lays them out: ${name}`, () => {
    withTree({}, (_, look) => {
      const fine = healthy ?? (name === 'kernel_old' ? {} : given);
      assert.is(check(look(fine)), null, 'a machine without it');
    });
    withTree(files, (root, look) => {
      const finding = check(look(given));
      assert.ok(finding);
      assert.match(finding.what, says);
      const [first] = linesOf(finding, SHELL);
      if (line === null) {
        assert.is(first, undefined);
        assert.ok(finding.instead, 'what to do instead');
        return;
      }
      assert.match(first ?? '', line);
      if (!isMended) return;
      mend(root, finding);
      assert.is(check(look(given)), null, `after: ${first}`);
    });
  });

test('of a virtio device, node and interrupts are those of the PCI device above it', () => {
  withTree({}, (root) => {
    const pci = 'sys/devices/pci0000:00/0000:00:03.0';
    write(root, {
      [`${pci}/numa_node`]: '1',
      [`${pci}/msi_irqs/27`]: 'msix',
      [`${pci}/virtio0/net/eth1/ifindex`]: '3',
      'proc/irq/27/smp_affinity_list': '2-3',
    });
    symlinkSync('../..', join(root, pci, 'virtio0/net/eth1/device'));
    symlinkSync(
      `../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth1`,
      join(root, 'sys/class/net/eth1'),
    );
    const { node, irqs } = readDevice(new Files(root), 'eth1');
    assert.is(node, 1);
    assert.equal(irqs, [{ number: 27, cores: [2, 3] }]);
  });
});

test('the other end of a veth is the one that names it in turn', () => {
  const links = (pairs: Record<string, [number, number]>) =>
    Object.fromEntries(
      Object.entries(pairs).flatMap(([name, [index, link]]) => [
        [`sys/class/net/${name}/ifindex`, String(index)],
        [`sys/class/net/${name}/iflink`, String(link)],
      ]),
    );
  const peerOf = (files: Record<string, string>) => {
    let peer: string | null = null;
    withTree(files, (root) => {
      symlinkSync('../../devices/virtual/net/br0', join(root, 'sys/class/net/eth0/master'));
      const device = readDevice(new Files(root), 'eth0');
      assert.is(device.master, 'br0');
      peer = device.peer;
    });
    return peer;
  };
  assert.is(peerOf(links({ eth0: [2, 3], far: [3, 2] })), 'far');
  // an index of another namespace, which by chance is somebody's here
  assert.is(peerOf(links({ eth0: [2, 3], other: [3, 3] })), null);
  assert.is(peerOf({}), null);
});

test('who has a port is whose address is the one, or any; not whose is another', () => {
  // as Linux 6.18 prints /proc/net/udp: 10.0.0.1:5000, any:5000, 127.0.0.1:5000, 10.0.0.1:5001
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops',
    '  10: 0100000A:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 71 2 0000000000000000 0',
    '  11: 00000000:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 72 2 0000000000000000 0',
    '  12: 0100007F:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 73 2 0000000000000000 0',
    '  13: 0100000A:1389 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 74 2 0000000000000000 0',
  ].join('\n');
  assert.equal(inodesOfPort(table, { ip: '10.0.0.1', port: 5000 }), ['71', '72']);
});

test('tables of iptables-legacy are seen beside those of nf_tables', () => {
  withTree({}, (root) => {
    const files = new Files(root);
    assert.is(chainsOf(files, null), null, 'neither is to be seen');
    assert.equal(chainsOf(files, []), []);
    write(root, { 'proc/self/net/ip_tables_names': 'nat\nfilter' });
    assert.equal(chainsOf(files, null), ['filter of iptables-legacy']);
    assert.equal(chainsOf(files, ['t c']), ['t c', 'filter of iptables-legacy']);
  });
});

test('a clock that stands still must be mended where stamps are used, and one that nobody keeps is told of', () => {
  const frozen = { passed_us: 0, monotonic_us: 20_000, isSynchronised: true, isPreloaded: false };
  assert.is(checkClock(subjectOf({ clock: frozen }))?.level, 'better');
  const stamped = checkClock(subjectOf({ clock: frozen, isStamped: true }));
  assert.is(stamped?.level, 'must');
  assert.equal(linesOf(stamped as Finding, SHELL), [], 'no line sets a clock right');
  const alone = { ...frozen, passed_us: 20_000, isSynchronised: false };
  assert.is(checkKept(subjectOf({ clock: alone })), null, 'nobody looks at it');
  const kept = checkKept(subjectOf({ clock: alone, isStamped: true, phc: 1 }));
  assert.match(kept?.what ?? '', /eth0 has one of its own, \/dev\/ptp1/);
  assert.match(kept?.instead ?? '', /ptp4l -i eth0/);
  assert.match(linesOf(kept as Finding, SHELL)[0] ?? '', /timedatectl set-ntp true/);
  const synchronised = { ...alone, isSynchronised: true };
  assert.is(checkKept(subjectOf({ clock: synchronised, isStamped: true })), null);
});

test.run();
