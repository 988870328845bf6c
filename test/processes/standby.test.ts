/**
 * Whoever dies on the data path is replaced by a process that was started before and waits without
 * privileges; when there is none, by a new one.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, type Process } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import {
  copyMode,
  LAYOUTS,
  networkTest,
  servedAgain,
  subscribersOf,
  withReplicator,
} from '../rig/scenario.js';

const test = suite('standby');

const pidsOf = (processes: readonly Process[]) => processes.map(({ pid }) => pid).sort();

/** One for the place of fantail-rx, and one for that of a worker. */
async function bothStandBy(replicator: Replicator): Promise<{ rx: Process; tx: Process }> {
  const one = (name: RegExp) => replicator.standbys().find(({ command }) => name.test(command));
  const find = () => ({
    rx: one(/fantail-rx rep0 standby$/),
    tx: one(/^fantail-tx rep0 standby$/),
  });
  await eventually('both stand by', () => Object.values(find()).every(Boolean));
  const { rx, tx } = find();
  if (rx === undefined || tx === undefined) throw new Error('one has ended again');
  return { rx, tx };
}

const workerOf = async (replicator: Replicator) => (await replicator.stats()).workers[0];

for (const layout of LAYOUTS)
  networkTest(
    test,
    `who stands by takes the place of one that is killed, and another stands by: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: copyMode(layout) }, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        const waiting = await bothStandBy(replicator);
        process.kill((await workerOf(replicator))?.pid ?? 0, 'SIGKILL');
        await eventually('the worker is replaced', async () => {
          return (await workerOf(replicator))?.pid === waiting.tx.pid;
        });
        process.kill(replicator.receiver().pid, 'SIGKILL');
        await eventually('fantail-rx is replaced', () => {
          const named = replicator.processes().filter(({ command }) => /fantail-rx/.test(command));
          return pidsOf(named).join() === String(waiting.rx.pid);
        });
        await servedAgain(replicator, subscribers);
        const next = await bothStandBy(replicator);
        assert.is.not(next.rx.pid, waiting.rx.pid);
        assert.is.not(next.tx.pid, waiting.tx.pid);
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'one that ends while it waits is replaced, and so is one that was not there yet',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('split') }, async (replicator) => {
      const subscribers = subscribersOf(1);
      await replicator.subscribe(subscribers);
      // nobody stands by so soon after the start: each is started when it is needed
      for (const { pid, command } of replicator.processes())
        if (/fantail-[rt]x/.test(command)) process.kill(pid, 'SIGKILL');
      await servedAgain(replicator, subscribers);
      const first = await bothStandBy(replicator);
      for (const { pid } of [first.rx, first.tx]) process.kill(pid, 'SIGKILL');
      await eventually('others stand by', () => {
        const now = pidsOf(replicator.standbys());
        return now.length === 2 && !now.includes(first.rx.pid) && !now.includes(first.tx.pid);
      });
      assert.is((await workerOf(replicator))?.restarts, 1);
    });
  },
);

networkTest(
  test,
  'who stands by ends with a supervisor that is killed; the data path runs on',
  { queues: 1 },
  async (link) => {
    const replicator = await Replicator.start({ link, flags: copyMode('split') });
    try {
      await bothStandBy(replicator);
      process.kill(replicator.program.pid, 'SIGKILL');
      await eventually('both have ended', () => replicator.standbys().length === 0);
      assert.is(replicator.processes().length, 2, 'fantail-rx and the worker');
    } finally {
      replicator.close();
    }
  },
);

test.run();
