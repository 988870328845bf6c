/**
 * What may be asked of a group, straight in etcd: by a command on any machine, or by a member for
 * who asks it. Each change is one transaction, and whoever it concerns hears of it by its watch.
 */
import { createHash } from 'node:crypto';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { FantailError } from '../../domain/errors.js';
import type { NamedFeed } from '../../domain/feed.js';
import { BUILT_IN, MODULE_SIZE_MAX } from '../../domain/filter.js';
import type {
  Fleet,
  FleetStatus,
  FleetSubscriberChange,
  FleetSubscriberRow,
} from '../../domain/fleet.js';
import type { Entry } from '../etcd/answers.js';
import type { Condition, Etcd, Write } from '../etcd/store.js';
import { shardOf } from '../shards/rendezvous.js';
import { reached, untilDone } from './asking.js';
import { drainMember } from './draining.js';
import { readGroup } from './follower.js';
import type { Keys } from './keys.js';
import { Mirror } from './mirror.js';
import { isFilterName, parsed, type SubscriberRecord, schemas } from './records.js';
import { statusOf, subscriberRows } from './status.js';

/** Modules that nobody uses and that go with one change; etcd takes 128 operations in all. */
const SWEPT_MAX = 100;

export class GroupDesk implements Fleet {
  constructor(
    private readonly etcd: Etcd,
    private readonly keys: Keys,
    /** What is followed here, as it is in etcd now; null: all is to be read. Throws EtcdAway. */
    private readonly followed: () => Promise<Mirror | null> = async () => null,
  ) {}

  /** As it is in etcd now. */
  private async read(): Promise<Mirror> {
    return reached(async () => {
      const known = await this.followed();
      if (known !== null) return known;
      const mirror = new Mirror(this.keys);
      const { entries, revision } = await readGroup(this.etcd, this.keys);
      mirror.fill(entries, revision);
      return mirror;
    });
  }

  async status(): Promise<FleetStatus> {
    return statusOf(this.keys.group, await this.read());
  }

  async list(): Promise<FleetSubscriberRow[]> {
    return subscriberRows(await this.read());
  }

  /** What stands there and is wrong begins anew. */
  add(to: Endpoint, change: FleetSubscriberChange): Promise<{ existing: boolean }> {
    checkFilterName(change.filter ?? BUILT_IN);
    const key = this.keys.of('subscribers', endpointText(to));
    return reached(() => this.change(key, (before) => [putSubscriber(key, before, change)]));
  }

  /** One that is there, and still is as it is written; returns what it was. */
  private alter(
    to: Endpoint,
    change: FleetSubscriberChange,
    conditions: () => Promise<Condition[]> = async () => [],
  ): Promise<SubscriberRecord> {
    const key = this.keys.of('subscribers', endpointText(to));
    const tryOnce = async () => {
      const when = await conditions();
      const entry = await this.etcd.get(key);
      const before = recordOf(entry);
      if (entry === null || before === null) throw notSubscribed(to);
      const { isDone } = await this.etcd.transact({
        when: [{ key, modRevision: entry.modRevision }, ...when],
        write: [putSubscriber(key, entry, change)],
      });
      return isDone ? before : null;
    };
    return reached(() => untilDone(tryOnce));
  }

  remove(to: Endpoint): Promise<{ removed: boolean }> {
    return reached(() => this.removeKey(this.keys.of('subscribers', endpointText(to))));
  }

  async pause(to: Endpoint, isPaused: boolean): Promise<{ changed: boolean }> {
    const before = await this.alter(to, { paused: isPaused });
    return { changed: before.paused !== isPaused };
  }

  async move(to: Endpoint, member: string | null): Promise<{ shard: number; subscribers: number }> {
    const mirror = await this.read();
    const shard = shardOf(to);
    if (mirror.find(to) === undefined) throw notSubscribed(to);
    if (member !== null && !mirror.members.has(member)) throw this.noMember(member, mirror);
    const key = this.keys.of('pins', shard);
    const one = member === null ? { remove: key } : { put: key, value: JSON.stringify({ member }) };
    await reached(() => this.etcd.transact({ when: [], write: [one] }));
    return { shard, subscribers: mirror.subscribers[shard]?.size ?? 0 };
  }

