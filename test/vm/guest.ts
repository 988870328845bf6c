/**
 * A guest of QEMU whose card does real AF_XDP zero copy, which no virtual link has. Emulated in
 * software: no KVM is needed, and no time that it takes says anything.
 *
 *   eth0  the card under test: virtio_net or igb
 *   eth1  its peer on the wire: virtio_net, since an emulated igb loses bursts
 *
 * Its files are this machine's, read-only (9p), with memory for what is written: Node, libraries
 * and this folder are there as they are.
 */
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { atEnd, ROOT, run } from '../rig/program.js';
import { type Between, between } from './bridge.js';
import { type Kernel, kernelFolder, qemuFolder } from './packages.js';

export const CARDS = ['virtio_net', 'igb'] as const;
export type Card = (typeof CARDS)[number];

export interface GuestOptions {
  readonly card: Card;
  readonly kernel: Kernel;
  /** When it counts as hanging. */
  readonly secondsMax: number;
  /** Of each line that it writes, as it comes. */
  readonly onLine?: (line: string) => void;
}

export interface GuestEnd {
  /** The command's own; null: the guest ended without one, or had no more time. */
  readonly status: number | null;
  readonly isLate: boolean;
  /** What the command wrote. */
  readonly output: string;
  /** Lines of the kernel's log that tell of a fault of the kernel. */
  readonly warnings: readonly string[];
}

const CPUS = 2;
/** Beyond what is reserved, too: mem(4) reaches no further than the last of it. */
const MEMORY_MIB = 1280;
/**
 * Memory that the kernel leaves alone, so that it stays zero. virtio_net, as a module, takes the
 * header of what it sends in zero copy from here: it gives the card a static variable's address as
 * if a module's variables were in the kernel's own image (virt_to_phys()). Without randomization
 * (nokaslr) modules are loaded 1 GiB behind where that begins.
 */
export const FOREIGN_HEADER = { begin: 0x4000_0000, size_mib: 128 } as const;
const RESERVED = `nokaslr memmap=${FOREIGN_HEADER.size_mib}M$${FOREIGN_HEADER.begin}`;
/** What the init of the guest writes around the command's output, and before a kernel's warning. */
const BEGIN = 'guest-begins';
const END = 'guest-ends';
const WARNING = 'guest-warning';
/** In the order in which they can be loaded: each needs some of those before it. */
const MODULES = [
  ...['failover', 'net_failover', 'virtio_net', 'dca', 'i2c-algo-bit', 'igb'],
  ...['netfs', 'fscache', '9pnet', '9pnet_virtio', '9p', 'veth'],
];

/** An igb has queues of its own making, and hashes to them itself. */
const WIRE_QUEUES: Record<Card, number> = { virtio_net: 2, igb: 1 };
/** Without both flags virtio_net refuses zero copy. */
const VIRTIO_FLAGS = 'disable-legacy=on,iommu_platform=on';
const MAC = '52:54:00:00:00:0';
const DEVICES: Record<Card, (queues: number) => string[]> = {
  virtio_net: (queues) => [
    '-device',
    `virtio-net-pci,netdev=h0,romfile=,mac=${MAC}1,${VIRTIO_FLAGS}${
      // an interrupt for each way of each queue, one for control, one for configuration
      queues > 1 ? `,mq=on,vectors=${2 * queues + 2}` : ''
    }`,
  ],
  igb: () => [
    ...['-device', 'pcie-root-port,id=port1,chassis=1,slot=1'],
    ...['-device', `igb,bus=port1,netdev=h0,romfile=,mac=${MAC}1`],
  ],
};

/** Runs the words as root in a guest, in this folder. */
export async function inGuest(options: GuestOptions, words: readonly string[]): Promise<GuestEnd> {
  const qemu = qemuFolder();
  const kernel = kernelFolder(options.kernel);
  const folder = mkdtempSync(join(tmpdir(), 'fantail-guest-'));
  const clean = atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const wire = between(WIRE_QUEUES[options.card]);
  try {
    const initrd = makeInitrd(folder, { qemu, kernel }, words);
    const library = (root: string) => join(qemu, root, 'lib', 'x86_64-linux-gnu');
    const [program = '', ...argv] = [
      ...wire.prefix,
      ...['env', `LD_LIBRARY_PATH=${library('usr')}:${library('')}`],
      join(qemu, 'usr', 'bin', 'qemu-system-x86_64'),
      ...qemuWords(options.card, wire, {
        qemu,
        image: fileIn(kernel, /(?:^|\/)vmlinuz(?:-[^/]*)?$/),
        initrd,
      }),
    ];
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    const kill = atEnd(() => child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      if (options.onLine) createInterface(stream).on('line', options.onLine);
    }
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = child.kill('SIGKILL');
    }, options.secondsMax * 1000);
    try {
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('close', resolve);
      });
    } finally {
      clearTimeout(timer);
      kill();
    }
    return { ...endOf(said.replaceAll('\r', '')), isLate };
  } finally {
    wire.close();
    clean();
  }
}

