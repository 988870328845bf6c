/** `fantail fleet …`: what each does, straight in the group's etcd, with no member between. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { Failure, UsageError } from '../../domain/errors.js';
import type { NamedFeed } from '../../domain/feed.js';
import type { FleetSubscriberChange } from '../../domain/fleet.js';
import { filterFile } from '../../domain/installation.js';
import { checkFilter } from '../../filters/check/process.js';
import { readModule } from '../../filters/first.js';
import { etcdOf, type RegistryFlags } from '../../fleet/config.js';
import { Etcd } from '../../fleet/etcd/store.js';
import { GroupDesk } from '../../fleet/registry/desk.js';
import { Keys } from '../../fleet/registry/keys.js';
import { listText, statusText } from './tables.js';

export type GroupFlags = RegistryFlags & { readonly json?: boolean };

/** With `json` its answer is printed as it came, else what `tell` makes of it. */
async function withGroup<Answer extends object>(
  flags: GroupFlags,
  work: (group: GroupDesk) => Promise<Answer>,
  tell: (answer: Answer) => string,
): Promise<Answer> {
  const { fleet } = flags;
  if (fleet === undefined)
    throw new UsageError('which group? --fleet http://HOST:2379/GROUP is missing');
  const etcd = new Etcd(etcdOf(fleet, flags));
  try {
    const answer = await work(new GroupDesk(etcd, new Keys(fleet.group)));
    console.log(flags.json ? JSON.stringify(answer) : tell(answer));
    return answer;
  } finally {
    etcd.close();
  }
}

export async function status(flags: GroupFlags): Promise<void> {
  await withGroup(flags, (group) => group.status(), statusText);
}

export async function list(flags: GroupFlags): Promise<void> {
  await withGroup(
    flags,
    async (group) => ({ subscribers: await group.list() }),
    ({ subscribers }) => listText(subscribers),
  );
}

export async function add(
  to: Endpoint,
  change: FleetSubscriberChange,
  flags: GroupFlags,
): Promise<void> {
  const where = endpointText(to);
  await withGroup(
    flags,
    (group) => group.add(to, change),
    ({ existing }) => (existing ? `${where} was subscribed already` : `added ${where}`),
  );
}

export async function remove(to: Endpoint, flags: GroupFlags): Promise<void> {
  const where = endpointText(to);
  await withGroup(
    flags,
    (group) => group.remove(to),
    ({ removed }) => (removed ? `removed ${where}` : `${where} was not subscribed`),
  );
}

export async function pause(to: Endpoint, isPaused: boolean, flags: GroupFlags): Promise<void> {
  const [now, before] = isPaused ? ['paused', 'was paused already'] : ['resumed', 'was not paused'];
  await withGroup(
    flags,
    (group) => group.pause(to, isPaused),
    ({ changed }) => `${endpointText(to)} ${changed ? now : before}`,
  );
}

export async function move(to: Endpoint, member: string | null, flags: GroupFlags): Promise<void> {
  const whither = member === null ? 'back to whose it is' : `to ${member}`;
  await withGroup(
    flags,
    (group) => group.move(to, member),
    ({ shard, subscribers }) =>
      `shard ${shard} of ${endpointText(to)} goes ${whither}, with all that are in it: ${subscribers}`,
  );
}

/** Between two looks at whether it has ended. */
const DRAIN_LOOK_MS = 200;

/** Waits for its end; after `seconds` that has failed. */
export async function drain(
  member: string,
  { seconds, ...flags }: GroupFlags & { readonly seconds: number },
  signal: AbortSignal,
): Promise<void> {
  await withGroup(
    flags,
    async (group) => {
      await group.drain(member);
      const deadline_ms = performance.now() + seconds * 1000;
      while (!signal.aborted) {
        const row = (await group.status()).members.find((each) => each.member === member);
        if (row === undefined) return { draining: false };
        if (performance.now() > deadline_ms)
          throw new Failure(
            `${member} has ${row.shards} shards after ${seconds} s; it goes on draining, see: fleet status`,
          );
        await sleep(DRAIN_LOOK_MS);
      }
      return { draining: true };
    },
    ({ draining }) => (draining ? `${member} drains` : `${member} has handed all over and ended`),
  );
}

export async function feedAdd(feed: NamedFeed, flags: GroupFlags): Promise<void> {
  await withGroup(
    flags,
    (group) => group.feedAdd(feed),
    ({ existing }) => `feed ${feed.name} ${existing ? 'changed' : 'added'}`,
  );
}

export async function feedRemove(name: string, flags: GroupFlags): Promise<void> {
  await withGroup(
    flags,
    (group) => group.feedRemove(name),
    ({ removed }) => `feed ${name} ${removed ? 'removed' : 'was not there'}`,
  );
}

/** Checked here as each member will check it. */
export async function filterLoad(
  name: string,
  file: string | undefined,
  flags: GroupFlags,
): Promise<void> {
  const bytes = readModule(file ?? filterFile(`${name}.wasm`));
  await checkFilter(bytes);
  await withGroup(
    flags,
    (group) => group.filterLoad(name, bytes),
    ({ sha256 }) =>
      `loaded ${name}; members run it if they were started with --fleet-allow-module ${sha256}`,
  );
}

export async function filterUse(
  name: string,
  to: Endpoint | null,
  { param = '', ...flags }: GroupFlags & { readonly param?: string },
): Promise<void> {
  await withGroup(
    flags,
    async (group) => {
      await group.filterUse(name, param, to);
      return {};
    },
    () => `${name} answers for ${to === null ? 'all that name none' : endpointText(to)}`,
  );
}

export async function filterUnload(name: string, flags: GroupFlags): Promise<void> {
  await withGroup(
    flags,
    async (group) => {
      await group.filterUnload(name);
      return {};
    },
    () => `unloaded ${name}`,
  );
}
