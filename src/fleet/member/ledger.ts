/** Changes of shards, as transactions: each is written where the shard is as it was seen to be. */
import { log } from '../../terminal/log.js';
import { NO_LEASE } from '../etcd/answers.js';
import type { Etcd, Txn } from '../etcd/store.js';
import type { Keys } from '../registry/keys.js';
import type { Mirror } from '../registry/mirror.js';
import type { ShardChange } from '../shards/plan.js';

export class Ledger {
  constructor(
    private readonly options: {
      readonly etcd: Pick<Etcd, 'transactAll'>;
      readonly keys: Keys;
      readonly mirror: Mirror;
    },
  ) {}

  /** Those that were written, which the mirror has by then. `lease`: of whoever writes. */
  async write(changes: readonly ShardChange[], lease: string): Promise<ShardChange[]> {
    const { etcd, keys, mirror } = this.options;
    const outcomes = await etcd.transactAll(changes.map((change) => this.txnOf(change, lease)));
    const done: ShardChange[] = [];
    for (const [index, change] of changes.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined || !outcome.isDone) continue;
      done.push(change);
      const { shard, record, keepsLease } = change;
      mirror.applyOwn({
        key: keys.of('shards', shard),
        value: Buffer.from(JSON.stringify(record)),
        modRevision: outcome.revision,
        createRevision: outcome.revision,
        lease: keepsLease ? (mirror.shards.get(shard)?.lease ?? NO_LEASE) : lease,
      });
    }
    const [first] = done;
    if (first !== undefined)
      log.debug(`fleet: ${done.length} shards, the first ${first.shard}: ${first.kind}`);
    return done;
  }

  private txnOf({ shard, record, modRevision, keepsLease }: ShardChange, lease: string): Txn {
    const key = this.options.keys.of('shards', shard);
    const value = JSON.stringify(record);
    return {
      when: [modRevision === null ? { key, isAbsent: true } : { key, modRevision }],
      write: [{ put: key, value, lease: keepsLease ? 'keep' : lease }],
    };
  }
}