/** What a guest's console says of the command. */
export function endOf(said: string): Omit<GuestEnd, 'isLate'> {
  const begin = said.indexOf(`\n${BEGIN}\n`);
  const end = new RegExp(`^${END} (\\d+)$`, 'm').exec(said);
  const output = begin < 0 ? said : said.slice(begin + BEGIN.length + 2, end?.index);
  const isWarning = (line: string) => line.startsWith(WARNING);
  return {
    status: end === null ? null : Number(end[1]),
    output: output
      .split('\n')
      .filter((line) => !isWarning(line))
      .join('\n'),
    warnings: said
      .split('\n')
      .filter(isWarning)
      .map((line) => line.slice(WARNING.length + 1)),
  };
}

function fileIn(folder: string, name: RegExp): string {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const file = found.find((path) => name.test(path));
  if (file === undefined) throw new Error(`${folder} holds nothing like ${name}; remove it`);
  return join(folder, file);
}

function qemuWords(
  card: Card,
  wire: Between,
  { qemu, image, initrd }: { qemu: string; image: string; initrd: string },
): string[] {
  const share = join(qemu, 'usr', 'share');
  return [
    ...['-L', join(share, 'qemu'), '-L', join(share, 'seabios')],
    ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
    ...['-smp', String(CPUS), '-m', String(MEMORY_MIB)],
    ...['-nographic', '-nodefaults', '-no-reboot', '-serial', 'mon:stdio'],
    ...['-kernel', image, '-initrd', initrd],
    ...['-append', `console=ttyS0 panic=-1 quiet mitigations=off net.ifnames=0 ${RESERVED}`],
    ...['-fsdev', 'local,id=root,path=/,security_model=none,readonly=on,multidevs=remap'],
    ...['-device', 'virtio-9p-pci,fsdev=root,mount_tag=files'],
    ...wire.words,
    ...DEVICES[card](wire.queues),
    ...['-device', `virtio-net-pci,netdev=h1,romfile=,mac=${MAC}2`],
  ];
}

/** Busybox, the modules, and a first process that loads them, mounts, and runs the words. */
function makeInitrd(
  folder: string,
  { qemu, kernel }: { qemu: string; kernel: string },
  words: readonly string[],
): string {
  const root = join(folder, 'root');
  for (const name of ['bin', 'proc', 'sys', 'dev', 'modules', 'files'])
    mkdirSync(join(root, name), { recursive: true });
  const busybox = join(root, 'bin', 'busybox');
  copyFileSync(fileIn(qemu, /(?:^|\/)bin\/busybox$/), busybox);
  const loaded = copyModules(kernel, join(root, 'modules'));
  writeFileSync(join(root, 'init'), initScript(loaded, words), { mode: 0o755 });
  const initrd = join(folder, 'initrd');
  run('sh', [
    ...['-c', `cd "$1" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1 > "$2"`],
    ...['sh', root, initrd],
  ]);
  return initrd;
}

/** Those of MODULES that the kernel does not have built in. */
function copyModules(kernel: string, into: string): string[] {
  const all = readdirSync(kernel, { recursive: true, encoding: 'utf8' });
  return MODULES.filter((name) => {
    const file = all.find((path) => new RegExp(`/${name}\\.ko(\\.xz|\\.zst)?$`).test(path));
    if (file === undefined) return false;
    const from = join(kernel, file);
    const target = join(into, `${name}.ko`);
    if (file.endsWith('.xz')) run('sh', ['-c', 'xz -dc "$1" > "$2"', 'sh', from, target]);
    else if (file.endsWith('.zst')) run('sh', ['-c', 'zstd -qdc "$1" > "$2"', 'sh', from, target]);
    else writeFileSync(target, readFileSync(from));
    return true;
  });
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

function initScript(modules: readonly string[], words: readonly string[]): string {
  const environment = [
    'HOME=/tmp',
    'NO_COLOR=1',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ];
  const command = `cd ${quoted(ROOT)} && ${words.map(quoted).join(' ')}`;
  return `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for module in ${modules.join(' ')}; do insmod /modules/$module.ko; done
tries=0; while [ ! -e /sys/class/net/eth1 ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries+1)); done
# by MAC: the one that ends in 1 is the card under test
ip link set lo up
for name in eth0 eth1; do ip link set $name name was-$name; done
for name in was-eth0 was-eth1; do
  case $(cat /sys/class/net/$name/address) in *1) ip link set $name name eth0;; *) ip link set $name name eth1;; esac
done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro files /files
for name in tmp run var/tmp; do mount -t tmpfs tmpfs /files/$name; done
mount -t proc proc /files/proc; mount -t sysfs sysfs /files/sys; mount -t devtmpfs devtmpfs /files/dev
mount -t bpf bpf /files/sys/fs/bpf
mkdir -p /files/dev/pts /files/dev/shm /files/run/netns; mount -t tmpfs tmpfs /files/dev/shm
echo; echo ${BEGIN}
chroot /files /usr/bin/env -i ${environment.join(' ')} /bin/sh -c ${quoted(command)}
status=$?
echo
dmesg | grep -E 'Oops|BUG:|WARNING:' | sed 's/^/${WARNING} /'
echo "${END} $status"
poweroff -f
`;
}
