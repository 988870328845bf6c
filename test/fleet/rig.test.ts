/**
 * takes: 35 s
 *
 * The rig of a group on plain members, without a group's own code: etcd elects and elects again,
 * what is cut is cut, who serves whom is seen in what arrives, and the dead stay dead. Every test
 * of a group stands on this.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Fleet, lackForFleet } from '../rig/fleet/fleet.js';
import {
  type Account,
  accountsOf,
  countOf,
  faultsOf,
  newest,
  ownersOf,
} from '../rig/fleet/oracle.js';
import { eventually } from '../rig/program.js';

const test = suite('rig of a group');
const RATE = 200;
const OPTIONS = {
  ...{ etcd: 3, members: 3, subscribers: { addresses: 2, each: 3 } },
  flags: () => ['--layout', 'inline'],
};

function fleetTest(name: string, work: (fleet: Fleet) => Promise<void>): void {
  test(name, async () => {
    const lack = lackForFleet();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    const fleet = await Fleet.open(OPTIONS);
    try {
      await work(fleet);
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- the members said:\n${fleet.told()}`;
      throw error;
    } finally {
      fleet.close();
    }
  });
}

const value = ({ etcd }: Fleet) => etcd.ctl('get', '--print-value-only', 'word').trim();

fleetTest('etcd outlives its leader, and all of its nodes', async (fleet) => {
  const { etcd } = fleet;
  await etcd.start();
  etcd.ctl('put', 'word', 'kept');
  const leader = await etcd.leader();
  await leader.end();
  const next = await etcd.leader();
  assert.is.not(next.url, leader.url);
  assert.is(value(fleet), 'kept');
  await etcd.end();
  assert.throws(() => etcd.ctl('get', 'word'), /no node of etcd runs/);
  await etcd.start();
  assert.is(value(fleet), 'kept');
});

/** Subscribes numbers 0 and 1 at the first member, and so on. */
async function subscribe({ members, subscribers }: Fleet): Promise<void> {
  for (const [index, member] of members.entries()) {
    await member.start();
    await member.channel.subscribe(subscribers.slice(2 * index, 2 * index + 2));
  }
}

/** Waits until so many packets more have come to somebody. */
async function more(fleet: Fleet, count: number): Promise<void> {
  const wanted = newest((await fleet.served.look()).runs) + count;
  await eventually(`sequence ${wanted} has come`, async () => {
    return newest((await fleet.served.look()).runs) >= wanted;
  });
}

const missingOf = (accounts: readonly Account[]) => accounts.map(({ missing }) => countOf(missing));

fleetTest('a member that dies is missed by its subscribers alone', async (fleet) => {
  await subscribe(fleet);
  fleet.startFeed(RATE);
  await more(fleet, 20);
  const [first, second, third] = fleet.members;
  assert.ok(first && second && third);
  await second.kill();
  assert.equal(second.processes(), []);
  // its data path goes on without it, as its subscribers show
  await third.killSupervisor();
  await more(fleet, 40);
  const { sent, look } = await fleet.stopFeed();
  assert.equal([look.ring_drops, look.unexpected, look.corrupt, look.forgotten], [0, 0, 0, 0]);
  const accounts = accountsOf(look.runs, 6, { first: 0, last: sent - 1 });
  const owners = [first, first, second, second, third, third].map(({ ip }) => ip);
  assert.equal(ownersOf(look.runs, 6), owners);
  assert.equal(
    accounts.flatMap(({ doubled, overlaps }) => [...doubled, ...overlaps]),
    [],
  );
  const missing = missingOf(accounts);
  assert.equal([...missing.slice(0, 2), ...missing.slice(4)], [0, 0, 0, 0]);
  assert.ok((missing[2] ?? 0) >= 40 && (missing[3] ?? 0) >= 40, `missing ${missing}`);
});

fleetTest('what is cut or pulled is silent, and who is served by two is seen', async (fleet) => {
  const { etcd, bridge, members } = fleet;
  await Promise.all([etcd.start(), subscribe(fleet)]);
  const [first, second] = members;
  assert.ok(first && second);
  bridge.cut(first.host, fleet.etcdHosts);
  assert.not.ok(etcd.isHeardIn(first.host.namespace));
  await eventually('the other one hears it', () => etcd.isHeardIn(second.host.namespace));
  fleet.startFeed(RATE);
  await more(fleet, 10);
  bridge.heal();
  await eventually('it hears etcd again', () => etcd.isHeardIn(first.host.namespace));
  await first.channel.add(fleet.subscribers[2] ?? { ip: '', port: 0 });
  await more(fleet, 10);
  bridge.setCable(second.host, 'out');
  await more(fleet, 40);
  const { sent, look } = await fleet.stopFeed();
  const accounts = accountsOf(look.runs, 6, { first: 0, last: sent - 1 });
  // cut off from etcd only, it serves on; without its cable it does not
  assert.equal(missingOf(accounts).slice(0, 3), [0, 0, 0]);
  assert.ok(countOf(accounts[3]?.missing ?? []) >= 40);
  const [twice] = accounts[2]?.doubled ?? [];
  assert.equal(twice?.senders.slice().sort(), [first.ip, second.ip]);
  assert.equal(accounts[2]?.overlaps.length, 1);
  assert.ok(faultsOf(accounts[2] as Account).length === 2);
  assert.equal(faultsOf(accounts[0] as Account), []);
});

test.run();
