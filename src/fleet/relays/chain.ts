/**
 * From whom a member takes its feed, and from whom that one: a chain in which nobody may stand
 * twice. It is read in etcd one by one, and what was read is what must hold when the member
 * registers: of two that start at once and would be each other's upstream the second finds that its
 * chain has changed, reads it again, and finds itself.
 *
 * A registration's own `path` is what it was told then, and not believed: one further up may have
 * started again since, with another upstream.
 */
import { Failure } from '../../domain/errors.js';
import type { Condition, Etcd } from '../etcd/store.js';
import type { Keys } from '../registry/keys.js';
import { parsed, schemas } from '../registry/records.js';

/** Each is one more comparison of the transaction, of which etcd takes 128. */
export const HOPS_MAX = 16;

export interface Chain {
  /** The nearest first. The last one is at the top, or is not there yet. */
  readonly path: readonly string[];
  readonly when: readonly Condition[];
}

/** Throws Failure where `member` would take its feed from itself. */
export async function chainOf(
  { etcd, keys }: { readonly etcd: Pick<Etcd, 'get'>; readonly keys: Keys },
  member: string,
  upstream: string | null,
): Promise<Chain> {
  const path: string[] = [];
  const when: Condition[] = [];
  for (let next = upstream; next !== null; ) {
    path.push(next);
    if (next === member) throw new Failure(loop(member, path));
    if (path.length > HOPS_MAX)
      throw new Failure(
        `--upstream ${upstream}: ${path.length} members are above, ${HOPS_MAX} may be`,
      );
    const key = keys.of('members', next);
    const entry = await etcd.get(key);
    if (entry === null) {
      when.push({ key, isAbsent: true });
      break;
    }
    when.push({ key, modRevision: entry.modRevision });
    const record = parsed(schemas.members, entry.value);
    next = 'wrong' in record ? null : record.value.upstream;
  }
  return { path, when };
}

const loop = (member: string, path: readonly string[]) =>
  `--upstream ${path[0]}: ${member} would take its feed from itself (${[member, ...path].join(' from ')}); name one that takes it from elsewhere`;
