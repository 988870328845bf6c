/**
 * One member as the plan sees it: a server that takes one packet after the other. Of a packet for S
 * children, subscribers or members that relay it further, copy i arrives after
 *
 *   first copy + (i - 1) × copy
 *
 * and the member is busy until the last, or for S over the copies that it can send in a second,
 * whichever is longer.
 */
import { limits } from '../memory/layout.js';
import type { Figures } from './figures.js';
import { wireTime_us } from './link.js';

export interface Feed {
  readonly packets_per_second: number;
  readonly payload_bytes: number;
}

/** Which of a member's limits is met first. */
export type Bound = 'time for a packet' | 'lossless copies' | 'link' | 'table of subscribers';

export class Member {
  /** From one copy to the next: the member's own time, or the link's, whichever is longer. */
  readonly copy_us: number;
  readonly wire_us: number;

  constructor(
    private readonly figures: Figures,
    private readonly feed: Feed,
  ) {
    const { link_gbps, copy_us } = figures;
    this.wire_us = link_gbps === null ? 0 : wireTime_us(feed.payload_bytes, link_gbps);
    this.copy_us = Math.max(copy_us, this.wire_us);
  }

  /** Of `children` copies the `nth`, from 1 on. */
  after_us(nth: number): number {
    return this.figures.first_copy_us + (nth - 1) * this.copy_us;
  }

  busy_us(children: number): number {
    return Math.max(this.after_us(children), (children / this.figures.copies_per_second) * 1e6);
  }

  /** Share of the time that it is busy; above 1 it cannot keep up. */
  utilisation(children: number): number {
    return (this.feed.packets_per_second * this.busy_us(children)) / 1e6;
  }

  linkShare(children: number): number | null {
    if (this.figures.link_gbps === null) return null;
    return (this.feed.packets_per_second * children * this.wire_us) / 1e6;
  }

  /** The most children whose copies stay below that share of what it can, and what stops there. */
  most(share: number): { readonly children: number; readonly bound: Bound } {
    const { first_copy_us, copies_per_second, link_gbps } = this.figures;
    const { packets_per_second } = this.feed;
    const free_us = (share * 1e6) / packets_per_second;
    const bounds: { readonly children: number; readonly bound: Bound }[] = [
      {
        children: 1 + (free_us - first_copy_us) / this.copy_us,
        bound: this.copy_us > this.figures.copy_us ? 'link' : 'time for a packet',
      },
      { children: (share * copies_per_second) / packets_per_second, bound: 'lossless copies' },
      { children: link_gbps === null ? Infinity : free_us / this.wire_us, bound: 'link' },
      { children: limits.SUBSCRIBERS_MAX, bound: 'table of subscribers' },
    ];
    const [lowest = { children: 0, bound: 'table of subscribers' as const }] = bounds.sort(
      (a, b) => a.children - b.children,
    );
    return { children: Math.max(0, Math.floor(lowest.children)), bound: lowest.bound };
  }
}
