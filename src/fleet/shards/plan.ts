/**
 * What a member has to do about the shards, by what it knows of the group: whom it serves, and what
 * it writes. Pure; the member carries it out, and asks again after each change.
 *
 *     nobody's ── made by the winner, or by who serves it ──▶ {owner: A}
 *     {owner: A} ── A sees that B is the winner ──▶ {owner: A, to: B}      A serves, B begins
 *     {owner: A, to: B} ── B's workers follow ──▶ {owner: B, from: A}      B serves, A ends
 *     {owner: B, from: A} ── A has sent what came before, ends, its workers follow ──▶ {owner: B}
 *
 * The key goes with the lease of whoever is `owner`. Nobody but the owner gives a shard away, and
 * nobody serves one that is neither its own nor offered to it. One whose key somebody else has
 * written nonsense into is nobody's: who serves it makes it again, or the winner after a lease.
 */
import { SHARDS, winnerOf } from './rendezvous.js';

/** What stands in etcd of a shard. */
export interface ShardRecord {
  readonly owner: string;
  /** Whom it is offered to. */
  readonly to?: string | undefined;
  /** From whom it came, who may still serve it. */
  readonly from?: string | undefined;
}

/** With what a transaction compares. */
export interface HeldShard extends ShardRecord {
  readonly modRevision: number;
  readonly lease: string;
}

export interface BrokenShard {
  readonly modRevision: number;
  /** For longer than a lease: whoever had it has mended it by now, or serves it no more. */
  readonly isOld: boolean;
}

export interface View {
  readonly me: string;
  /** That of this member's keys. */
  readonly lease: string;
  readonly members: ReadonlyMap<string, { readonly weight: number; readonly isDraining: boolean }>;
  readonly pins: ReadonlyMap<number, string>;
  readonly shards: ReadonlyMap<number, HeldShard>;
  /** Those whose value says nothing: somebody has written there. */
  readonly broken: ReadonlyMap<number, BrokenShard>;
  /** In this member's table. */
  readonly serving: ReadonlySet<number>;
  /** Of those, the ones whose subscribers all are. */
  readonly ready: ReadonlySet<number>;
  /** Of those that another has taken over: all that came before that has been sent from here. */
  readonly released: ReadonlySet<number>;
  /** Whether it makes shards that are nobody's and that it does not serve yet. */
  readonly mayClaim: boolean;
}

export interface ShardChange {
  readonly shard: number;
  readonly kind: 'make' | 'renew' | 'offer' | 'withdraw' | 'accept' | 'settle';
  readonly record: ShardRecord;
  /** Of what it changes; null: there must be nothing. */
  readonly modRevision: number | null;
  /** The key stays with the lease that it has, which is another's. */
  readonly keepsLease: boolean;
}

/** Shards that are on their way at a time from one member: twice their copies go out meanwhile. */
export const OFFERS_MAX = 64;

/** Who should have each shard, as that view knows; null: nobody can. */
export function winnersOf({ members, pins }: Pick<View, 'members' | 'pins'>): (string | null)[] {
  const candidates = [...members]
    .filter(([, { isDraining }]) => !isDraining)
    .map(([name, { weight }]) => ({ name, weight }));
  const names = new Set(candidates.map(({ name }) => name));
  return Array.from({ length: SHARDS }, (_, shard) => {
    const pinned = pins.get(shard);
    return pinned !== undefined && names.has(pinned) ? pinned : winnerOf(shard, candidates);
  });
}

/**
 * Who makes those that are nobody's: the winners; where all drain, who would win if none did, since
 * a subscriber is better served by who is about to go than by nobody.
 */
function makersOf({ members, pins }: View, winners: readonly (string | null)[]) {
  if (winners[0] !== null) return winners; // there is one for each, or for none
  const staying = [...members].map(([name, one]) => [name, { ...one, isDraining: false }] as const);
  return winnersOf({ members: new Map(staying), pins });
}

/** The shards whose subscribers are to be in this member's table. */
export function wantedOf({ me, lease, shards, serving, released }: View): Set<number> {
  const wanted = new Set<number>();
  const isHeld = (shard: number) => serving.has(shard) && !released.has(shard);
  for (let shard = 0; shard < SHARDS; shard++) {
    const record = shards.get(shard);
    const isOurs = record?.owner === me && (record.lease === lease || serving.has(shard));
    const isPartOurs = record?.to === me || (record?.from === me && isHeld(shard));
    // nobody's, and served: since etcd was away for longer than a lease; it is made again
    const isFree = record === undefined && serving.has(shard);
    if (isFree || isOurs || isPartOurs) wanted.add(shard);
  }
  return wanted;
}

export function changesOf(view: View): ShardChange[] {
  const winners = winnersOf(view);
  const makers = makersOf(view, winners);
  const changes: ShardChange[] = [];
  let offers = [...view.shards.values()].filter(({ owner, to }) => owner === view.me && to).length;
  for (let shard = 0; shard < SHARDS; shard++) {
    const held = view.shards.get(shard);
    const at = { shard, winner: winners[shard] ?? null, mayOffer: offers < OFFERS_MAX };
    const isMaker = makers[shard] === view.me;
    const wanted =
      held === undefined ? ofNobodys(view, shard, isMaker) : ofSomebodys(view, at, held);
    if (wanted === null) continue;
    if (wanted.kind === 'offer' && held?.to === undefined) offers += 1;
    const before = held ?? view.broken.get(shard);
    changes.push({ keepsLease: false, modRevision: before?.modRevision ?? null, shard, ...wanted });
  }
  return changes;
}

interface At {
  readonly shard: number;
  readonly winner: string | null;
  readonly mayOffer: boolean;
}

type Wanted = Pick<ShardChange, 'kind' | 'record'> & { readonly keepsLease?: boolean };

function ofNobodys(view: View, shard: number, isMaker: boolean): Wanted | null {
  const { me, serving, mayClaim, broken } = view;
  const isFree = mayClaim && broken.get(shard)?.isOld !== false;
  const isOurs = serving.has(shard) || (isFree && isMaker);
  return isOurs ? { kind: 'make', record: { owner: me } } : null;
}

function ofSomebodys(view: View, at: At, held: HeldShard): Wanted | null {
  const { me, lease, members, serving, ready } = view;
  const { owner, to, from } = held;
  if (owner === me && held.lease !== lease) return { kind: 'renew', record: { owner: me } };
  if (owner === me && from !== undefined)
    return members.has(from) ? null : { kind: 'settle', record: { owner: me } };
  if (owner === me) return ofOurs(view, at, to);
  if (to === me && ready.has(at.shard))
    return { kind: 'accept', record: { owner: me, from: owner } };
  if (from === me && !serving.has(at.shard))
    return { kind: 'settle', record: { owner }, keepsLease: true };
  return null;
}

/** An offer stands for as long as there is somebody to take it. */
function ofOurs(
  { me, members }: View,
  { winner, mayOffer }: At,
  to: string | undefined,
): Wanted | null {
  if (to !== undefined && members.get(to)?.isDraining === false) return null;
  const isElsewhere = winner !== null && winner !== me;
  if (isElsewhere && (to !== undefined || mayOffer))
    return { kind: 'offer', record: { owner: me, to: winner } };
  return to === undefined ? null : { kind: 'withdraw', record: { owner: me } };
}

/** Whether nothing hangs on that member any more. */
export function isFree({ me, shards, serving }: Pick<View, 'me' | 'shards' | 'serving'>): boolean {
  for (const { owner, from } of shards.values()) if (owner === me || from === me) return false;
  return serving.size === 0;
}
