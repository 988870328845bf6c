/**
 * What a guest is made of: QEMU, a kernel and busybox, as Debian's packages, unpacked into a folder
 * of the user's cache; nothing is installed. apt runs over roots of its own there, with the mirror
 * that this machine is set up for.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { cached } from '../rig/cache.js';
import { ROOT, run } from '../rig/program.js';

/** Versions of the kernel; the first grants zero copy to neither card. */
export const KERNELS = ['6.12', '6.18', 'newest'] as const;
export type Kernel = (typeof KERNELS)[number];
/** Suites of Debian that have them. */
const SUITES: Record<Kernel, string> = {
  '6.12': 'trixie',
  '6.18': 'trixie-backports',
  newest: 'trixie-backports',
};

/** It has a QEMU with an emulated igb (8.0 or newer), for the libraries of the suite below it. */
const QEMU_SUITE = 'bookworm-backports';
const BASE = 'bookworm';
export const KEY = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Of one step of apt: 140 MB come over a slow line. */
const APT_MS_MAX = 900_000;

/** Why no guest can be made here, or null. */
export function lackForGuests(): string | null {
  if (process.arch !== 'x64') return `guests are x86_64 machines, this one is ${process.arch}`;
  if (!existsSync(KEY)) return 'no Debian archive key: install debian-archive-keyring';
  // a guest has memory of its own in these places
  if (/^\/(?:tmp|run|var\/tmp)\//.test(ROOT)) return `a guest does not see ${ROOT}`;
  return mirror() === null ? 'apt of this machine knows no Debian mirror' : null;
}

/** The address of the mirror that apt uses. */
export function mirror(): string | null {
  const folder = '/etc/apt/sources.list.d';
  const files = ['/etc/apt/sources.list', ...names(folder).map((name) => join(folder, name))];
  for (const file of files.filter((name) => existsSync(name))) {
    const text = readFileSync(file, 'utf8');
    for (const [address] of text.matchAll(/\bhttps?:\/\/\S+/g))
      if (/\/debian\/?$/.test(address)) return address;
  }
  return null;
}

const names = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);

/** A root of apt's, for suites that this machine does not follow. */
class Apt {
  private readonly options: string[];

