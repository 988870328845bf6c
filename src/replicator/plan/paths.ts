/**
 * Which way each worker sends, where it has both: by its TX ring, which costs so much a copy, or in
 * bulk, which costs so much a call and little a copy. So it is a question of how many copies leave
 * at once. What is wanted is said in the arena; the worker follows after a pause without copies
 * (native/path/loops.cpp), so that no subscriber sees another order.
 *
 *     ring ── COPIES_IN_BULK at once ──▶ bulk ── fewer than COPIES_BY_RING ──▶ ring
 *                                         └───── calls fail ─────────────────▶ ring, for good
 * With a pump it is bulk, as long as that does not fail.
 */
import type { Transmit } from '../../domain/statistics.js';
import type { Arena } from '../../memory/arena.js';
import type { Subscribers } from '../../subscribers/subscribers.js';
import { log } from '../../terminal/log.js';
import type { Deployment } from './deployment.js';

/**
 * Copies of a burst from which on bulk was better in what it can send and not worse in latency, and
 * below which the ring is (docs/bulk.md). Between them a worker stays as it is.
 */
export const COPIES_IN_BULK = 16;
export const COPIES_BY_RING = 8;
const LOOK_MS = 200;
/** Bursts that say how many packets come at once; until there are so many, nothing is judged. */
const BURSTS_MIN = 20;
/** Looks in a row that found it failing, and it is left: a far end may be full for a while. */
const FAILED_LOOKS = 3;
/** Fewer slow calls, or refusals, say nothing. */
const FAILURES_MIN = 2;

const COUNTERS = [
  'packets',
  'bursts',
  'bulk_calls',
  'bulk_slow',
  'bulk_copies',
  'bulk_resent',
  'bulk_refused',
] as const;

/** What a worker has counted. */
export type Counted = Readonly<Record<(typeof COUNTERS)[number], number>>;

/** The path of a worker whose bursts are of so many copies. */
export function pathFor(copies: number, now: Transmit): Transmit {
  if (copies >= COPIES_IN_BULK) return 'bulk';
  return copies < COPIES_BY_RING ? 'ring' : now;
}

/** What speaks against sending in bulk, of what was counted since the last look; or null. */
export function failureOf(counted: Counted): string | null {
  const { bulk_calls, bulk_slow, bulk_copies, bulk_resent, bulk_refused } = counted;
  const tries = bulk_copies + bulk_resent;
  if (bulk_slow >= FAILURES_MIN && 2 * bulk_slow > bulk_calls)
    return `${bulk_slow} of ${bulk_calls} calls took more than 5 ms`;
  if (bulk_refused >= FAILURES_MIN && 2 * bulk_refused > tries)
    return `the device refused ${bulk_refused} of ${tries} tries`;
  return null;
}

/** One worker, as it was seen. */
interface Seen {
  counted: Counted;
  packetsABurst: number;
  copies: number;
  /** Looks in a row that found it failing in bulk. */
  failedLooks: number;
  /** It has failed for good. */
  failure: string | null;
  isPumped: boolean;
}

export class Paths {
  private readonly timer: NodeJS.Timeout | null;
  private readonly seen: Seen[];

