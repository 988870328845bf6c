/** A registration that says that its member drains: written by who asks for it, or by itself. */
import type { Condition, Etcd } from '../etcd/store.js';
import { type MemberRecord, parsed, schemas } from './records.js';

/** `none`: there is no such member; `changed`: it is otherwise by now, or `when` does not hold. */
export type Drained = 'draining' | 'none' | 'changed';

export interface DrainOptions {
  /** The member's; left out: whichever it has. */
  readonly lease?: string;
  /** What must hold beside. */
  readonly when?: readonly Condition[];
}

/** Tries it once. What a later version says of itself stays in the record. */
export async function drainMember(
  etcd: Pick<Etcd, 'get' | 'transact'>,
  key: string,
  { lease, when = [] }: DrainOptions = {},
): Promise<Drained> {
  const entry = await etcd.get(key);
  if (entry === null || (lease !== undefined && entry.lease !== lease)) return 'none';
  if ('wrong' in parsed(schemas.members, entry.value)) return 'none';
  const record = JSON.parse(entry.value.toString()) as MemberRecord; // just checked
  if (record.isDraining) return 'draining';
  const value = JSON.stringify({ ...record, isDraining: true });
  const { isDone } = await etcd.transact({
    when: [{ key, modRevision: entry.modRevision }, ...when],
    write: [{ put: key, value, lease: 'keep' }],
  });
  return isDone ? 'draining' : 'changed';
}
