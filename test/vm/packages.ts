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
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CACHE } from '../rig/cache.js';
import { run } from '../rig/program.js';

/** Kernels by the suite of Debian that has them. */
export const KERNELS = ['trixie-backports', 'trixie', 'sid'] as const;
export type Kernel = (typeof KERNELS)[number];

/** The oldest one that has a QEMU with an emulated igb (from QEMU 8.0 on). */
const QEMU_SUITES = ['bookworm', 'bookworm-backports'];
const KEY = '/usr/share/keyrings/debian-archive-keyring.gpg';
const FOLDER = join(CACHE, 'vm');

/** Why no guest can be made here, or null. */
export function lackForGuests(): string | null {
  if (process.arch !== 'x64') return `guests are x86_64 machines, this one is ${process.arch}`;
  if (!existsSync(KEY)) return 'no Debian archive key: install debian-archive-keyring';
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
      'APT::Update::Post-Invoke-Success': '',
      'APT::Sandbox::User': 'root',
      'Acquire::Languages': 'none',
    }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    this.get('update');
  }

  get(...words: string[]): string {
    return run('apt-get', ['-qq', ...this.options, ...words]);
  }

  /** The package and what it needs that this machine does not have. */
  needed(suite: string, name: string): string[] {
    const plan = this.get(
      ...['install', '--no-install-recommends', '--print-uris', '-y', '-t', suite, name],
    );
    return [...plan.matchAll(/^'\S+' ([^_\s]+)_/gm)].map(([, found = '']) => found);
  }

  dependsOf(name: string): string {
    return run('apt-cache', ['-qq', ...this.options, 'depends', name]);
  }

  /** Fetches those and unpacks them all into one folder. */
  unpack(suite: string, packages: readonly string[], into: string): void {
    const archives = join(this.root, 'archives');
    rmSync(archives, { recursive: true, force: true });
    mkdirSync(archives);
    const words = ['download', '-t', suite, ...packages];
    run('env', ['-C', archives, 'apt-get', '-qq', ...this.options, ...words]);
    for (const name of readdirSync(archives)) run('dpkg-deb', ['-x', join(archives, name), into]);
    rmSync(archives, { recursive: true });
  }
}

/** Makes a folder of the cache once, whole or not at all. */
function once(name: string, fill: (folder: string, apt: string) => void): string {
  const folder = join(FOLDER, name);
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const apt = join(FOLDER, `${name}.apt`);
  fill(fresh, apt);
  rmSync(apt, { recursive: true, force: true });
  renameSync(fresh, folder);
  return folder;
}

/** QEMU and a static busybox, as from the root of a file system. */
export function qemuFolder(): string {
  return once('qemu', (folder, root) => {
    const [, suite = ''] = QEMU_SUITES;
    const apt = new Apt(root, QEMU_SUITES);
    apt.unpack(suite, [...apt.needed(suite, 'qemu-system-x86'), 'busybox-static'], folder);
  });
}

/** The newest kernel of that suite with its modules, as from the root of a file system. */
export function kernelFolder(suite: Kernel): string {
  return once(`kernel-${suite}`, (folder, root) => {
    const apt = new Apt(root, [suite]);
    const image = /linux-image-[0-9]\S*/.exec(apt.dependsOf('linux-image-amd64'))?.[0];
    if (image === undefined) throw new Error(`${suite} has no kernel for amd64`);
    const version = image.slice('linux-image-'.length);
    // Newer suites have the kernel and its modules in packages of their own.
    const parts = [`linux-binary-${version}`, `linux-modules-${version}`];
    try {
      apt.unpack(suite, parts, folder);
    } catch {
      apt.unpack(suite, [image], folder);
    }
  });
}