  /** BUSY where others take their feed from it, also one that registers at this moment. */
  drain(member: string): Promise<{ draining: boolean }> {
    const key = this.keys.of('members', member);
    const tryOnce = async () => {
      const mirror = await this.read();
      const relays = [...mirror.members].filter(([, { upstream }]) => upstream === member);
      if (relays.length > 0)
        throw new FantailError(
          'BUSY',
          `${relays
            .map(([name]) => name)
            .sort()
            .join(
              ', ',
            )} would have no feed: it comes from ${member}; stop or drain them first, or start them with another --upstream`,
        );
      const prefix = this.keys.of('members', '');
      const when = [{ prefix, unchangedSince: mirror.revision }];
      const drained = await drainMember(this.etcd, key, { when });
      if (drained === 'none') throw this.noMember(member, mirror);
      return drained === 'draining' ? { draining: true } : null;
    };
    return reached(() => untilDone(tryOnce));
  }

  private noMember(member: string, { members }: Mirror): FantailError {
    const names = [...members.keys()].sort().join(', ') || 'none';
    return new FantailError('NOT_FOUND', `there is no member ${member}; there are: ${names}`);
  }

  // -- feeds --------------------------------------------------------------------------------------

  feedAdd({ name, ip, port, source }: NamedFeed): Promise<{ existing: boolean }> {
    if (name === 'main')
      throw new FantailError(
        'BAD_REQUEST',
        "main is each member's own: where it was started to listen",
      );
    const key = this.keys.of('feeds', name);
    const value = JSON.stringify({ ip, port, source });
    return reached(() => this.change(key, () => [{ put: key, value }]));
  }

  feedRemove(name: string): Promise<{ removed: boolean }> {
    return reached(() => this.removeKey(this.keys.of('feeds', name)));
  }

  // -- filters ------------------------------------------------------------------------------------

  /** Members check it as any other, and run it if they allow its hash. */
  async filterLoad(name: string, module: Uint8Array): Promise<{ sha256: string }> {
    checkFilterName(name);
    if (name === BUILT_IN)
      throw new FantailError(
        'BAD_REQUEST',
        `${BUILT_IN} is built in; load yours under another name`,
      );
    if (module.length > MODULE_SIZE_MAX)
      throw new FantailError('TOO_LARGE', `a module has at most ${MODULE_SIZE_MAX} bytes`);
    const sha256 = createHash('sha256').update(module).digest('hex');
    const key = this.keys.of('filters', name);
    const tryOnce = async () => {
      const mirror = await this.read();
      const after = new Map(mirror.filters).set(name, { sha256 });
      const { isDone } = await this.etcd.transact({
        when: [this.unchanged(this.keys.of('filters', ''), mirror)],
        write: [
          { put: this.keys.of('modules', sha256), value: module },
          { put: key, value: JSON.stringify({ sha256 }) },
          ...this.leftOver(mirror, after, key),
        ],
      });
      return isDone ? { sha256 } : null;
    };
    return reached(() => untilDone(tryOnce));
  }

  async filterUse(name: string, param: string, to: Endpoint | null): Promise<void> {
    checkFilterName(name);
    const key = this.keys.of('filters', name);
    const isThere = async (): Promise<Condition[]> => {
      if (name === BUILT_IN) return [];
      const entry = await this.etcd.get(key);
      if (entry === null || 'wrong' in parsed(schemas.filters, entry.value)) throw noFilter(name);
      return [{ key, isPresent: true }];
    };
    if (to !== null) {
      await this.alter(to, { filter: name, param }, isThere);
      return;
    }
    const write = [{ put: this.keys.default, value: JSON.stringify({ filter: name, param }) }];
    await reached(() =>
      untilDone(async () => {
        const { isDone } = await this.etcd.transact({ when: await isThere(), write });
        return isDone || null;
      }),
    );
  }

