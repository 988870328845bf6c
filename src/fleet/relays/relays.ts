/**
 * The members that take their feed from this one: each is served where it listens, like a
 * subscriber, for as long as it is registered. It gets `main` and nothing else, by the built-in
 * filter, and stays with this member whatever becomes of shards. Of several at one address the
 * last to start is served.
 */
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { FantailError } from '../../domain/errors.js';
import { BUILT_IN } from '../../domain/filter.js';
import type { FleetTarget } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import type { Mirror } from '../registry/mirror.js';

export class Relays {
  /** By the member's name: why it is not served. */
  readonly unserved = new Map<string, string>();
  /** All that are registered so, by name, as of the last apply(). */
  names: readonly string[] = [];
  /** By `ip:port`: who is to be served there. */
  private readonly wanted = new Map<string, string>();
  private readonly placed = new Map<string, Endpoint>();

  constructor(
    private readonly options: {
      readonly target: Pick<FleetTarget, 'place' | 'remove'>;
      readonly mirror: Pick<Mirror, 'members'>;
      readonly member: string;
    },
  ) {}

  /** Who takes its feed from this member there, as of the last apply(); null: nobody. */
  at(text: string): string | null {
    return this.wanted.get(text) ?? null;
  }

  /** Changes the table; the workers follow later. */
  apply(): void {
    const { mirror, member, target } = this.options;
    const relays = [...mirror.members]
      .filter(([, { upstream }]) => upstream === member)
      .map(([name, { listen, startedAt_ms }]) => {
        return { name, endpoint: listen, text: endpointText(listen), startedAt_ms };
      })
      .sort((a, b) => (a.startedAt_ms ?? 0) - (b.startedAt_ms ?? 0) || (a.name < b.name ? -1 : 1));
    this.names = relays.map(({ name }) => name).sort();
    this.wanted.clear();
    for (const { name, text } of relays) this.wanted.set(text, name); // the last one stays
    for (const [text, endpoint] of this.placed)
      if (!this.wanted.has(text)) {
        target.remove(endpoint);
        this.placed.delete(text);
      }
    const names = new Set(this.names);
    for (const name of this.unserved.keys()) if (!names.has(name)) this.unserved.delete(name);
    for (const { name, endpoint, text } of relays) {
      const last = this.wanted.get(text);
      if (last !== name) this.refuse(text, name, `member ${last} takes its feed at ${text}, too`);
      else if (!this.placed.has(text)) this.place(text, name, endpoint);
      else if (this.unserved.has(name)) this.tellPlaced(text, name);
    }
  }

  /** A member is about to end. */
  warn(): void {
    const { names } = this;
    if (names.length > 0) log.warn(`fleet: ${names.join(', ')} have no feed until it is back`);
  }

  private place(text: string, name: string, endpoint: Endpoint): void {
    const how = { feeds: ['main'], filter: BUILT_IN, param: new Uint8Array(), isPaused: false };
    try {
      this.options.target.place({ endpoint, ...how });
      this.placed.set(text, endpoint);
      this.tellPlaced(text, name);
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      this.refuse(text, name, error.message);
    }
  }

  private tellPlaced(text: string, name: string): void {
    this.unserved.delete(name);
    log.info({ subscriber: text }, `fleet: ${name} takes its feed from here, at ${text}`);
  }

  private refuse(text: string, name: string, reason: string): void {
    if (this.unserved.get(name) !== reason)
      log.warn({ subscriber: text }, `fleet: ${name} does not get its feed: ${reason}`);
    this.unserved.set(name, reason);
  }

  clear(): void {
    for (const endpoint of this.placed.values()) this.options.target.remove(endpoint);
    this.placed.clear();
  }
}
