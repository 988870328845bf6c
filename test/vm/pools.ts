/**
 * How many page pools bulk transmit leaves alive, on a card that is done with a frame some time
 * after a call has returned (docs/bulk.md). Each call makes a pool; the kernel's tracepoint
 * xdp:mem_disconnect tells the end of each. Run in a guest:
 *
 *   npm run test:vm -- --card igb --run 'node dist/test/vm/pools.js'
 *
 * Nothing of it is a test: it prints a row a second of the worst rate, and one for each rate.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { addon } from '../../src/memory/addon.js';
import { Link } from '../rig/link.js';
import { run, sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, subscribersOf } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';

const EVENT = '/sys/kernel/tracing/events/xdp/mem_disconnect';
const WIRE = { queues: 1, devices: ['eth0', 'eth1'] } as const;
/** Calls a second that are asked for; an emulated processor may not get so far. */
const RATES = [50, 100, 200, 400, 1000];
const SECONDS = Number(process.argv[2] ?? 20);
const SUBSCRIBERS = 16;

function countEnds(): void {
  if (!existsSync(EVENT)) run('mount', ['-t', 'tracefs', 'tracefs', '/sys/kernel/tracing']);
  writeFileSync(`${EVENT}/trigger`, 'hist:keys=mem_type');
}

/** Pools that have ended since countEnds(). */
function ended(): number {
  const told = readFileSync(`${EVENT}/hist`, 'utf8');
  return Number(/^ +Hits: (\d+)$/m.exec(told)?.[1] ?? 0);
}

/** KiB that are free, or could be. */
const available = () =>
  Number(/^MemAvailable: +(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);

/** ms of CPU time that a process has had. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return 10 * (Number(stat[11]) + Number(stat[12]));
}

const { driver } = addon.describeInterface(null, WIRE.devices[0]);
const link = new Link(WIRE);
const replicator = await Replicator.start({
  link,
  flags: copyMode('inline', '--transmit', 'bulk', '--cpus', '0'),
});
try {
  await replicator.subscribe(subscribersOf(SUBSCRIBERS));
  const worker = async () => {
    const [first] = (await replicator.stats()).workers;
    if (first === undefined) throw new Error('there is no worker');
    return first;
  };
  countEnds();
  const { transmit: begun, pid } = await worker();
  const first = { calls: begun.calls, ended: ended() };
  console.log(`${driver}, Linux ${release()}, ${SECONDS} s each, ${SUBSCRIBERS} subscribers`);
  console.log('asked/s calls/s pools alive: most, at the end | CPU ms a call | KiB less | refused');
  for (const rate of RATES) {
    const feed = startFeed(replicatedRoute(link), { rate, count: rate * SECONDS * 10 });
    const [before, cpu, memory] = [await worker(), cpuOf(pid), available()];
    let most = 0;
    const alive = async () => {
      const { calls } = (await worker()).transmit;
      return calls - first.calls - (ended() - first.ended);
    };
    for (let second = 0; second < SECONDS; second++) {
      await sleep(1000);
      most = Math.max(most, await alive());
    }
    const after = await worker();
    const least = available();
    await feed.stop();
    await sleep(3000);
    const calls = after.transmit.calls - before.transmit.calls;
    const row = [
      rate,
      Math.round(calls / SECONDS),
      most,
      await alive(),
      ((cpuOf(pid) - cpu) / Math.max(1, calls)).toFixed(2),
      memory - least,
      after.transmit.refused - before.transmit.refused,
    ];
    console.log(row.join(' '));
  }
  await replicator.check();
  const { status } = await replicator.stop();
  if (status !== 0) throw new Error(`it ended with status ${status}`);
} catch (error) {
  console.log(replicator.told());
  throw error;
} finally {
  replicator.close();
  link.close();
}
