/**
 * What a flood of orders costs the feed: the latency while a session asks without pause, beside the
 * same while two programs that do nothing take as much CPU time. Whatever the flood costs more than
 * those do, it costs by being one: locks, wakes, tables that are followed.
 */
import { join } from 'node:path';
import { measureWindow } from '../runs/measure.js';
import { ROOT, Running, sleep } from '../runs/process.js';
import { SIZE, type Special } from '../runs/special.js';
import { cpuNs, SETTLE_MS, withFantail } from './fantail.js';

const RATE = 20_000;
/** Index of p99 in latency_ns. */
const P99 = 2;

/** One of our own scripts, once it says that it is ready. */
async function startScript(name: string, ...words: string[]): Promise<Running> {
  const script = join(ROOT, 'dist', 'tools', 'bench', 'specials', `${name}.js`);
  const running = new Running(process.execPath, [script, ...words]);
  await running.until('ready');
  return running;
}

/** What `work` gives, and how many cores' time those processes had meanwhile. */
async function used<T>(pids: readonly number[], work: () => Promise<T>) {
  const [before, start] = [cpuNs(pids), performance.now()];
  const value = await work();
  return { value, cores: (cpuNs(pids) - before) / ((performance.now() - start) * 1e6) };
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
      const supervisor = fantail.supervisor === null ? [] : [fantail.supervisor];
      const flooded = await used([...supervisor, flooder.pid], () => window(windowMs));
      flooder.write('end');
      const answers = Number(await flooder.next());
      await flooder.stop();
      if (flooded.value.unexpected > 0) throw new Error('the flood has subscribed somebody');

      const share = String(flooded.cores / 2);
      const burners = [await startScript('burner', share), await startScript('burner', share)];
      const pids = burners.map(({ pid }) => pid);
      const beside = await used(pids, () => window(windowMs));
      for (const burner of burners) await burner.stop();

      const p99 = ({ latency_ns }: typeof calm) => latency_ns[P99] ?? Number.NaN;
      return {
        values: {
          answers_a_second: answers,
          flood_cpu_percent: flooded.cores * 100,
          beside_cpu_percent: beside.cores * 100,
          calm_p99_ns: p99(calm),
          flooded_p99_ns: p99(flooded.value),
          beside_p99_ns: p99(beside.value),
          p99_ratio: p99(flooded.value) / p99(beside.value),
          lost: flooded.value.lost,
        },
      };
    }),
};
