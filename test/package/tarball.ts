/** The package as npm would publish it. */
import { join } from 'node:path';
import { version } from '../../src/domain/installation.js';
import { run } from '../rig/program.js';

export const TARBALL = `fantail-${version}.tgz`;

/** Its path. Built already, by whoever runs the tests. */
export function packInto(folder: string): string {
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder, ...quiet]);
  return join(folder, TARBALL);
}
