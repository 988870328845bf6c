/**
 * What may be asked of a group, straight in etcd: by a command on any machine, or by a member for
 * who asks it. Each change is one transaction, and whoever it concerns hears of it by its watch.
 */
import { createHash } from 'node:crypto';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { FantailError, messageOf } from '../../domain/errors.js';
import type { NamedFeed } from '../../domain/feed.js';
import { BUILT_IN, MODULE_SIZE_MAX } from '../../domain/filter.js';
import type {
  Fleet,
  FleetStatus,
  FleetSubscriberChange,
  FleetSubscriberRow,
} from '../../domain/fleet.js';
import { type Entry, EtcdAway, EtcdRefusal } from '../etcd/answers.js';
import type { Etcd, Txn, Write } from '../etcd/store.js';
import { drainMember } from '../member/registration.js';
import { shardOf } from '../shards/rendezvous.js';
import { readGroup } from './follower.js';
import type { Keys } from './keys.js';
import { Mirror } from './mirror.js';
import { parsed, schemas } from './records.js';
import { statusOf, subscriberRows } from './status.js';

const FILTER_NAME = /^[a-z0-9][a-z0-9._-]{0,31}$/;

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

  add(to: Endpoint, change: FleetSubscriberChange): Promise<{ existing: boolean }> {
    checkFilterName(change.filter ?? BUILT_IN);
    const key = this.keys.of('subscribers', endpointText(to));
    return reached(() =>
      this.change(key, (before) => {
        const result = before === null ? null : parsed(schemas.subscribers, before.value);
        const known = result !== null && 'value' in result ? result.value : null;
        const said = Object.entries(change).filter(([, value]) => value !== undefined);
        // the parameter is of the filter that it was given with
        const param = change.filter === undefined ? {} : { param: '' };
        const record = {
          ...schemas.subscribers.parse({}),
          ...known,
          ...param,
          ...Object.fromEntries(said),
        };
        return [{ put: key, value: JSON.stringify(record) }];
      }),
    );
  }

  remove(to: Endpoint): Promise<{ removed: boolean }> {
    return reached(() => this.removeKey(this.keys.of('subscribers', endpointText(to))));
  }

  async pause(to: Endpoint, isPaused: boolean): Promise<{ changed: boolean }> {
    const known = (await this.read()).find(to);
    if (known === undefined)
      throw new FantailError('NOT_FOUND', `${endpointText(to)} is not subscribed; see: fleet list`);
    await this.add(to, { paused: isPaused });
    return { changed: known.paused !== isPaused };
  }

  async move(to: Endpoint, member: string | null): Promise<{ shard: number; subscribers: number }> {
    const mirror = await this.read();
    const shard = shardOf(to);
    if (mirror.find(to) === undefined)
      throw new FantailError('NOT_FOUND', `${endpointText(to)} is not subscribed; see: fleet list`);
    if (member !== null && !mirror.members.has(member)) throw this.noMember(member, mirror);
    const key = this.keys.of('pins', shard);
    const one = member === null ? { remove: key } : { put: key, value: JSON.stringify({ member }) };
    await reached(() => this.etcd.transact({ when: [], write: [one] }));
    return { shard, subscribers: mirror.subscribers[shard]?.size ?? 0 };
  }

  async drain(member: string): Promise<{ draining: boolean }> {
    const key = this.keys.of('members', member);
    const relays = [...(await this.read()).members].flatMap(([name, { upstream }]) =>
      upstream === member ? [name] : [],
    );
    if (relays.length > 0)
      throw new FantailError(
        'BUSY',
        `${relays.sort().join(', ')} would have no feed: it comes from ${member}; stop or drain them first, or start them with another --upstream`,
      );
    const draining = await reached(() => drainMember(this.etcd, key));
    if (!draining) throw this.noMember(member, await this.read());
    return { draining };
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
    const write = [
      { put: this.keys.of('modules', sha256), value: module },
      { put: this.keys.of('filters', name), value: JSON.stringify({ sha256 }) },
    ];
    await reached(() => this.etcd.transact({ when: [], write }));
    return { sha256 };
  }

  async filterUse(name: string, param: string, to: Endpoint | null): Promise<void> {
    checkFilterName(name);
    const mirror = await this.read();
    if (name !== BUILT_IN && !mirror.filters.has(name))
      throw new FantailError('NOT_FOUND', `there is no filter ${name}; see: fleet status`);
    if (to === null) {
      const value = JSON.stringify({ filter: name, param });
      await reached(() =>
        this.etcd.transact({ when: [], write: [{ put: this.keys.default, value }] }),
      );
      return;
    }
    if (mirror.find(to) === undefined)
      throw new FantailError(
        'NOT_FOUND',
        `${endpointText(to)} is not subscribed; fleet add it first`,
      );
    await this.add(to, { filter: name, param });
  }

  async filterUnload(name: string): Promise<void> {
    const mirror = await this.read();
    const record = mirror.filters.get(name);
    if (record === undefined)
      throw new FantailError('NOT_FOUND', `there is no filter ${name}; see: fleet status`);
    const users = subscriberRows(mirror).filter(({ filter }) => filter === name).length;
    if (users > 0 || mirror.default?.filter === name)
      throw new FantailError(
        'BUSY',
        `filter ${name} answers for ${users > 0 ? `${users} subscribers` : 'those that name none'}; fleet filter use another one first`,
      );
    const isShared = [...mirror.filters].some(([other, { sha256 }]) => {
      return other !== name && sha256 === record.sha256;
    });
    const module = isShared ? [] : [{ remove: this.keys.of('modules', record.sha256) }];
    const write = [{ remove: this.keys.of('filters', name) }, ...module];
    await reached(() => this.etcd.transact({ when: [], write }));
  }

  // -- in etcd ------------------------------------------------------------------------------------

  /** What is written follows from what is there, and is written only if that is so still. */
  private async change(
    key: string,
    writesOf: (before: Entry | null) => Write[],
  ): Promise<{ existing: boolean }> {
    for (;;) {
      const before = await this.etcd.get(key);
      const when: Txn['when'] =
        before === null ? [{ key, isAbsent: true }] : [{ key, modRevision: before.modRevision }];
      const { isDone } = await this.etcd.transact({ when, write: writesOf(before) });
      if (isDone) return { existing: before !== null };
    }
  }

  private async removeKey(key: string): Promise<{ removed: boolean }> {
    const when: Txn['when'] = [{ key, isPresent: true }];
    const { isDone } = await this.etcd.transact({ when, write: [{ remove: key }] });
    return { removed: isDone };
  }
}

function checkFilterName(name: string): void {
  if (FILTER_NAME.test(name)) return;
  throw new FantailError(
    'BAD_REQUEST',
    'a filter name has 1 to 32 of a-z 0-9 . _ - and starts with a letter or digit',
  );
}

/** Refused with the reason while etcd is away. */
async function reached<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof EtcdAway)
      throw new FantailError(
        'BUSY',
        `${error.message}; nothing of the group can be read or changed until it does`,
      );
    if (error instanceof EtcdRefusal) throw new FantailError('BUSY', messageOf(error));
    throw error;
  }
}
