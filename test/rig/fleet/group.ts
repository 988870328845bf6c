/**
 * A fleet of the rig whose members are one group: started, subscribed through etcd, and asked. What
 * is put into etcd is put there by etcdctl, so that the product's own writing is not its yardstick.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FleetStatus } from '../../../src/domain/fleet.js';
import { atEnd, eventually } from '../program.js';
import type { Host } from './bridge.js';
import type { Etcd } from './etcd.js';
import { Fleet, type FleetOptions } from './fleet.js';
import type { Member } from './member.js';
import { countOf, type Phase } from './oracle.js';

export const GROUP = 'test';
/** A member's lease. */
export const LEASE_S = 10;
const CONTROL_PORT = 12345;
export const TOKEN = 'of-the-tests';

export interface GroupOptions
  extends Pick<FleetOptions, 'etcd' | 'members' | 'subscribers' | 'listen'> {
  /** Flags of a member beside those that make it one. */
  readonly more?: (host: Host) => readonly string[];
}

export class Group {
  private constructor(readonly fleet: Fleet) {}

  /** All of it runs, and every subscriber is served, but for the feed. */
  static async open(options: GroupOptions): Promise<Group> {
    const folder = mkdtempSync(join(tmpdir(), 'fantail-fleet-'));
    atEnd(() => rmSync(folder, { recursive: true, force: true }));
    const tokenFile = join(folder, 'token');
    writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
    const { more = () => [], ...rest } = options;
    const flags = (host: Host, etcd: Etcd) => [
      ...['--layout', 'inline', '--workers', '1', '--token-file', tokenFile],
      ...['--control', `${host.ip}:${CONTROL_PORT}`, '--member', host.name],
      ...['--fleet', `${etcd.urls}/${GROUP}`, '--fleet-plaintext'],
      ...more(host),
    ];
    const fleet = await Fleet.open({ ...rest, flags, tokenFile });
    const group = new Group(fleet);
    try {
      await fleet.etcd.start();
      group.subscribe();
      await Promise.all(fleet.members.map((member) => member.start()));
      await group.settled();
    } catch (thrown) {
      const said = fleet.told();
      fleet.close();
      throw new Error(`${thrown instanceof Error ? thrown.message : thrown}\n${said}`);
    }
    return group;
  }

  /** As `--fleet` takes it. */
  get url(): string {
    return `${this.fleet.etcd.urls}/${GROUP}`;
  }

  /** Everybody, in etcd. */
  subscribe(): void {
    this.put(this.fleet.subscribers.map(({ ip, port }) => [`subscribers/${ip}:${port}`, '{}']));
  }

  /** Keys of the group, without its prefix. */
  put(entries: readonly (readonly [key: string, value: string])[]): void {
    this.fleet.etcd.putAll(entries.map(([key, value]) => [this.keyOf(key), value]));
  }

  keyOf(key: string): string {
    return `/fantail/${GROUP}/${key}`;
  }

  /** As a member says that the group is. */
  async status(by: Member | undefined = this.alive[0]): Promise<FleetStatus> {
    if (by === undefined) throw new Error('no member is alive');
    return (await by.channel.ask({ op: 'fleet.status' })) as unknown as FleetStatus; // its type
  }

  /** Those that run, with a supervisor. */
  get alive(): readonly Member[] {
    return this.fleet.members.filter((member) => member.isRunning);
  }

  /** Every shard is somebody's who runs, and on its way to nobody. */
  async settled(): Promise<void> {
    const names = this.alive.map(({ host }) => host.name).sort();
    let last: unknown;
    await eventually('the group has settled', async () => {
      try {
        const status = await this.status();
        last = status;
        const { free_shards, moving, members } = status;
        const isThere = String(members.map(({ member }) => member).sort()) === String(names);
        const isServed = members.every(({ shards }) => shards > 0);
        return isThere && isServed && free_shards === 0 && moving === 0;
      } catch (error) {
        last = error; // etcd may not answer yet
        return false;
      }
    }).catch((error) => {
      throw new Error(`${error}: ${JSON.stringify(last)}\n${last}`);
    });
  }

  /** By member: copies that it says it has sent twice while it took over. */
  async handovers(): Promise<ReadonlyMap<Member, number>> {
    const rows = this.alive.map(
      async (one) => [one, (await one.channel.stats()).fleet?.handover ?? 0] as const,
    );
    return new Map(await Promise.all(rows));
  }

  /** All that are there have counted since then; one that has begun since counts from 0. */
  async handoversSince(before: ReadonlyMap<Member, number>): Promise<number> {
    const now = await this.handovers();
    return [...now].reduce((sum, [one, count]) => sum + count - (before.get(one) ?? 0), 0);
  }

  close(): void {
    this.fleet.close();
  }
}

/** Subscribers by number. */
export const servedBy = (owners: Phase['before'], member: Member): number[] =>
  [...owners.keys()].filter((index) => owners[index] === member.ip);

/** Of those subscribers, how many packets nobody sent them; all of them unless said. */
export const lostBy = (phase: Phase, those: readonly number[] = [...phase.before.keys()]): number =>
  those.reduce((sum, index) => sum + countOf(phase.accounts[index]?.missing ?? []), 0);

export const doubledOf = (phase: Phase, those: readonly number[] = [...phase.before.keys()]) =>
  those.flatMap((index) => phase.accounts[index]?.doubled ?? []);

export const overlapsOf = (phase: Phase, those: readonly number[] = [...phase.before.keys()]) =>
  those.flatMap((index) => phase.accounts[index]?.overlaps ?? []);

/** For each of them, seconds from a moment until another than `before` sent to it; -1: none did. */
export function takenOverAfter(
  phase: Phase,
  those: readonly number[],
  moment_ns: number,
): number[] {
  return those.map((index) => {
    const runs = phase.look.runs.filter(
      (run) => run.subscriber === index && run.sender !== phase.before[index],
    );
    if (runs.length === 0) return -1;
    return (Math.min(...runs.map(({ first_ns }) => first_ns)) - moment_ns) / 1e9;
  });
}

/** The last copy of the one that served it before, and the first of any other. */
export function changeOf(
  phase: Phase,
  index: number,
): { readonly last_ns: number; readonly first_ns: number } {
  const own = phase.look.runs.filter(({ subscriber }) => subscriber === index);
  const old = own.filter(({ sender }) => sender === phase.before[index]);
  const others = own.filter(({ sender }) => sender !== phase.before[index]);
  return {
    last_ns: Math.max(...old.map(({ last_ns }) => last_ns), 0),
    first_ns: Math.min(...others.map(({ first_ns }) => first_ns), Number.POSITIVE_INFINITY),
  };
}
