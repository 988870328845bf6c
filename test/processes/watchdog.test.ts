/**
 * Whom the watchdog takes for stuck, for stopped, and for neither.
 *
 * needs: a core
 */
import { spawn } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { usageOf, Watchdog } from '../../src/processes/watchdog.js';
import { eventually } from '../rig/program.js';

const test = suite('watchdog');
const running = (cpu_ms: number) => () => ({ cpu_ms, isStopped: false });
const stopped = () => ({ cpu_ms: 0, isStopped: true });
const seen = { pid: 7, sign: 1n, calling: 3, now_ms: 0 };

test('a worker in a filter that uses 100 ms of CPU time without a sign of life is stuck', () => {
  const dog = new Watchdog();
  assert.equal(dog.judge(seen, running(500)), { kind: 'alive' });
  assert.equal(
    dog.judge({ ...seen, now_ms: 10_000 }, running(590)),
    { kind: 'alive' },
    'time alone says nothing',
  );
  assert.equal(dog.judge(seen, running(600)), { kind: 'stuck', slot: 2 });
});

test('signs of life, another process or no filter call make it alive', () => {
  const dog = new Watchdog();
  for (let i = 0; i < 10; i++)
    assert.equal(dog.judge({ ...seen, sign: BigInt(i) }, running(1000 * i)), { kind: 'alive' });
  assert.equal(dog.judge({ ...seen, sign: 9n, pid: 8 }, running(50_000)), { kind: 'alive' });
  assert.equal(dog.judge({ ...seen, sign: 9n, pid: 8, calling: 0 }, running(99_000)), {
    kind: 'alive',
  });
  assert.equal(
    dog.judge(seen, () => null),
    { kind: 'alive' },
    'a dead one is not its business',
  );
});

test('of a worker that lives and is in no filter nothing is read', () => {
  const dog = new Watchdog();
  let reads = 0;
  const counting = () => {
    reads++;
    return { cpu_ms: 0, isStopped: false };
  };
  for (let i = 0; i < 10; i++) dog.judge({ ...seen, calling: 0, sign: BigInt(i) }, counting);
  assert.is(reads, 0);
  dog.judge({ ...seen, calling: 0, sign: 9n }, counting);
  dog.judge({ ...seen, sign: 10n }, counting);
  assert.is(reads, 2, 'but of one without a sign of life, and of one in a filter');
});

test('a worker that is stopped for a second is stopped, whatever it was doing', () => {
  const dog = new Watchdog();
  const idle = { ...seen, calling: 0 };
  assert.equal(dog.judge(idle, stopped), { kind: 'alive' });
  assert.equal(dog.judge({ ...idle, now_ms: 500 }, running(0)), { kind: 'alive' });
  assert.equal(dog.judge({ ...idle, now_ms: 600 }, stopped), { kind: 'alive' });
  assert.equal(dog.judge({ ...idle, now_ms: 1500 }, stopped), { kind: 'alive' });
  assert.equal(dog.judge({ ...idle, now_ms: 1600 }, stopped), { kind: 'stopped' });
});

test('usage is what the kernel says of a real process', async () => {
  const child = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  try {
    const pid = child.pid ?? 0;
    await eventually('it uses CPU time', () => (usageOf(pid)?.cpu_ms ?? 0) >= 50);
    child.kill('SIGSTOP');
    await eventually('it is stopped', () => usageOf(pid)?.isStopped === true);
  } finally {
    child.kill('SIGKILL');
  }
  await eventually('it is gone', () => usageOf(child.pid ?? 0) === null);
});

test.run();
