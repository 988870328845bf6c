/**
 * The accounts of all subscribers that have no row of their own, as one whose counters only rise:
 * who leaves it, by being removed or for a row of its own, takes nothing off.
 */
import { sumOf } from '../domain/counts.js';
import type { AccountRow } from '../domain/statistics.js';

/** A sum that falls when one of its parts goes, and what has to be added so that it does not. */
interface Rising {
  last: number;
  gone: number;
}

export class Others {
  private readonly counts = new Map<string, Rising>();
  private readonly drops = new Map<string, Rising>();

  /** With these now; null: there was never any. */
  account(rows: readonly AccountRow[]): AccountRow | null {
    if (rows.length === 0 && this.counts.size === 0) return null;
    const sum = (name: 'received' | 'sent' | 'bytes') =>
      rise(
        this.counts,
        name,
        rows.reduce((total, row) => total + row[name], 0),
      );
    const drops = Object.fromEntries([...this.drops.keys()].map((name) => [name, 0]));
    for (const row of rows) {
      if (sumOf(row.drops) === 0) continue;
      for (const [name, count] of Object.entries(row.drops))
        drops[name] = (drops[name] ?? 0) + count;
    }
    return {
      ip: '',
      port: 0,
      received: sum('received'),
      sent: sum('sent'),
      bytes: sum('bytes'),
      in_flight: rows.reduce((total, row) => total + row.in_flight, 0),
      drops: Object.fromEntries(
        Object.entries(drops).map(([name, count]) => [name, rise(this.drops, name, count)]),
      ),
    };
  }
}

function rise(sums: Map<string, Rising>, name: string, now: number): number {
  const sum = sums.get(name) ?? { last: 0, gone: 0 };
  sum.gone += Math.max(0, sum.last - now);
  sum.last = now;
  sums.set(name, sum);
  return sum.gone + now;
}
