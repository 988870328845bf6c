/**
 * Until when a member may serve: the moment that its workers are told (control.serve_until_ns), and
 * by what it is moved on. Pure.
 *
 * While etcd acknowledges its lease, that is the lease's length from the *sending* of the last
 * acknowledged request: etcd counts from when it took the request, which is later. When etcd is
 * silent, what the peers say decides.
 */
import type { Standing } from '../../domain/fleet.js';

const MS = 1_000_000n;
/** Seconds of a member's lease in etcd. */
export const LEASE_S = 10;
/**
 * Taken off: two machines' clocks may run apart by 500 parts in a million at worst (the kernel's
 * limit of what it corrects, adjtimex(2)), 5 ms in 10 s; a worker sees the fence a turn later, and
 * its last copies are on the wire some milliseconds after that. The rest is to spare.
 */
export const MARGIN_NS = 200n * MS;
/** Without an acknowledgement for so long, etcd is lost, to this member and for its peers. */
export const SILENT_NS = 3000n * MS;
/**
 * How far the fence goes on beyond the moment at which the peers were asked: they are asked every
 * second, and four seconds in which nobody had a core, or an answer was lost, end no service. It
 * must not be longer than a lease: etcd that restarts gives each its whole time again.
 */
export const STEP_NS = 5000n * MS;

/** What the peers have answered, once contact with etcd was lost. */
export interface Evidence {
  /** When they were asked. */
  readonly asked_ns: bigint;
  /** So many were known, have answered, and reach etcd. */
  readonly peers: number;
  readonly answering: number;
  readonly reaching: number;
}

export interface Contact {
  readonly now_ns: bigint;
  /** Sending of the last acknowledged request; null: none yet, after an adoption. */
  readonly acked_ns: bigint | null;
  /** Null: not asked since contact was lost. */
  readonly evidence: Evidence | null;
  readonly whenIsolated: 'stop' | 'serve';
}

/** How it stands, but for `fenced`, which the fence itself says. */
export function standingOf({ now_ns, acked_ns, evidence }: Contact): Exclude<Standing, 'fenced'> {
  if (acked_ns !== null && now_ns - acked_ns <= SILENT_NS) return 'joined';
  if (evidence === null) return 'unsure';
  if (evidence.reaching > 0) return 'cut';
  // One that is silent may be with etcd on the other side of a partition: only where all answer is
  // it certain that etcd is gone. A group of one has nobody whose answer could be missing.
  return evidence.answering === evidence.peers ? 'registry_gone' : 'isolated';
}

/** How far it may be moved on; null: not by what is known. */
export function fenceOf(contact: Contact): bigint | null {
  const { acked_ns, evidence, whenIsolated } = contact;
  const ofLease = acked_ns === null ? null : acked_ns + BigInt(LEASE_S) * 1000n * MS - MARGIN_NS;
  const standing = standingOf(contact);
  const goesOn =
    standing === 'registry_gone' || (standing === 'isolated' && whenIsolated === 'serve');
  if (!goesOn || evidence === null) return ofLease;
  const byStep = evidence.asked_ns + STEP_NS;
  return ofLease !== null && ofLease > byStep ? ofLease : byStep;
}
