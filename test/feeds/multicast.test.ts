/**
 * A feed that is sent to a multicast group: joined on the interface, received as any other, and
 * left by the end of everything, however that comes.
 *
 * needs: a link
 * takes: 20 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GROUP, type Link } from '../rig/link.js';
import { eventually, run } from '../rig/program.js';
import { fantail, Replicator, replicatorProcesses } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, subscribersOf, withReplicator } from '../rig/scenario.js';
import { faultsOf, type Route, replicatedRoute, startFeed, startSink } from '../rig/wire.js';

const test = suite('multicast');
const RATE = 4000;
const COUNT = 2000;

/** As the kernel has it: by device, groups in hexadecimal, their bytes the other way round. */
function isJoined(link: Link): boolean {
  const table = run('ip', ['netns', 'exec', link.replicator, 'cat', '/proc/net/igmp']);
  const group = GROUP.ip.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return table.includes(group.reverse().join('').toUpperCase());
}

function groupRoute(link: Link): Route {
  return { ...replicatedRoute(link), targetIp: GROUP.ip, targetMac: GROUP.mac };
}

/** The feed reaches each subscriber, once and whole. */
async function assertServed(replicator: Replicator): Promise<void> {
  const subscribers = subscribersOf(3);
  await replicator.subscribe(subscribers);
  const route = groupRoute(replicator.link);
  const sink = await startSink(route, { subscribers, expect: COUNT });
  await startFeed(route, { rate: RATE, count: COUNT }).result();
  assert.equal(faultsOf(await sink.within(10_000), COUNT), [], replicator.link.drops().join());
}

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `a group is joined, followed through a link that goes and comes, and left: ${name}`,
    { queues: 1 },
    async (link) => {
      assert.is(isJoined(link), false);
      await withReplicator({ link, flags, listenIp: GROUP.ip }, async (replicator) => {
        assert.is(isJoined(link), true);
        assert.is((await replicator.stats()).feed.joined, true);
        await assertServed(replicator);
        link.flap();
        link.ip('replicator', 'addr', 'add', '10.77.0.3/24', 'dev', 'rep0');
        assert.is((await replicator.stats()).feed.joined, true);
        await assertServed(replicator);
        await replicator.check();
        // the kernel keeps the groups of a device without an address; a stop may come right then
        link.ip('replicator', 'addr', 'flush', 'dev', 'rep0');
        link.ip('replicator', 'addr', 'add', '10.77.0.1/24', 'dev', 'rep0');
        assert.is((await replicator.stats()).feed.joined, true);
      });
      assert.is(isJoined(link), false, 'left by the end');
    },
  );

networkTest(
  test,
  'no death of a supervisor leaves the group, and that of everything does',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: copyMode('inline'), listenIp: GROUP.ip };
    const first = await Replicator.start(options);
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    assert.is(isJoined(link), true, 'the data path goes on');
    const second = await Replicator.start(options);
    try {
      await assertServed(second);
      for (const { pid } of replicatorProcesses()) process.kill(pid, 'SIGKILL');
      await eventually('the group is left', () => !isJoined(link));
    } finally {
      second.close();
      first.close();
    }
  },
);

networkTest(
  test,
  'an address that nothing is received at is refused with the line that would mend it',
  { queues: 1 },
  async (link) => {
    const program = await fantail(['up', 'rep0', '10.77.0.99', '9000'], link.replicator);
    assert.is(program.end?.status, 1, program.told());
    assert.match(
      program.stderr,
      /10\.77\.0\.99 is neither .*ip addr add 10\.77\.0\.99\/32 dev rep0, or, .* --promiscuous$/m,
    );
    link.ip('replicator', 'addr', 'add', '10.77.0.99/32', 'dev', 'rep0');
    await withReplicator({ link, flags: copyMode('inline'), listenIp: '10.77.0.99' }, () =>
      Promise.resolve(),
    );
  },
);

test.run();
