/**
 * File systems of Debian, made of its packages by mmdebstrap with the mirror that this machine is
 * set up for: what an image begins with, and a machine that has next to nothing. They stay in the
 * user's cache.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../rig/cache.js';
import { lackForProgram, run } from '../rig/program.js';
import { CERTIFICATES } from '../runner/process.js';
import { KEY, mirror } from '../vm/packages.js';

/** Debian 13, the first whose Node is 20. */
export const SUITE = 'trixie';
/** Of some 400 packages over a slow line. */
const MAKE_MS_MAX = 1_800_000;

/** Why none can be made here, or null. */
export function lackForDebian(): string | null {
  const isThere = () => existsSync('/usr/bin/mmdebstrap');
  const lack = lackForProgram('mmdebstrap', isThere, 'mmdebstrap');
  if (lack !== null) return lack;
  if (!existsSync(KEY)) return 'no Debian archive key: install debian-archive-keyring';
  return mirror() === null ? 'apt of this machine knows no Debian mirror' : null;
}

/** Its folder: what is essential, apt, and those packages. */
export function debian(name: string, packages: readonly string[] = []): string {
  const folder = cached(`package/${SUITE}-${name}`, (fresh) => {
    const include = packages.length === 0 ? [] : [`--include=${packages.join()}`];
    const words = ['--quiet', '--variant=minbase', ...include, `--keyring=${KEY}`, SUITE];
    run('mmdebstrap', [...words, join(fresh, 'root'), mirror() ?? ''], '', MAKE_MS_MAX);
  });
  return join(folder, 'root');
}

/** Certificates that npm here trusts beside Node's own; empty: none. */
export const extraCertificates = (): string =>
  process.env[CERTIFICATES] ?? process.env.NODE_EXTRA_CA_CERTS ?? '';
