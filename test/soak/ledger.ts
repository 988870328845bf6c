/** What a soak did, what that cost, and where every copy ended. */
import type { Stats } from '../../src/domain/statistics.js';
import type { Sunk } from '../rig/wire.js';

/** What is killed; an adopter: a supervisor that is just taking over what another has left. */
export const VICTIMS = ['worker', 'fantail-rx', 'supervisor', 'adopter', 'standby'] as const;
export type Victim = (typeof VICTIMS)[number];

export type Inside = 'commit' | 'call';

/** One kill -9, and how long nobody had the victim's place. */
export interface Kill {
  readonly victim: Victim;
  /** It left a commit half done, or a call that sends in bulk had not come back; null: neither. */
  readonly inside: Inside | null;
  readonly outage_ms: number;
}

/** The middle and the ends of some times, in ms. */
export interface Spread {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export class Ledger {
  readonly kills: Kill[] = [];
  /** Of an empty program, from its start to its end, on the same machine meanwhile: ms. */
  readonly respawns_ms: number[] = [];
  /** By name: how often each of the other things was done. */
  readonly events = new Map<string, number>();

  did(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }

  insideOf(what: Inside): number {
    return this.kills.filter(({ inside }) => inside === what).length;
  }

  outageOf(victim: Victim): Spread {
    return spreadOf(this.kills.filter((kill) => kill.victim === victim).map((k) => k.outage_ms));
  }

  /** As people read it: what was done, then every copy under the one name that it ended under. */
  text({ sent, sunk, last }: { sent: number; sunk: Sunk; last: Stats }): string {
    const line = (name: string, { count, p50, p99, max }: Spread) =>
      `  ${name.padEnd(16)}${[count, ...[p50, p99, max].map((ms) => ms.toFixed(1))]
        .map((text) => String(text).padStart(9))
        .join('')}`;
    const sum = (name: 'received' | 'lost' | 'duplicated' | 'reordered' | 'corrupt') =>
      sunk.subscribers.reduce((total, seen) => total + seen[name], 0);
    const counted = (value: (row: Stats['subscribers'][number]) => number) =>
      last.subscribers.reduce((total, row) => total + value(row), 0);
    const drops = Object.keys(last.subscribers[0]?.drops ?? {})
      .map((name) => [name, counted((row) => row.drops[name] ?? 0)] as const)
      .filter(([, count]) => count > 0);
    return [
      `outage, ms       ${'kills      p50      p99      max'.padStart(36)}`,
      ...VICTIMS.map((victim) => line(victim, this.outageOf(victim))),
      line('empty program', spreadOf(this.respawns_ms)),
      `kills inside a commit: ${this.insideOf('commit')} of ${this.kills.length}`,
      `kills inside a call of bulk transmit: ${this.insideOf('call')}`,
      ...[...this.events].map(([name, count]) => `${name}: ${count}`),
      `packets sent by the feeds      ${sent}`,
      `packets received               ${last.feeds.reduce((sum, feed) => sum + feed.received, 0)}`,
      `copies owed to who stayed      ${counted((row) => row.received)}`,
      `  sent                         ${counted((row) => row.sent)}`,
      ...drops.map(([name, count]) => `  ${name.padEnd(29)}${count}`),
      `  in flight                    ${counted((row) => row.in_flight)}`,
      `copies seen by the sink        ${sum('received')}`,
      ...(['lost', 'duplicated', 'reordered', 'corrupt'] as const).map(
        (name) => `  ${name.padEnd(29)}${sum(name)}`,
      ),
    ].join('\n');
  }
}

function spreadOf(times: readonly number[]): Spread {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
