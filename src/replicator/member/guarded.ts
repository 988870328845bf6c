/**
 * A member's replicator as its control channel drives it: whoever is subscribed is the group's
 * affair, so that what would change it here alone is refused, with what does it for the group.
 */
import type { ConfigurationAnswer, ReloadAnswer } from '../../domain/configuration.js';
import { FantailError } from '../../domain/errors.js';
import type { Fleet } from '../../domain/fleet.js';
import type { GapEvent, Replicator } from '../../domain/replicator.js';
import type {
  FeedRow,
  FilterInfo,
  FilterRow,
  Stats,
  SubscriberRow,
} from '../../domain/statistics.js';
import type { Member } from '../../fleet/member/member.js';
import type { LiveReplicator } from '../replicator.js';

// More members than 15: all that control may ask.
export class GuardedReplicator implements Replicator {
  constructor(
    private readonly live: LiveReplicator,
    private readonly member: Member,
    private readonly desk: Fleet,
  ) {}

  fleet(): Fleet {
    return this.desk;
  }

  private refuse(cure: string): Promise<never> {
    const { group, member } = this.member.row;
    return Promise.reject(
      new FantailError(
        'NOT_ALLOWED',
        `this is the member ${member} of the group ${group}, where that is in etcd; ask: ${cure}`,
      ),
    );
  }

  add = (): Promise<never> => this.refuse('fleet add');
  remove = (): Promise<never> => this.refuse('fleet remove');
  pause = (_ip: string, _port: number, isPaused: boolean): Promise<never> =>
    this.refuse(isPaused ? 'fleet pause' : 'fleet resume');
  feedAdd = (): Promise<never> => this.refuse('fleet feed add');
  feedRemove = (): Promise<never> => this.refuse('fleet feed remove');
  filterLoad = (): Promise<never> => this.refuse('fleet filter load');
  filterUse = (): Promise<never> => this.refuse('fleet filter use');
  filterUnload = (): Promise<never> => this.refuse('fleet filter unload');

  list(): SubscriberRow[] {
    return this.live.list();
  }

  feedList(): Promise<FeedRow[]> {
    return this.live.feedList();
  }

  async stats(): Promise<Stats> {
    return this.live.stats();
  }

  queueStats(): Promise<Stats> {
    return this.live.queueStats();
  }

  filterList(): FilterRow[] {
    return this.live.filterList();
  }

  filterInfo(name: string): FilterInfo {
    return this.live.filterInfo(name);
  }

  configuration(): ConfigurationAnswer {
    return this.live.configuration();
  }

  reload(): Promise<ReloadAnswer> {
    return this.live.reload();
  }

  onGap(listener: (gap: GapEvent) => void): () => void {
    return this.live.onGap(listener);
  }
}
