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

/** Kernels by the suite of Debian that has them. */
export const KERNELS = ['trixie-backports', 'trixie', 'sid'] as const;
export type Kernel = (typeof KERNELS)[number];

/** It has a QEMU with an emulated igb (8.0 or newer), for the libraries of the suite below it. */
const QEMU_SUITE = 'bookworm-backports';
const QEMU_BASE = 'bookworm';
const KEY = '/usr/share/keyrings/debian-archive-keyring.gpg';
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
function mirror(): string | null {
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
      'Acquire::Languages': 'none',
    }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    this.get('update');
  }

  get(...words: string[]): string {
    return run('apt-get', ['-qq', ...this.options, ...words], '', APT_MS_MAX);
  }

  /** The package, and what it needs that this machine does not have. */
  needed(suite: string, name: string): Set<string> {
    const plan = this.get(
      ...['install', '--no-install-recommends', '--print-uris', '-y', '-t', suite, name],
    );
    const found = [...plan.matchAll(/^'\S+' ([^_\s]+)_/gm)].map(([, each = '']) => each);
    return new Set([name, ...found]);
  }

  has(name: string): boolean {
    const all = run('apt-cache', ['-qq', ...this.options, 'pkgnames', name]);
    return all.split('\n').includes(name);
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

/** Makes a folder of the cache, by an apt of its own, and demands that these are in it then. */
function filled(
  name: string,
  suites: readonly string[],
  parts: readonly RegExp[],
  fill: (apt: Apt, folder: string) => void,
): string {
  return cached(`vm/${name}`, (folder) => {
    const root = `${folder}.apt`;
    try {
      fill(new Apt(root, suites), folder);
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
  return filled('qemu', [QEMU_BASE, QEMU_SUITE], parts, (apt, folder) => {
    apt.unpack(
      QEMU_SUITE,
      [...apt.needed(QEMU_SUITE, 'qemu-system-x86'), 'busybox-static'],
      folder,
    );
  });
}

/** A kernel of that suite, the newest when it was fetched, with its modules. */
export function kernelFolder(suite: Kernel): string {
  const parts = [/vmlinuz(-[^/]*)?$/, /virtio_net\.ko/, /9p\.ko/];
  return filled(`kernel-${suite}`, [suite], parts, (apt, folder) => {
    const image = /linux-image-[0-9]\S*/.exec(apt.dependsOf('linux-image-amd64'))?.[0];
    if (image === undefined) throw new Error(`${suite} has no kernel for amd64`);
    const version = image.slice('linux-image-'.length);
    // Newer suites have the kernel and its modules in packages of their own.
    const own = [`linux-binary-${version}`, `linux-modules-${version}`];
    apt.unpack(suite, own.every((name) => apt.has(name)) ? own : [image], folder);
  });
}