  constructor(
    private readonly parts: {
      readonly arena: Arena;
      readonly subscribers: Subscribers;
      /** A worker has only one: why. Null: each has both. */
      readonly only: string | null;
      readonly wake: () => void;
    },
  ) {
    const { arena, only } = parts;
    this.seen = Array.from({ length: arena.workers }, (_, worker) => {
      return {
        counted: this.counted(worker),
        packetsABurst: 1,
        copies: 0,
        failedLooks: 0,
        failure: null,
        isPumped: false,
      };
    });
    this.timer = only === null ? setInterval(() => this.look(), LOOK_MS) : null;
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  /** Why a worker sends as it does. */
  reasonOf(worker: number): string {
    const { only, arena } = this.parts;
    if (only !== null) return only;
    const seen = this.seen[worker];
    const [path, wanted] = [arena.path(worker), arena.wantedPath(worker)];
    const load = `copies at once: ${Math.round(seen?.copies ?? 0)}`;
    const why = seen?.failure ?? (seen?.isPumped ? 'there is a pump' : load);
    return path === wanted ? why : `${why}; ${wanted} after the next 10 ms without a copy`;
  }

  /**
   * By who is reached now. Also to be called when subscribers come and go: a feed that begins then
   * may leave no pause in which its worker could change.
   */
  choose(): void {
    if (this.timer === null) return;
    const reached = this.seen.map(() => 0);
    for (const { worker, route } of this.parts.subscribers.all())
      if (route.state === 'live') reached[worker] = (reached[worker] ?? 0) + 1;
    let isOther = false;
    for (const [worker, seen] of this.seen.entries()) {
      seen.copies = (reached[worker] ?? 0) * seen.packetsABurst;
      if (this.want(worker, seen)) isOther = true;
    }
    if (isOther) this.parts.wake();
  }

  private look(): void {
    for (const [worker, seen] of this.seen.entries()) this.observe(worker, seen);
    this.choose();
  }

  private observe(worker: number, seen: Seen): void {
    const now = this.counted(worker);
    const since = differenceOf(now, seen.counted);
    const isEnough = since.bursts >= BURSTS_MIN;
    if (isEnough) {
      seen.counted = now;
      // never below 1, of which the counts may fall short: they are not read in one moment
      seen.packetsABurst = Math.max(1, since.packets / since.bursts);
    }
    if (isEnough && seen.failure === null && this.parts.arena.wantedPath(worker) === 'bulk')
      this.lookForFailure(worker, seen, since);
    this.lookForPump(worker, seen);
  }

  /** True: that worker is to send another way. */
  private want(worker: number, seen: Seen): boolean {
    const { arena } = this.parts;
    const wanted = arena.wantedPath(worker);
    // a pump sends a single copy sooner than the ring does, too
    const chosen = seen.isPumped ? 'bulk' : pathFor(seen.copies, wanted);
    const better = seen.failure === null ? chosen : 'ring';
    if (better === wanted) return false;
    arena.wantPath(worker, better);
    return true;
  }

  private lookForFailure(worker: number, seen: Seen, since: Counted): void {
    const failure = failureOf(since);
    seen.failedLooks = failure === null ? 0 : seen.failedLooks + 1;
    if (failure === null || seen.failedLooks < FAILED_LOOKS) return;
    seen.failure = failure;
    log.warn(`worker ${worker} sends by its ring from now on: ${failure}`);
  }

  private lookForPump(worker: number, seen: Seen): void {
    const { arena } = this.parts;
    const isPumped = arena.u64(arena.worker(worker, 'bulk_pumped')) !== 0n;
    if (seen.isPumped && !isPumped)
      log.warn(`the pump of worker ${worker} has ended: the kernel refused its calls`);
    seen.isPumped = isPumped;
  }

  private counted(worker: number): Counted {
    const { arena } = this.parts;
    return countsOf((name) => arena.count(arena.worker(worker, name)));
  }
}

function countsOf(read: (name: keyof Counted) => number): Counted {
  return Object.fromEntries(COUNTERS.map((name) => [name, read(name)])) as Counted;
}

const differenceOf = (now: Counted, before: Counted): Counted =>
  countsOf((name) => now[name] - before[name]);

/** Why there is one path alone, or null. */
export function onlyPath(
  { paths, ringBecause }: Pick<Deployment, 'paths' | 'ringBecause'>,
  opened: {
    readonly mode: string;
    readonly tx: readonly number[];
    readonly pages: readonly number[];
    readonly ringBecause: string;
  },
): string | null {
  if (opened.tx.length > 0 && opened.pages.length > 0) return null;
  if (opened.pages.length > 0) return '--transmit bulk';
  if (!paths.bulk) return ringBecause;
  return opened.ringBecause || `${opened.mode} mode sends by its ring`;
}
