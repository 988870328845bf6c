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

/** Path of that Node's program, which is fetched where it is not there yet. */
export const nodeOf = (major: Major): string => nodeFor(process.arch, NODES[major]);

/** The same of any version, for a machine of that architecture (`arm64`). */
export function nodeFor(architecture: string, version: string): string {
  const name = architecture === process.arch ? version : `${architecture}-${version}`;
  const folder = cached(`nodes/${name}`, (fresh) => fetchNode(architecture, version, fresh));
  return join(folder, 'package', 'bin', 'node');
}

/** Of its package the program alone: the whole of three are 600 MB to unpack. */
function fetchNode(architecture: string, version: string, into: string): void {
  const name = `node-linux-${architecture}`;
  const certificates = process.env[CERTIFICATES] ?? process.env.NODE_EXTRA_CA_CERTS ?? '';
  const npm = ['npm', 'pack', '--loglevel=error', '--pack-destination', into];
  run('env', [`NODE_EXTRA_CA_CERTS=${certificates}`, ...npm, `${name}@${version}`]);
  const archive = join(into, `${name}-${version}.tgz`);
  run('tar', ['-xzf', archive, '-C', into, 'package/bin/node']);
  rmSync(archive);
}
