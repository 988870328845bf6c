/**
 * What a flood of orders costs the feed: the latency while a session asks without pause, beside the
 * same while two programs that do nothing take as much CPU time. Whatever the flood costs more than
 * those do, it costs by being one: locks, wakes, tables that are followed.
 */
import { join } from 'node:path';
import { measureWindow } from '../runs/measure.js';
import { ROOT, Running, sleep } from '../runs/process.js';
import { SIZE, type Special } from '../runs/special.js';
import { commandOf, cpuNs, SETTLE_MS, withFantail } from './fantail.js';

const RATE = 20_000;
/** Of latency_ns. */
const P99 = 2;

/** One of our own scripts, once it says that it is ready. */
async function startScript(name: string, ...words: string[]): Promise<Running> {
  const script = join(ROOT, 'dist', 'tools', 'bench', 'specials', `${name}.js`);
  const running = new Running(process.execPath, [script, ...words]);
  await running.until('ready');
  return running;
}

export const controlFlood: Special = {
  id: 'control flood',
  title: '1 subscriber, 20k packets/s: a session asks without pause; others take the same CPU time',
  rounds: 5,
  run: ({ world, engine }, { windowMs, warmUpMs }) =>
    withFantail('fantail inline', { world, subscribers: 1, size: SIZE }, async (fantail) => {
      const window = (ms: number) =>
        measureWindow(engine, {
          subscribers: 1,
          size: SIZE,
          queues: world.queues,
          rate: RATE,
          ms,
          detail: false,
        });
      await window(warmUpMs);
      await sleep(SETTLE_MS);
      const calm = await window(windowMs);

      const flooder = await startScript('flooder', fantail.control ?? '');
      const supervisor = fantail.pids().filter((pid) => commandOf(pid) === 'node');
      const busy = [...supervisor, flooder.pid];
      const [before, start] = [cpuNs(busy), performance.now()];
      const flooded = await window(windowMs);
      const cores = (cpuNs(busy) - before) / ((performance.now() - start) * 1e6);
      flooder.write('end');
      const answers = Number(await flooder.next());
      await flooder.stop();

      const burners = [1, 2].map(() => startScript('burner', String(cores / 2)));
      const started = await Promise.all(burners);
      const beside = await window(windowMs);
      for (const burner of started) await burner.stop();

      const p99 = ({ latency_ns }: typeof calm) => latency_ns[P99] ?? Number.NaN;
      return {
        values: {
          answers_a_second: answers / (windowMs / 1000),
          cpu_percent: cores * 100,
          calm_p99_ns: p99(calm),
          flooded_p99_ns: p99(flooded),
          beside_p99_ns: p99(beside),
          p99_ratio: p99(flooded) / p99(beside),
          lost: flooded.lost,
        },
      };
    }),
};
