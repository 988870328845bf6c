/**
 * A member's own replicator in memory: a table of so many rows, filters by their hash, a fence. It
 * sends nothing; what a real one does with the same is shown in test/fleet/members.test.ts.
 */
import { createHash } from 'node:crypto';
import { type Endpoint, endpointText } from '../../../src/domain/endpoint.js';
import { FantailError } from '../../../src/domain/errors.js';
import type { NamedFeed } from '../../../src/domain/feed.js';
import { BUILT_IN } from '../../../src/domain/filter.js';
import type { FleetTarget, Placement } from '../../../src/domain/fleet.js';

export class TableTarget implements FleetTarget {
  /** By `ip:port`. */
  readonly rows = new Map<string, Placement>();
  readonly known: NamedFeed[] = [];
  private readonly hashes = new Map<string, string>();
  /** Moments of the fence, in the order in which it was told them. */
  readonly fences: bigint[] = [];

  constructor(private readonly rowsMax = 4096) {}

  place(placement: Placement): void {
    const text = endpointText(placement.endpoint);
    const { filter } = placement;
    if (filter !== BUILT_IN && !this.hashes.has(filter))
      throw new FantailError('NOT_FOUND', `there is no filter ${filter}`);
    if (!this.rows.has(text) && this.rows.size >= this.rowsMax)
      throw new FantailError('TABLE_FULL', `${this.rowsMax} subscribers are served`);
    this.rows.set(text, placement);
  }

  remove(endpoint: Endpoint): void {
    this.rows.delete(endpointText(endpoint));
  }

  async followed(): Promise<void> {}
  async turned(): Promise<void> {}

  served(): Endpoint[] {
    return [...this.rows.values()].map(({ endpoint }) => endpoint);
  }

  async copiesTo(): Promise<number> {
    return 0;
  }

  async loadFilter(name: string, bytes: Uint8Array): Promise<void> {
    this.hashes.set(name, createHash('sha256').update(bytes).digest('hex'));
  }

  async unloadFilter(name: string): Promise<void> {
    this.hashes.delete(name);
  }

  filterHash(name: string): string | null {
    return this.hashes.get(name) ?? null;
  }

  feeds(): readonly NamedFeed[] {
    return this.known;
  }

  async addFeed(feed: NamedFeed): Promise<void> {
    this.known.push(feed);
  }

  async removeFeed(name: string): Promise<void> {
    const at = this.known.findIndex((feed) => feed.name === name);
    this.known.splice(at, 1);
  }

  inside(): null {
    return null;
  }

  get fence_ns(): bigint {
    return this.fences.at(-1) ?? 0n;
  }

  serveUntil(moment_ns: bigint): void {
    this.fences.push(moment_ns);
  }
}
