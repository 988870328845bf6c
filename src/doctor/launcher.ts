/** What a fantail that runs on the interface tells of itself, over its control channel. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from '../api/fantail.js';
import type { ClientFlags } from '../control/client.js';
import { CONTROL_URL } from '../control/constants.js';
import { Failure, messageOf } from '../domain/errors.js';
import { quoted } from '../domain/finding.js';
import { filterFile } from '../domain/installation.js';
import type { Launcher } from './subject.js';

/** And the interface that it is on, and whether somebody has its stamps. */
export type FoundLauncher = Launcher & {
  readonly interface: string;
  readonly isStamped: boolean;
};

/**
 * The one at that control port, or at the default one if there is any. `unseen`: why one that may
 * be there could not be asked.
 */
export async function findLauncher(
  flags: ClientFlags,
): Promise<{ readonly launcher: FoundLauncher | null; readonly unseen: readonly string[] }> {
  try {
    return { launcher: await readLauncher(flags), unseen: [] };
  } catch (error) {
    if (flags.control !== undefined) throw error;
    const isNone = error instanceof Failure && error.systemCode === 'ECONNREFUSED';
    return { launcher: null, unseen: isNone ? [] : [`subscribers: ${messageOf(error)}`] };
  }
}

async function readLauncher(flags: ClientFlags): Promise<FoundLauncher> {
  const fantail = await connect(flags);
  try {
    const stats = await fantail.stats();
    const filters = await fantail.filters.list();
    return {
      access: accessOf(flags),
      interface: stats.interface,
      mode: stats.mode,
      queues: stats.queues,
      feeds: stats.feeds,
      subscribers: await fantail.list(),
      isStamped: filters.some((row) => isStampHash(row.hash) && row.subscribers > 0),
    };
  } finally {
    fantail.close();
  }
}

/** The flags with which another command reaches the same one. */
function accessOf({ control = CONTROL_URL, tokenFile, tlsCa }: ClientFlags): string {
  const files = { '--token-file': tokenFile, '--tls-ca': tlsCa };
  const named = Object.entries(files).flatMap(([flag, file]) =>
    file === undefined ? [] : [flag, quoted(file)],
  );
  return ['--control', quoted(control), ...named].join(' ');
}

/** Whether that module is the stock one that stamps. */
export const stamps = (file: string): boolean => isStampHash(hashOf(file));

const isStampHash = (hash: string): boolean => hash === hashOf(filterFile('stamp.wasm'));

function hashOf(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch {
    return ''; // `up` says what is wrong with it
  }
}
