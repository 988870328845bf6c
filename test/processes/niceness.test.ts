/**
 * `nice -n -5 fantail up`: everybody on the data path has that nice value, and so has the session
 * that it runs in, where the kernel schedules by sessions.
 *
 * needs: a link
 */
import { existsSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually } from '../rig/program.js';
import { copyMode, networkTest, withReplicator } from '../rig/scenario.js';

const test = suite('niceness');
const NICE = -5;

/** Of the session of a process; that of a replicator where the kernel schedules by none. */
function sessionNice(pid: number): number {
  const file = `/proc/${pid}/autogroup`;
  return existsSync(file) ? Number(/nice (-?\d+)/.exec(readFileSync(file, 'utf8'))?.[1]) : NICE;
}

networkTest(
  test,
  'the nice value that it is started with is that of each process of the data path and its session',
  { queues: 1 },
  (link) =>
    withReplicator(
      { link, flags: copyMode('split') },
      async (replicator) => {
        const supervisor = replicator.program.pid;
        const others = () =>
          [...replicator.processes(), ...replicator.standbys()].filter(
            ({ pid }) => pid !== supervisor,
          );
        await eventually('two work and two stand by', () => others().length === 4);
        for (const { pid, command } of others()) {
          assert.is(getPriority(pid), NICE, command);
          assert.is(sessionNice(pid), NICE, command);
        }
        process.kill(replicator.receiver().pid, 'SIGKILL');
        await eventually('another stands by', () => others().length === 4);
        for (const { pid, command } of others()) assert.is(sessionNice(pid), NICE, command);
      },
      NICE,
    ),
);

test.run();
