/**
 * A group with many subscribers: how long a member takes to start, and how soon a change is seen in
 * what arrives. All but those that are changed subscribe to a feed on which nothing is sent, and
 * the other feed is a slow one: what is timed is the group, and not who gets one of this machine's
 * cores while all members make copies on it.
 */
import { type Group, LEASE_S } from '../../rig/fleet/group.js';
import { eventually } from '../../rig/program.js';
import type { Chapter, Soaking } from './chapters.js';

/** A port of five digits that begins with 2: none of those that receive. */
const FIRST_PORT = 20_001;
const EACH = 2000;
const QUIET = { ip: '239.78.0.9', port: 9009 };
/** Subscribers that are taken out and added again, and how often. */
const CHANGED = 100;
const ROUNDS = 2;
/** Packets a second; a change that is done waits for the next one, 20 ms at most. */
const RATE = 50;
const START_S_MAX = 5;
const CHANGE_MS_MAX = 100;

const addressesOf = ({ fleet }: Group) => [...new Set(fleet.subscribers.map(({ ip }) => ip))];

/** Of all members' tables together. */
async function servedOf({ alive }: Group): Promise<number> {
  const rows = await Promise.all(alive.map(async ({ channel }) => (await channel.stats()).fleet));
  return rows.reduce((sum, row) => sum + (row?.subscribers ?? 0), 0);
}

export const capacity: Chapter = (soaking) =>
  soaking.group.fleet.atRate(RATE, () => withMany(soaking));

async function withMany({ group, findings }: Soaking): Promise<void> {
  const { fleet } = group;
  const addresses = addressesOf(group);
  const count = addresses.length * EACH;
  const all = count + fleet.subscribers.length;
  const feed = JSON.stringify({ ...QUIET, source: null });
  group.put([['feeds/quiet', feed]]);
  const value = JSON.stringify({ feeds: ['quiet'] });
  const ports = Array.from({ length: EACH }, (_, index) => FIRST_PORT + index);
  const many = addresses.flatMap((ip) => ports.map((port) => ({ ip, port })));
  const still = [...many, ...fleet.subscribers.slice(CHANGED)];
  group.put(still.map(({ ip, port }) => [`subscribers/${ip}:${port}`, value]));
  await eventually(`${all} subscribers are served`, async () => (await servedOf(group)) === all);
  const [restarted] = fleet.members;
  if (restarted === undefined) throw new Error('there are no members');
  await restarted.stop();
  await group.settled();
  const began_ms = performance.now();
  await restarted.start();
  const start_s = restarted.readyAfter_ms / 1000;
  findings.atMost(`a member of a group with ${all} subscribers: from its start to ready`, start_s, {
    ...{ max: START_S_MAX, unit: 's' },
  });
  await group.settled();
  findings.tell(
    'until its share is served',
    `${((performance.now() - began_ms) / 1000).toFixed(2)} s`,
  );
  const changes_ms: number[] = [];
  for (let round = 0; round < ROUNDS; round++) changes_ms.push(...(await timeChanges(group)));
  changes_ms.sort((a, b) => a - b);
  const at = (share: number) => changes_ms[Math.ceil(share * changes_ms.length) - 1] ?? -1;
  findings.tell('a subscriber is added: to its first copy, p50', `${at(0.5).toFixed(1)} ms`);
  findings.atMost(
    `a subscriber is added: to its first copy, p99 of ${changes_ms.length}`,
    at(0.99),
    {
      ...{ max: CHANGE_MS_MAX, unit: 'ms' },
    },
  );
  for (const ip of addresses) fleet.etcd.ctl('del', '--prefix', group.keyOf(`subscribers/${ip}:2`));
  group.subscribe();
  fleet.etcd.ctl('del', group.keyOf('feeds/quiet'));
  const few = fleet.subscribers.length;
  await eventually(`${few} subscribers are served`, async () => (await servedOf(group)) === few);
}

/** From the request at a member to the first copy from the owner; the feed's period is in it. */
async function timeChanges({ fleet, alive }: Group): Promise<number[]> {
  const [asked] = alive;
  if (asked === undefined) throw new Error('no member is alive');
  const some = fleet.subscribers.slice(0, CHANGED);
  for (const { ip, port } of some) await asked.channel.ask({ op: 'fleet.remove', ip, port });
  await fleet.served.reset();
  const began_ns: number[] = [];
  for (const { ip, port } of some) {
    began_ns.push(Number(process.hrtime.bigint()));
    await asked.channel.ask({ op: 'fleet.add', ip, port });
  }
  await eventually(
    'all that were added are served',
    async () => {
      const { runs } = await fleet.served.look();
      const served = new Set(runs.map(({ subscriber }) => subscriber));
      return some.every((_, index) => served.has(index));
    },
    LEASE_S * 1000,
  );
  const { runs } = await fleet.served.look();
  return began_ns.map((at_ns, index) => {
    const after = runs.filter((run) => run.subscriber === index && run.first_ns >= at_ns);
    return (Math.min(...after.map(({ first_ns }) => first_ns)) - at_ns) / 1e6;
  });
}