  /** BUSY where it answers for somebody, also for one that is given it at this moment. */
  async filterUnload(name: string): Promise<void> {
    const key = this.keys.of('filters', name);
    const tryOnce = async () => {
      const mirror = await this.read();
      if (!mirror.filters.has(name) && !mirror.faults.has(key)) throw noFilter(name);
      const users = subscriberRows(mirror).filter(({ filter }) => filter === name).length;
      if (users > 0 || mirror.default?.filter === name)
        throw new FantailError(
          'BUSY',
          `filter ${name} answers for ${users > 0 ? `${users} subscribers` : 'those that name none'}; fleet filter use another one first`,
        );
      const after = new Map(mirror.filters);
      after.delete(name);
      const kinds = ['filters', 'subscribers'] as const;
      const prefixes = [...kinds.map((kind) => this.keys.of(kind, '')), this.keys.default];
      const { isDone } = await this.etcd.transact({
        when: prefixes.map((prefix) => this.unchanged(prefix, mirror)),
        write: [{ remove: key }, ...this.leftOver(mirror, after, key)],
      });
      return isDone || null;
    };
    await reached(() => untilDone(tryOnce));
  }

  /**
   * The modules that no filter means any more, once those are so: members that run one have its
   * bytes. None while the value of another than the changed one is wrong: nobody knows which it
   * meant.
   */
  private leftOver(mirror: Mirror, filters: Mirror['filters'], changed: string): Write[] {
    const prefix = this.keys.of('filters', '');
    const wrong = [...mirror.faults.keys()].filter((key) => key.startsWith(prefix));
    if (wrong.some((key) => key !== changed)) return [];
    const used = new Set([...filters.values()].map(({ sha256 }) => sha256));
    return [...mirror.modules]
      .filter((sha256) => !used.has(sha256))
      .slice(0, SWEPT_MAX)
      .map((sha256) => ({ remove: this.keys.of('modules', sha256) }));
  }

  // -- in etcd ------------------------------------------------------------------------------------

  /** What is written follows from what is there, and is written only if that is so still. */
  private async change(
    key: string,
    writesOf: (before: Entry | null) => Write[],
  ): Promise<{ existing: boolean }> {
    // most often there is nothing, which is found out by the request that writes
    const first = { when: [{ key, isAbsent: true }] as const, write: writesOf(null) };
    if ((await this.etcd.transact(first)).isDone) return { existing: false };
    return untilDone(async () => {
      const before = await this.etcd.get(key);
      const when: Condition[] =
        before === null ? [{ key, isAbsent: true }] : [{ key, modRevision: before.modRevision }];
      const { isDone } = await this.etcd.transact({ when, write: writesOf(before) });
      return isDone ? { existing: before !== null } : null;
    });
  }

  private async removeKey(key: string): Promise<{ removed: boolean }> {
    const when: Condition[] = [{ key, isPresent: true }];
    const { isDone } = await this.etcd.transact({ when, write: [{ remove: key }] });
    return { removed: isDone };
  }

  private unchanged(prefix: string, { revision }: Mirror): Condition {
    return { prefix, unchangedSince: revision };
  }
}

/** What it is; null: nothing, or a value that is wrong. */
function recordOf(entry: Entry | null): SubscriberRecord | null {
  const result = entry === null ? null : parsed(schemas.subscribers, entry.value);
  return result !== null && 'value' in result ? result.value : null;
}

/** What is not said stays as it was; so does what a later version has written. */
function putSubscriber(key: string, before: Entry | null, change: FleetSubscriberChange): Write {
  const isKnown = before !== null && recordOf(before) !== null;
  const known = isKnown ? (JSON.parse(before.value.toString()) as object) : {}; // just checked
  const said = Object.entries(change).filter(([, value]) => value !== undefined);
  // the parameter is of the filter that it was given with
  const param = change.filter === undefined ? {} : { param: '' };
  const record = {
    ...schemas.subscribers.parse({}),
    ...known,
    ...param,
    ...Object.fromEntries(said),
  };
  return { put: key, value: JSON.stringify(record) };
}

const notSubscribed = (to: Endpoint) =>
  new FantailError(
    'NOT_FOUND',
    `${endpointText(to)} is not subscribed; fleet add it first, see: fleet list`,
  );

const noFilter = (name: string) =>
  new FantailError('NOT_FOUND', `there is no filter ${name}; see: fleet status`);

function checkFilterName(name: string): void {
  if (isFilterName(name)) return;
  throw new FantailError(
    'BAD_REQUEST',
    'a filter name has 1 to 32 of a-z 0-9 . _ - and starts with a letter or digit',
  );
}
