/**
 * Prometheus itself and promtool, from Debian's package, unpacked into the user's cache and not
 * installed: an installed one is a service that runs.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../rig/cache.js';
import { run } from '../rig/program.js';

const FETCH_MS_MAX = 300_000;

/** Of its programs. Throws where apt has no such package. */
export function prometheusFolder(): string {
  const folder = cached('prometheus', (into) => {
    const archives = join(into, 'archives');
    run('mkdir', ['-p', archives]);
    const download = () =>
      run('env', ['-C', archives, 'apt-get', '-qq', 'download', 'prometheus'], '', FETCH_MS_MAX);
    try {
      download();
    } catch {
      run('apt-get', ['-qq', 'update'], '', FETCH_MS_MAX); // a new machine has no lists yet
      download();
    }
    for (const name of readdirSync(archives)) run('dpkg-deb', ['-x', join(archives, name), into]);
    rmSync(archives, { recursive: true });
  });
  return join(folder, 'usr', 'bin');
}
