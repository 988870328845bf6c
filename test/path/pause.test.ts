/**
 * A subscriber that is paused is owed nothing and keeps its place, until it is resumed; whatever
 * dies meanwhile.
 *
 * needs: a link
 * takes: 25 s
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Replicator } from '../rig/replicator.js';
import {
  copyMode,
  networkTest,
  RUNS,
  replaceWorker,
  subscribersOf,
  withReplicator,
} from '../rig/scenario.js';
import { type Destination, faultsOf, replicatedRoute, startFeed, startSink } from '../rig/wire.js';

const test = suite('pause');
const RATE = 4000;
const COUNT = 1000;
const [ONE, OTHER] = subscribersOf(2) as [Destination, Destination];

/** Of a feed, `served` have each packet and the other has none. */
async function assertServed(
  { link }: Pick<Replicator, 'link'>,
  served: readonly Destination[],
): Promise<void> {
  const route = replicatedRoute(link);
  const extras = [ONE, OTHER].filter((each) => !served.includes(each));
  const sink = await startSink(route, { subscribers: served, extras, expect: COUNT });
  await startFeed(route, { rate: RATE, count: COUNT }).result();
  const { subscribers, ...sunk } = await sink.within(10_000);
  const [owed, rest] = [subscribers.slice(0, served.length), subscribers.slice(served.length)];
  assert.equal(faultsOf({ ...sunk, subscribers: owed }, COUNT), [], link.drops().join());
  for (const { received } of rest) assert.is(received, 0);
}

const stateOf = async (replicator: Replicator) =>
  (await replicator.list()).map(({ state }) => state);

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `a paused subscriber is owed nothing, and a resumed one everything again: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags, inside: true }, async (replicator) => {
        await replicator.subscribe([ONE, OTHER]);
        await assertServed(replicator, [ONE, OTHER]);
        const says = (line: string, answer: RegExp) => replicator.wscat(line, answer);
        await says(`pause ${ONE.ip} ${ONE.port}`, /ok \S+ \d+ paused/);
        await says(`pause ${ONE.ip} ${ONE.port}`, /ok \S+ \d+ was paused already/);
        await says(`add ${ONE.ip} ${ONE.port}`, /ok \S+ \d+ was there already/);
        assert.equal(await stateOf(replicator), ['paused', 'live']);
        await assertServed(replicator, [OTHER]);
        await replaceWorker(replicator);
        await assertServed(replicator, [OTHER]);
        const { subscribers } = await replicator.stats();
        assert.equal(
          subscribers.map(({ received, sent }) => [received, sent]),
          [
            [COUNT, COUNT],
            [3 * COUNT, 3 * COUNT],
          ],
        );
        await says(`resume ${ONE.ip} ${ONE.port}`, /ok \S+ \d+ resumed/);
        await says('resume 10.77.0.250 1', /error NOT_FOUND 10\.77\.0\.250:1 is not subscribed/);
        await assertServed(replicator, [ONE, OTHER]);
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'who was paused is paused under the next supervisor, and after a restart from the state file',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'pause-'));
    const flags = [...copyMode('inline'), '--state', join(folder, 'state')];
    const first = await Replicator.start({ link, flags });
    await first.subscribe([ONE, OTHER]);
    await first.cli('pause', ONE.ip, String(ONE.port));
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    await withReplicator({ link, flags }, async (second) => {
      assert.equal(await stateOf(second), ['paused', 'live']);
      await assertServed(second, [OTHER]);
    });
    first.close();
    await withReplicator({ link, flags }, async (third) => {
      await third.subscribe([OTHER]);
      assert.equal(await stateOf(third), ['paused', 'live']);
      await third.cli('resume', ONE.ip, String(ONE.port));
      await third.subscribe([ONE, OTHER]);
      await assertServed(third, [ONE, OTHER]);
    });
    rmSync(folder, { recursive: true });
  },
);

test.run();
