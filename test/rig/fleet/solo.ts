/**
 * A member by itself: the product's own, with an etcd behind a line and a table in memory in place
 * of a replicator. For what a member does with its group; what comes of it on the wire needs a
 * whole `fantail up`.
 */

import type { Failure } from '../../../src/domain/errors.js';
import type { FleetConfig } from '../../../src/fleet/config.js';
import type { FleetInheritance } from '../../../src/fleet/member/inheritance.js';
import { Member } from '../../../src/fleet/member/member.js';
import { Line } from './line.js';
import { TableTarget } from './target.js';

export interface SoloOptions {
  /** Of the etcd. */
  readonly url: string;
  readonly group: string;
  readonly name: string;
  readonly weight?: number;
  readonly version?: string;
  readonly startedAt_ms?: number;
  readonly upstream?: string;
  /** Where it takes its feed; by default where no other does. */
  readonly listenPort?: number;
  readonly rowsMax?: number;
  /** The table and what the supervisor before has left. */
  readonly before?: { readonly target: TableTarget; readonly left: FleetInheritance };
}

/** Ports that nobody listens at, up to this one. */
let listens = 0;

export class Solo {
  failure: Failure | null = null;
  isDrained = false;

  private constructor(
    readonly member: Member,
    readonly target: TableTarget,
    readonly line: Line,
  ) {}

  /** It has not joined: see start(). */
  static async make(options: SoloOptions): Promise<Solo> {
    const { url, group, name, before, upstream = null } = options;
    const line = await Line.open(url);
    const target = before?.target ?? new TableTarget(options.rowsMax);
    const config: FleetConfig = {
      etcd: { endpoints: [line.url], user: null, tls: null },
      ...{ group, member: name, weight: options.weight ?? 1, upstream },
      ...{ whenIsolated: 'serve', allowedModules: 'any' },
    };
    listens += 1;
    const member = new Member({
      ...{ config, target, ownFeeds: new Set<string>(), inherited: before?.left ?? null },
      about: {
        listen: { ip: '127.0.0.2', port: options.listenPort ?? listens },
        ...{ upstream, path: [], version: options.version ?? '1' },
        startedAt_ms: options.startedAt_ms ?? 0,
      },
      onKeep: () => {},
      onDrained: () => {
        solo.isDrained = true;
      },
      onFatal: (failure) => {
        solo.failure = failure;
      },
    });
    const solo = new Solo(member, target, line);
    return solo;
  }

  static async start(options: SoloOptions): Promise<Solo> {
    const solo = await Solo.make(options);
    try {
      await solo.start();
      return solo;
    } catch (error) {
      await solo.close();
      throw error;
    }
  }

  /** Nobody asks at its control port. */
  start(): Promise<void> {
    return this.member.start('http://127.0.0.1:1');
  }

  /** Addresses and ports that it serves, in order. */
  get served(): string[] {
    return [...this.target.rows.keys()].sort();
  }

  /** Its supervisor is killed: its lease goes on to its end. Resolves with what it leaves. */
  async kill(): Promise<{ target: TableTarget; left: FleetInheritance }> {
    const left = this.member.inheritance;
    this.line.cut();
    const kept = new Map(this.target.rows); // what a killed one would not have taken out
    await this.close();
    for (const [text, row] of kept) this.target.rows.set(text, row);
    return { target: this.target, left };
  }

  async close(): Promise<void> {
    await this.member.close();
    this.line.close();
  }
}
