/**
 * takes: 60 s
 *
 * A group of whole members, an etcd of three nodes and a feed: whoever dies, is drained or is cut
 * off, every subscriber is served by one member at a time, and who need not lose anything does not.
 * Judged from what arrives alone. `npm run soak:fleet` is the same at length.
 *
 * needs: the machine
 */
import { availableParallelism, loadavg } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lackForFleet } from '../rig/fleet/fleet.js';
import {
  changeOf,
  doubledOf,
  Group,
  LEASE_S,
  lostBy,
  overlapsOf,
  servedBy,
  takenOverAfter,
} from '../rig/fleet/group.js';
import { accountsOf, faultsOf } from '../rig/fleet/oracle.js';
import { eventually, sleep } from '../rig/program.js';

const test = suite('members of a group');
const RATE = 200;
const COUNT = 60;
/** Runnable tasks a core above which nothing is promised of how soon. */
const LOUD = 2;
/** Longer than any lease. */
const AWAY_MS = (LEASE_S + 2) * 1000;

let group: Group | null = null;

/** All of them share a group, and each leaves it whole. */
function groupTest(name: string, work: (group: Group) => Promise<void>): void {
  test(name, async () => {
    if (group === null) {
      console.log('skip: there is no group');
      return;
    }
    const began_ms = performance.now();
    try {
      await work(group);
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- the members said:\n${group.fleet.told()}`;
      throw error;
    } finally {
      console.log(`     ${((performance.now() - began_ms) / 1000).toFixed(1)} s: ${name}`);
    }
  });
}

test.before(async () => {
  const lack = lackForFleet();
  if (lack !== null) {
    console.log(`skip: ${lack}`);
    return;
  }
  const subscribers = { addresses: COUNT, each: 1 };
  group = await Group.open({ etcd: 3, members: 4, subscribers });
  group.fleet.startFeed(RATE);
});
test.after(() => group?.close());

const member = ({ fleet }: Group, number: number) => {
  const found = fleet.members[number - 1];
  if (found === undefined) throw new Error(`there is no member ${number}`);
  return found;
};

groupTest('each subscriber is served everything, once, by one of them', async ({ fleet }) => {
  const phase = await fleet.phase(async () => {});
  assert.equal(phase.accounts.flatMap(faultsOf), []);
  const owners = new Set(phase.after);
  assert.equal(
    [...owners].sort(),
    fleet.members.map(({ ip }) => ip),
  );
});

groupTest('a member that is drained hands over without a loss, and ends', async (group) => {
  const drained = member(group, 1);
  const handovers = await group.handovers();
  const phase = await group.fleet.phase(async () => {
    await member(group, 2).channel.ask({ op: 'fleet.drain', member: drained.host.name });
    const end = await drained.ended();
    assert.equal(end, { status: 0, signal: null }, drained.told());
    await group.settled();
  });
  assert.is(lostBy(phase), 0);
  assert.ok(servedBy(phase.before, drained).length > 0);
  assert.equal(servedBy(phase.after, drained), []);
  const counted = await group.handoversSince(handovers);
  const twice = doubledOf(phase).length;
  assert.ok(counted > 0, 'both serve for the time of a handover');
  assert.ok(twice <= counted, `${twice} came twice, ${counted} are counted as handover`);
  // and what it had comes back to it without a loss
  const back = await group.fleet.phase(async () => {
    await drained.start();
    await group.settled();
  });
  assert.is(lostBy(back), 0);
  assert.ok(servedBy(back.after, drained).length > 0);
});

groupTest('a supervisor that is killed and started again loses nothing', async (group) => {
  const [one] = group.fleet.members;
  assert.ok(one);
  const phase = await group.fleet.phase(async () => {
    await one.killSupervisor();
    await one.start();
    await group.settled();
  });
  assert.equal(phase.accounts.flatMap(faultsOf), []);
  assert.equal(phase.after, phase.before);
});

groupTest(
  'one that dies and one that is cut off from etcd are taken over from, and nobody else loses anything',
  async (group) => {
    const { fleet } = group;
    const [dead, cut] = [member(group, 1), member(group, 2)];
    let killed_ns = 0;
    const phase = await fleet.phase(async () => {
      fleet.bridge.cut(cut.host, fleet.etcdHosts);
      killed_ns = Number(process.hrtime.bigint());
      await dead.kill();
      await eventually('others serve what was theirs', async () => {
        const { runs } = await fleet.served.look();
        const owners = accountsOf(runs, COUNT, { first: 0, last: -1 }).map(
          ({ senders }) => senders.at(-1) ?? null,
        );
        return owners.every((owner) => owner !== dead.ip && owner !== cut.ip);
      });
    });
    const [orphans, left] = [servedBy(phase.before, dead), servedBy(phase.before, cut)];
    assert.ok(orphans.length > 0 && left.length > 0);
    const others = [...phase.before.keys()].filter(
      (index) => !orphans.includes(index) && !left.includes(index),
    );
    assert.is(lostBy(phase, others), 0);
    // by one at a time: it has stopped before another has begun
    assert.equal([doubledOf(phase).slice(0, 3), overlapsOf(phase).slice(0, 3)], [[], []]);
    for (const index of left) {
      const { last_ns, first_ns } = changeOf(phase, index);
      assert.ok(last_ns > killed_ns && last_ns < first_ns);
    }
    const after_s = takenOverAfter(phase, orphans, killed_ns);
    console.log(`     served again after ${Math.max(...after_s).toFixed(1)} s`);
    assert.ok(Math.min(...after_s) >= 0, 'each is served again');
    // where others have the cores it says nothing how soon; npm run soak:fleet demands it always
    if ((loadavg()[0] ?? 0) <= availableParallelism() * LOUD)
      assert.ok(Math.max(...after_s) <= LEASE_S + 1, `${after_s} s`);
    const back = await fleet.phase(async () => {
      fleet.bridge.heal();
      await dead.start();
      await group.settled();
    });
    assert.is(lostBy(back), 0);
  },
);

groupTest('all of etcd may be away for longer than a lease', async (group) => {
  const { fleet } = group;
  const phase = await fleet.phase(async () => {
    await fleet.etcd.end();
    await sleep(AWAY_MS);
    const change = { op: 'fleet.remove', ip: '10.78.0.101', port: 10_001 } as const;
    const refused = await member(group, 1)
      .channel.ask(change)
      .catch((error) => error);
    assert.match(String(refused), /etcd.*\(BUSY\)/);
    await fleet.etcd.start();
    await group.settled();
  });
  assert.is(lostBy(phase), 0);
  assert.equal(phase.after, phase.before);
  assert.equal(overlapsOf(phase), []);
});

test.run();
