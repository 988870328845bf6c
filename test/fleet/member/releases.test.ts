/**
 * Goal: a shard that another member has taken over is ended here once every worker has sent what
 * came before, and not sooner. Method: workers whose turns the test ends.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Releases } from '../../../src/fleet/member/releases.js';
import { eventually, sleep } from '../../rig/program.js';

const test = suite('releases of shards');
/** Longer than a shard is held between two turns. */
const HELD_MS = 400;

/** Workers that take a turn when they are told to. */
function workers() {
  const waiting: { end(): void; fail(): void }[] = [];
  const turned = () =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ end: resolve, fail: () => reject(new Error('a worker is late')) });
    });
  return { waiting, turned };
}

/** Ends the turn that was asked for as the count-th. */
async function endTurn(
  { waiting }: ReturnType<typeof workers>,
  count: number,
  how: 'end' | 'fail' = 'end',
): Promise<void> {
  await eventually(`turn ${count} is asked for`, () => waiting.length >= count);
  waiting[count - 1]?.[how]();
}

test('a shard is ended after a turn, what waited then, and another turn', async () => {
  const asked = workers();
  let told = 0;
  const releases = new Releases(asked, () => {
    told += 1;
  });
  releases.follow([7, 9]);
  await sleep(HELD_MS);
  assert.equal([asked.waiting.length, releases.done.size], [1, 0], 'not before the first turn');
  const turned_ms = performance.now();
  await endTurn(asked, 1);
  await eventually('the second is asked for', () => asked.waiting.length === 2);
  assert.ok(performance.now() - turned_ms >= 190, 'what waited has its time');
  await sleep(HELD_MS);
  assert.equal([told, releases.done.size], [0, 0], 'nor before the second');
  await endTurn(asked, 2);
  await eventually('it is told', () => told === 1);
  assert.equal([...releases.done], [7, 9]);
  // asked again in each pass, they are not begun again
  releases.follow([7, 9]);
  assert.is(asked.waiting.length, 2);
  releases.follow([9]);
  assert.equal([...releases.done], [9], 'one that is over is forgotten');
});

test('one that comes back meanwhile is not ended, and begins anew when it goes again', async () => {
  const asked = workers();
  let told = 0;
  const releases = new Releases(asked, () => {
    told += 1;
  });
  releases.follow([7, 8]);
  releases.follow([8]);
  await endTurn(asked, 1);
  await endTurn(asked, 2);
  await eventually('the other is', () => told === 1);
  assert.equal([...releases.done], [8]);
  releases.follow([7, 8]);
  await eventually('a turn of its own is asked for', () => asked.waiting.length === 3);
  assert.equal([...releases.done], [8]);
});

test('where workers are late it begins again with the next pass', async () => {
  const asked = workers();
  const releases = new Releases(asked, () => {});
  releases.follow([7]);
  await endTurn(asked, 1, 'fail');
  await eventually('it is asked for again', () => {
    releases.follow([7]);
    return asked.waiting.length === 2;
  });
  assert.is(releases.done.size, 0);
});

test.run();
