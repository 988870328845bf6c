/**
 * Goal: what a member has sent while the owner before it may have sent it too is counted, all of it
 * and once. Method: shards as etcd would tell them, workers and accounts of the test.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Handover } from '../../../src/fleet/member/handover.js';
import type { HeldShard } from '../../../src/fleet/shards/plan.js';

const test = suite('handover');
const held = (owner: string, from?: string): HeldShard => ({
  ...{ owner, from, modRevision: 1, lease: '1' },
});

/** Of shards 7 and 9, which `a` has taken over from `b`. */
function scene() {
  const shards = new Map([7, 9].map((shard) => [shard, held('a', 'b')]));
  const sent = new Map([
    [7, 10],
    [9, 5],
  ]);
  const told: string[] = [];
  let failing: number | null = null;
  const handover = new Handover({
    ...{ mirror: { shards }, member: 'a' },
    target: {
      turned: async () => {
        told.push('turn');
        // what waited in a worker's ring
        if (told.length === 1) sent.set(7, 12);
      },
    },
    service: {
      copiesOf: async (shard) => {
        if (shard === failing) throw new Error('a worker is in a commit');
        told.push(`copies of ${shard}`);
        return sent.get(shard) ?? 0;
      },
    },
  });
  for (const shard of shards.keys()) handover.begin(shard);
  const fail = (shard: number | null) => {
    failing = shard;
  };
  return { shards, told, handover, fail };
}

test('copies of a shard are counted once its owner before has ended, behind a whole turn of each worker', async () => {
  const { shards, told, handover } = scene();
  await handover.count();
  assert.equal([handover.copies, told], [0, []], 'it is not over');
  shards.set(7, held('a'));
  await handover.count();
  assert.equal(told, ['turn', 'turn', 'copies of 7']);
  assert.is(handover.copies, 12, 'with what waited');
  await handover.count();
  assert.equal([handover.copies, told.length], [12, 3], 'once');
  shards.set(9, held('c', 'a'));
  await handover.count();
  assert.is(handover.copies, 12, 'a shard that is another member’s by now is not counted');
});

test('what could not be read is counted in a later pass', async () => {
  const { shards, handover, fail } = scene();
  shards.set(7, held('a'));
  shards.set(9, held('a'));
  fail(9);
  await handover.count().then(
    () => assert.unreachable(),
    (error) => assert.match(String(error), /in a commit/),
  );
  assert.is(handover.copies, 12);
  fail(null);
  await handover.count();
  assert.is(handover.copies, 12 + 5);
});

test.run();
