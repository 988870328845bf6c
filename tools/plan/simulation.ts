/**
 * The oracle of src/planning: a tree of members, each a server of its own with a queue of its own,
 * each packet, each copy, one after the other. Slow, and no formula but for what one
 * member takes for one packet (src/planning/member.ts).
 *
 * Packets come at random times (Poisson). A member that is busy lets a packet wait, and drops it if
 * BACKLOG_MAX wait already. It begins each packet with the next of its children in turn, as fantail
 * does (--order rotate), and each packet takes it a time of its own. Since a tree has no way back,
 * packet by packet and level by level is the order of time at each member.
 */
import { limits } from '../../src/memory/layout.js';
import type { Figures } from '../../src/planning/figures.js';
import { type Feed, Member } from '../../src/planning/member.js';
import type { Tree } from '../../src/planning/tree.js';
import { Chance } from './chance.js';

/** p99 of a normal distribution, in standard deviations. */
const Z99 = 2.3263;

export interface Simulated {
  readonly latency_us: { readonly p50: number; readonly p99: number };
  readonly window_us: { readonly p50: number; readonly p99: number };
  readonly lost_share: number;
  readonly copies: number;
}

export interface Run {
  readonly packets: number;
  readonly seed: number;
}

/** A member at work. */
class Server {
  /** When it has done with the packets that it took, for those that are not done yet. */
  private readonly ends_us: number[] = [];
  private done = 0;

  /** When it begins a packet that comes now; null: its queue is full. */
  begins_us(now_us: number): number | null {
    while (this.done < this.ends_us.length && (this.ends_us[this.done] ?? 0) <= now_us) this.done++;
    if (this.done > limits.BACKLOG_MAX) {
      this.ends_us.splice(0, this.done);
      this.done = 0;
    }
    if (this.ends_us.length - this.done > limits.BACKLOG_MAX) return null;
    return Math.max(now_us, this.ends_us.at(-1) ?? 0);
  }

  busyUntil_us(end_us: number): void {
    this.ends_us.push(end_us);
  }
}

interface Seen {
  first_us: number;
  last_us: number;
  received: number;
}

class World {
  private readonly member: Member;
  private readonly chance: Chance;
  private readonly servers: readonly (readonly Server[])[];
  private readonly sigma: number;

  constructor(
    private readonly tree: Tree,
    private readonly figures: Figures,
    feed: Feed,
    seed: number,
  ) {
    this.member = new Member(figures, feed);
    this.chance = new Chance(seed);
    this.servers = tree.members.map((count) => Array.from({ length: count }, () => new Server()));
    this.sigma = Math.log(figures.jitter_ratio) / Z99;
  }

  /** One packet through the whole tree. */
  send(sent_us: number, number: number): Seen {
    const { hop_us } = this.figures;
    const seen = { first_us: Infinity, last_us: 0, received: 0 };
    let coming: (number | null)[] = [sent_us + hop_us];
    for (const [level, servers] of this.servers.entries()) {
      const isLast = level === this.servers.length - 1;
      const next: (number | null)[] = [];
      const below = this.tree.members[level + 1] ?? this.tree.subscribers;
      for (const [index, server] of servers.entries()) {
        // spread evenly
        const from = Math.floor((index * below) / servers.length);
        const children = Math.floor(((index + 1) * below) / servers.length) - from;
        const copies = this.serve(server, coming[index] ?? null, children, number);
        if (isLast) for (const copy_us of copies) note(seen, copy_us);
        else for (const copy_us of copies) next.push(copy_us);
      }
      coming = next;
    }
    return seen;
  }

  /** When each child has its copy; null: never. */
  private serve(server: Server, now_us: number | null, children: number, number: number) {
    const copies: (number | null)[] = new Array(children).fill(null);
    const begins_us = now_us === null ? null : server.begins_us(now_us);
    if (begins_us === null) return copies;
    const factor = Math.exp(this.sigma * this.chance.normal());
    for (let nth = 1; nth <= children; nth++) {
      const child = (nth - 1 + number) % children;
      copies[child] = begins_us + this.member.after_us(nth) * factor + this.figures.hop_us;
    }
    server.busyUntil_us(begins_us + this.member.busy_us(children) * factor);
    return copies;
  }

  nextAfter_us(mean_us: number): number {
    return this.chance.exponential() * mean_us;
  }
}

function note(seen: Seen, copy_us: number | null): void {
  if (copy_us === null) return;
  seen.received++;
  if (copy_us < seen.first_us) seen.first_us = copy_us;
  if (copy_us > seen.last_us) seen.last_us = copy_us;
}

/** Of the packets that all subscribers had. */
export function simulate(
  tree: Tree,
  figures: Figures,
  feed: Feed,
  { packets, seed }: Run,
): Simulated {
  const world = new World(tree, figures, feed, seed);
  const mean_us = 1e6 / feed.packets_per_second;
  const latencies: number[] = [];
  const windows: number[] = [];
  let received = 0;
  let now_us = 0;
  for (let number = 0; number < packets; number++) {
    now_us += world.nextAfter_us(mean_us);
    const seen = world.send(now_us, number);
    received += seen.received;
    if (seen.received < tree.subscribers) continue;
    latencies.push(seen.last_us - now_us);
    windows.push(seen.last_us - seen.first_us);
  }
  const copies = packets * tree.subscribers;
  return {
    latency_us: percentilesOf(latencies),
    window_us: percentilesOf(windows),
    lost_share: 1 - received / copies,
    copies,
  };
}

function percentilesOf(values: readonly number[]): { p50: number; p99: number } {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}
