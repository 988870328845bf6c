/**
 * A group as a member follows it, once that is all that etcd has at the moment of the question: so
 * what a member is asked costs etcd one short answer instead of the whole group, and is no older.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Etcd, Extent } from '../etcd/store.js';
import type { Keys } from './keys.js';
import type { Mirror } from './mirror.js';

/** What a watch tells comes some milliseconds after it was written; one that hangs, never. */
const LOOK_MS = 5;
const LOOKS_MAX = 200;

/** Null: it does not come to that; whoever asks reads all. Throws EtcdAway. */
export async function followed(
  etcd: Pick<Etcd, 'extentOf'>,
  { prefix }: Pick<Keys, 'prefix'>,
  mirror: Mirror,
): Promise<Mirror | null> {
  if (mirror.revision === 0) return null; // it was not read yet
  const { revision } = mirror;
  const extent = await etcd.extentOf(prefix);
  if (extent.revision < revision) return null; // a store that was put back to a backup
  for (let looks = 0; looks < LOOKS_MAX; looks++) {
    if (hasAll(mirror, extent)) return mirror;
    await sleep(LOOK_MS);
  }
  return null;
}

/**
 * All that was put comes by the last revision of a key, and what was removed with it; but removals
 * behind that have left no key to tell of them: either as many are left, or all was heard.
 */
function hasAll({ revision, keyCount }: Mirror, extent: Extent): boolean {
  if (revision >= extent.revision) return true;
  return revision >= extent.written && keyCount === extent.count;
}
