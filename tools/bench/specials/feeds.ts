/**
 * What other feeds cost the busiest one: its latency and its limit with 63 others beside it, each
 * with as many subscribers and a packet a second, against the same feed alone; and whether it loses
 * anything while others are added and removed.
 */
import { join } from 'node:path';
import { connectClient } from '../../../src/control/client.js';
import { limits } from '../../../src/memory/layout.js';
import { measureWindow } from '../runs/measure.js';
import { ROOT, Running } from '../runs/process.js';
import { searchLossless } from '../runs/search.js';
import { SIZE, type Special } from '../runs/special.js';
import { feedPort, REPLICATOR_IP, type World } from '../runs/world.js';
import { withFantail } from './fantail.js';

const SUBSCRIBERS = 16;
const RATE = 20_000;

/** A packet a second to each of the others, while `work` is done. */
async function beside<T>(world: World, feeds: number, work: () => Promise<T>): Promise<T> {
  if (feeds === 1) return work();
  const script = join(ROOT, 'dist', 'tools', 'bench', 'specials', 'trickle.js');
  const ports = Array.from({ length: feeds - 1 }, (_, i) => String(feedPort(i + 1)));
  const trickle = new Running(process.execPath, [script, REPLICATOR_IP, ...ports], {
    namespace: world.net,
  });
  try {
    await trickle.until('ready');
    return await work();
  } finally {
    await trickle.stop();
  }
}

export const feeds: Special = {
  id: 'feeds',
  title: `fantail inline: a feed of 16 alone, and with ${limits.FEEDS_MAX - 1} others of 16 beside it`,
  rounds: 5,
  async run({ world, engine }, sizes) {
    const measured = (count: number) =>
      withFantail(
        'fantail inline',
        { world, subscribers: SUBSCRIBERS, size: SIZE, feeds: count },
        () =>
          beside(world, count, async () => {
            const base = { subscribers: SUBSCRIBERS, size: SIZE, queues: world.queues };
            const window = (rate: number, ms: number) =>
              measureWindow(engine, { ...base, rate, ms, detail: false });
            await window(RATE, sizes.warmUpMs);
            const { latency_ns, lost } = await window(RATE, sizes.windowMs);
            const { searchMin: min, searchMax: max, tolerance, searchMs } = sizes;
            const found = await searchLossless(
              { guess: RATE, step: 1.5, tolerance, min, max, tries: 2 },
              (rate) => window(rate, searchMs),
            );
            const [p50, , p99] = latency_ns;
            return { p50, p99, lost, output: found.best?.trial.output ?? 0 };
          }),
      );
    const alone = await measured(1);
    const among = await measured(limits.FEEDS_MAX);
    return {
      command: among.command,
      mode: among.mode,
      values: {
        alone_p50_ns: alone.p50,
        among_p50_ns: among.p50,
        p50_ratio: among.p50 / alone.p50,
        p99_ratio: among.p99 / alone.p99,
        alone_cps: alone.output,
        among_cps: among.output,
        output_ratio: among.output / alone.output,
        lost: alone.lost + among.lost,
      },
    };
  },
};

// ---- Feeds that come and go ----

const CHANGED_RATE = 100_000;
const CHANGES = 100;
/** Longer than all changes take; the rest of it is quiet. */
const CHANGED_MS = 15_000;

export const feedChanges: Special = {
  id: 'feed changes',
  title: `fantail inline: 100k packets/s to 1, another feed added and removed ${CHANGES} times`,
  rounds: 3,
  run: ({ world, engine }, { soakMs }) =>
    withFantail('fantail inline', { world, subscribers: 1, size: SIZE }, async (fantail) => {
      const client = await connectClient({ control: fantail.control ?? '' });
      const ask = async (request: Parameters<typeof client.ask>[0]) => {
        const { text, body } = await client.ask(request);
        if (!body.ok) throw new Error(text);
      };
      const [name, to] = ['other', { ip: REPLICATOR_IP, port: feedPort(1) }];
      let isOver = false;
      let changes = 0;
      const window = measureWindow(engine, {
        subscribers: 1,
        size: SIZE,
        queues: world.queues,
        rate: CHANGED_RATE,
        ms: Math.min(CHANGED_MS, soakMs),
        detail: false,
      }).finally(() => {
        isOver = true;
      });
      for (; !isOver && changes < CHANGES; changes++) {
        await ask({ op: 'feed.add', name, ...to });
        await ask({ op: 'feed.remove', name });
      }
      const { lost, duplicated, reordered, sent } = await window;
      client.close();
      return { values: { changes, sent, lost, duplicated, reordered } };
    }),
};
