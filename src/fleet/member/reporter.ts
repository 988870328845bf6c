/** What a member tells of itself in etcd, for `fleet status` on any machine. */
import { messageOf } from '../../domain/errors.js';
import type { FleetHop, FleetRow } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import { EtcdRefusal } from '../etcd/answers.js';
import type { Etcd } from '../etcd/store.js';
import type { Keys } from '../registry/keys.js';
import type { Mirror } from '../registry/mirror.js';
import { REASON_LENGTH_MAX, REASONS_MAX, type ReportRecord } from '../registry/records.js';
import { printable } from '../registry/status.js';

/** Each report is heard by all members: not one for each change of a busy second. */
const AGAIN_MS = 1000;

export class Reporter {
  private told = '';
  /** Of the store, when that was written. */
  private toldRevision = 0;
  private told_ms = Number.NEGATIVE_INFINITY;
  private isTelling = false;
  /** Why etcd refused the last one; empty: it did not. */
  private refused = '';

  constructor(
    private readonly options: {
      readonly etcd: Pick<Etcd, 'transact'>;
      readonly keys: Keys;
      readonly mirror: Pick<Mirror, 'reports' | 'applyOwn'>;
      readonly name: string;
    },
  ) {}

  /** No pass waits for that: who is served does not depend on it, and the next tells what is. */
  tell(about: {
    readonly lease: string;
    readonly row: FleetRow;
    /** By `ip:port`, and by the member's name, why each is not served. */
    readonly unserved: ReadonlyMap<string, string>;
    readonly refusedRelays: ReadonlyMap<string, string>;
    /** Of itself, where it is one of several that a packet passes. */
    readonly hop: Omit<FleetHop, 'member'> | null;
  }): void {
    const { lease, row, hop } = about;
    const unserved = firstOf(about.unserved);
    const refused = firstOf(about.refusedRelays);
    const record: ReportRecord = {
      state: row.standing,
      subscribers: row.subscribers,
      handover: row.handover,
      unserved: row.unserved,
      no_room: row.no_room,
      inside: hop?.inside_ns ?? null,
      link_us: hop?.link_us ?? null,
      reasons: unserved.map(([subscriber, reason]) => ({ subscriber, reason })),
      refused_relays: refused.map(([member, reason]) => ({ member, reason })),
    };
    void this.write(JSON.stringify(record), lease);
  }

  private async write(value: string, lease: string): Promise<void> {
    const now = performance.now();
    const { etcd, keys, name, mirror } = this.options;
    // somebody else may have removed it, or written over it, also with what looks right
    const isThere = mirror.reports.get(name)?.modRevision === this.toldRevision;
    const isTold = isThere && `${lease} ${value}` === this.told;
    if (isTold || this.isTelling || now - this.told_ms < AGAIN_MS) return;
    this.isTelling = true;
    this.told_ms = now; // also where etcd refuses: not again in each pass
    const key = keys.of('reports', name);
    try {
      const { revision } = await etcd.transact({ when: [], write: [{ put: key, value, lease }] });
      const revisions = { modRevision: revision, createRevision: revision };
      mirror.applyOwn({ key, value: Buffer.from(value), lease, ...revisions });
      this.told = `${lease} ${value}`;
      this.toldRevision = revision;
      this.refused = '';
    } catch (error) {
      const reason = messageOf(error);
      const isNews = error instanceof EtcdRefusal && reason !== this.refused;
      log[isNews ? 'warn' : 'debug'](`fleet: etcd takes no report of this member: ${reason}`);
      if (isNews) this.refused = reason;
    } finally {
      this.isTelling = false;
    }
  }
}

/** As many of them as are told, each as long as it may be. */
const firstOf = (reasons: ReadonlyMap<string, string>): [name: string, reason: string][] =>
  [...reasons]
    .slice(0, REASONS_MAX)
    .map(([name, reason]) => [name, printable(reason).slice(0, REASON_LENGTH_MAX)]);
