/** The versions of Node that users have beside the one that runs the tests. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../rig/cache.js';
import { run } from '../rig/program.js';
import { CERTIFICATES } from '../runner/process.js';

/** By major version: the one that was tried. */
export const NODES = { 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' } as const;
export type Major = keyof typeof NODES;
export const MAJORS = Object.keys(NODES).map(Number) as Major[]; // the keys above

const PACKAGE = `node-linux-${process.arch}`;

/** Path of that Node's program, which is fetched where it is not there yet. */
export function nodeOf(major: Major): string {
  const version = NODES[major];
  const folder = cached(`nodes/${version}`, (fresh) => fetchNode(version, fresh));
  return join(folder, 'package', 'bin', 'node');
}

/** Of its package the program alone: the whole of three are 600 MB to unpack. */
function fetchNode(version: string, into: string): void {
  const certificates = process.env[CERTIFICATES] ?? process.env.NODE_EXTRA_CA_CERTS ?? '';
  const npm = ['npm', 'pack', '--loglevel=error', '--pack-destination', into];
  run('env', [`NODE_EXTRA_CA_CERTS=${certificates}`, ...npm, `${PACKAGE}@${version}`]);
  const archive = join(into, `${PACKAGE}-${version}.tgz`);
  run('tar', ['-xzf', archive, '-C', into, 'package/bin/node']);
  rmSync(archive);
}
