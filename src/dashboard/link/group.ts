/**
 * What is known of the group of a member: read in etcd by that member (`fleet.status`,
 * `fleet.list`), for as long as somebody looks at it. Each such question reads the whole group, so
 * it is asked seldom, the list only where something has changed, and neither while etcd is away:
 * answers come in order, and those of the page's other questions would wait behind it.
 */
import type { FleetRow, FleetStatus, FleetSubscriberRow } from '../../domain/fleet.js';
import { type Moment, moment } from './moment.js';
import { Lost, type Questions, Refusal } from './questions.js';

export interface GroupReading {
  readonly status: FleetStatus;
  /** The same rows as in the reading before where nothing has changed in etcd. */
  readonly subscribers: readonly FleetSubscriberRow[];
  /** When it was asked for. */
  readonly asked: Moment;
}

export interface KnownGroup {
  /** The last; null: none yet. */
  readonly reading: GroupReading | null;
  /** Why there is none newer, in the server's words; null: there was no refusal. */
  readonly refusal: string | null;
  /**
   * While the member does not reach etcd: since when, milliseconds since 1970, or null where it
   * has not reached it yet.
   */
  readonly away: { readonly since_ms: number | null } | null;
}

export const NO_GROUP: KnownGroup = { reading: null, refusal: null, away: null };

/** Between two readings, at least: from the beginning of one to that of the next. */
const PACE_MS = 2000;
/** Of its time a reading may take one part: what takes long is asked for less often. */
const REST_PARTS = 10;

export class GroupReader {
  private known = NO_GROUP;
  private questions: Questions | null = null;
  private fleet: FleetRow | undefined;
  private isShown = false;
  private isReading = false;
  /** Something was changed while a reading was under way. */
  private isWanted = false;
  /** By performance.now(). */
  private due_ms = 0;

  constructor(private readonly onNews: (group: KnownGroup) => void) {}

  /** Whether it is looked at. */
  show(isShown: boolean): void {
    this.isShown = isShown;
    if (isShown) this.refresh();
  }

  /** With each statistics of the member; undefined: it is of no group. */
  follow(questions: Questions, fleet: FleetRow | undefined): void {
    this.questions = questions;
    this.fleet = fleet;
    const { reading } = this.known;
    const away = awaySince(fleet, this.known.away);
    if (reading !== null && reading.status.group !== fleet?.group) this.tell({ ...NO_GROUP, away });
    else if (away !== this.known.away) this.tell({ ...this.known, away });
    if (performance.now() >= this.due_ms) void this.read();
  }

  /** What has just been changed is to be seen at once, or after what is being read. */
  refresh(): void {
    this.due_ms = 0;
    if (this.isReading) this.isWanted = true;
    else void this.read();
  }

  /** The connection has ended. */
  drop(): void {
    this.questions = null;
    this.isReading = false;
    this.isWanted = false;
    this.due_ms = 0;
  }

  /** Nothing is to be known any more. */
  forget(): void {
    this.tell(NO_GROUP);
  }

  private async read(): Promise<void> {
    const { questions, fleet, isShown } = this;
    if (questions === null || fleet?.standing !== 'joined') return;
    if (!isShown || document.hidden || this.isReading) return;
    this.isReading = true;
    try {
      const reading = await this.readNow(questions);
      if (questions === this.questions) this.tell({ ...this.known, reading, refusal: null });
    } catch (thrown) {
      if (thrown instanceof Refusal) this.tell({ ...this.known, refusal: thrown.message });
      else if (!(thrown instanceof Lost)) throw thrown; // the connection's own end is told
    } finally {
      if (questions === this.questions) {
        const { isWanted } = this;
        this.isReading = false;
        this.isWanted = false;
        if (isWanted) this.refresh();
      }
    }
  }

  private async readNow(questions: Questions): Promise<GroupReading> {
    const asked = moment();
    this.due_ms = asked.since_ms + PACE_MS;
    const status = await questions.ask({ op: 'fleet.status' });
    const before = this.known.reading;
    const isSame =
      before !== null &&
      before.status.group === status.group &&
      before.status.revision === status.revision;
    const subscribers = isSame
      ? before.subscribers
      : (await questions.ask({ op: 'fleet.list' })).subscribers;
    const took_ms = performance.now() - asked.since_ms;
    this.due_ms = asked.since_ms + Math.max(PACE_MS, REST_PARTS * took_ms);
    return { status, subscribers, asked };
  }

  private tell(known: KnownGroup): void {
    this.known = known;
    this.onNews(known);
  }
}

/** The first moment that was found stays: each reading would find one some milliseconds off. */
function awaySince(fleet: FleetRow | undefined, before: KnownGroup['away']): KnownGroup['away'] {
  if (fleet === undefined || fleet.standing === 'joined') return null;
  if (before !== null && before.since_ms !== null) return before;
  const { silent_ms } = fleet;
  return silent_ms === null
    ? (before ?? { since_ms: null })
    : { since_ms: moment().at_ms - silent_ms };
}