  constructor(
    private readonly root: string,
    suites: readonly string[],
    architectures: readonly string[],
  ) {
    mkdirSync(join(root, 'lists', 'partial'), { recursive: true });
    mkdirSync(join(root, 'cache', 'archives', 'partial'), { recursive: true });
    copyFileSync('/var/lib/dpkg/status', join(root, 'status'));
    const lines = suites.map((suite) => `deb [signed-by=${KEY}] ${mirror()} ${suite} main\n`);
    writeFileSync(join(root, 'sources.list'), lines.join(''));
    this.options = Object.entries({
      'Dir::State::Lists': join(root, 'lists'),
      'Dir::State::status': join(root, 'status'),
      'Dir::Cache': join(root, 'cache'),
      'Dir::Etc::SourceList': join(root, 'sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'APT::Sandbox::User': 'root',
      'APT::Architectures': architectures.join(),
      'Acquire::Languages': 'none',
    }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    this.get('update');
  }

  get(...words: string[]): string {
    return run('apt-get', ['-qq', ...this.options, ...words], '', APT_MS_MAX);
  }

  /** The packages, and what they need that this machine does not have. */
  needed(suite: string, packages: readonly string[]): Set<string> {
    const plan = this.get(
      ...['install', '--no-install-recommends', '--print-uris', '-y', '-t', suite, ...packages],
    );
    const found = [...plan.matchAll(/^'\S+' ([^_\s]+)_[^_\s]+_(\w+)\.deb/gm)];
    const named = found.map(([, name, machine]) =>
      machine === 'all' ? name : `${name}:${machine}`,
    );
    return new Set([...packages, ...named.filter((name) => name !== undefined)]);
  }

  /** Packages whose names begin so. */
  named(prefix: string): string[] {
    return run('apt-cache', ['-qq', ...this.options, 'pkgnames', prefix]).split('\n');
  }

  dependsOf(name: string): string {
    return run('apt-cache', ['-qq', ...this.options, 'depends', name]);
  }

  /** Fetches those and unpacks them all into one folder. */
  unpack(suite: string, packages: Iterable<string>, into: string): void {
    const archives = join(this.root, 'archives');
    rmSync(archives, { recursive: true, force: true });
    mkdirSync(archives);
    const words = ['download', '-t', suite, ...packages];
    run('env', ['-C', archives, 'apt-get', '-qq', ...this.options, ...words], '', APT_MS_MAX);
    for (const name of readdirSync(archives)) run('dpkg-deb', ['-x', join(archives, name), into]);
    rmSync(archives, { recursive: true });
  }
}

interface Fetched {
  readonly name: string;
  readonly suites: readonly string[];
  readonly architectures?: readonly string[];
  readonly parts: readonly RegExp[];
}

/** Makes a folder of the cache, by an apt of its own, and demands that these are in it then. */
function filled(
  { name, suites, architectures = ['amd64'], parts }: Fetched,
  fill: (apt: Apt, folder: string) => void,
): string {
  return cached(`vm/${name}`, (folder) => {
    const root = `${folder}.apt`;
    try {
      fill(new Apt(root, suites, architectures), folder);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    const found = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    for (const part of parts)
      if (!found.some((path) => part.test(path)))
        throw new Error(`nothing like ${part} is in Debian's packages for ${name}`);
  });
}

/** QEMU and a static busybox, as from the root of a file system. */
export function qemuFolder(): string {
  const parts = [/bin\/qemu-system-x86_64$/, /bin\/busybox$/];
  return filled({ name: 'qemu', suites: [BASE, QEMU_SUITE], parts }, (apt, folder) => {
    const needed = apt.needed(QEMU_SUITE, ['qemu-system-x86', 'busybox-static']);
    apt.unpack(QEMU_SUITE, needed, folder);
  });
}

/** Such a kernel, the newest when it was fetched, with its modules. */
export function kernelFolder(kernel: Kernel): string {
  const suite = SUITES[kernel];
  const parts = [/vmlinuz(-[^/]*)?$/, /virtio_net\.ko/, /9p\.ko/];
  return filled({ name: `kernel-${kernel}`, suites: [suite], parts }, (apt, folder) => {
    const image =
      kernel === 'newest'
        ? /linux-image-[0-9]\S*/.exec(apt.dependsOf('linux-image-amd64'))?.[0]
        : newestOf(apt.named(`linux-image-${kernel}.`));
    if (image === undefined) throw new Error(`${suite} has no kernel ${kernel} for amd64`);
    const version = image.slice('linux-image-'.length);
    // Newer kernels have their modules in a package of their own.
    const own = [`linux-binary-${version}`, `linux-modules-${version}`];
    const all = own.flatMap((name) => apt.named(name));
    apt.unpack(suite, own.every((name) => all.includes(name)) ? own : [image], folder);
  });
}

/** Of linux-image-6.18.9+deb13-amd64 and others like it, the highest of the plain ones. */
function newestOf(images: readonly string[]): string | undefined {
  const patchOf = (image: string) =>
    Number(/^linux-image-\d+\.\d+\.(\d+)\+deb\d+(?:\.\d+)?-amd64$/.exec(image)?.[1] ?? -1);
  const plain = images.filter((image) => patchOf(image) >= 0);
  return plain.sort((a, b) => patchOf(a) - patchOf(b)).at(-1);
}

/** Libraries of fantail's, for the other machine. */
const ARM64_LIBRARIES = ['libbpf', 'libmnl', 'libcap-ng', 'libseccomp', 'libelf', 'zlib1g'];

/** A compiler for arm64, an emulator of its programs, and the libraries, as from a root. */
export function arm64Folder(): string {
  const parts = [/bin\/aarch64-linux-gnu-g\+\+$/, /bin\/qemu-aarch64-static$/, /libbpf\.so$/];
  const architectures = ['amd64', 'arm64'];
  return filled({ name: 'arm64', suites: [BASE], architectures, parts }, (apt, folder) => {
    const tools = ['g++-aarch64-linux-gnu', 'qemu-user-static', 'nlohmann-json3-dev'];
    const libraries = ARM64_LIBRARIES.map((name) => `${name}-dev:arm64`);
    apt.unpack(BASE, apt.needed(BASE, [...tools, ...libraries]), folder);
  });
}
