/**
 * What the dashboard costs with 1000 subscribers and 10 feeds under traffic: the browser's time and
 * memory, and the supervisor's time for each tab. Figures, and no judgement: see decisions.md.
 */
import { readFileSync } from 'node:fs';
import type { CDPSession, Page } from 'playwright-core';
import { Link } from '../rig/link.js';
import { sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';
import { startBrowser, Tab } from './browser.js';
import { crowd } from './crowd.js';
import { isConnected } from './scene.js';

const PACKETS_A_SECOND = 100;
/** Times of a page that is opened anew. */
const PAINTS = 5;
const UPDATE_SECONDS = 20;
const SUPERVISOR_SECONDS = 20;
/** At the heap, each minute. */
const LOOKS = 10;
const LOOK_MS = 270;
/** Of /proc/<pid>/stat, on all that Linux runs on. */
const TICKS_A_SECOND = 100;

const say = (line: string) => console.log(line);

export async function measure(minutes: number): Promise<void> {
  const link = new Link({ queues: 1 });
  const replicator = await Replicator.start({ link, flags: copyMode('inline') });
  const browser = await startBrowser(['--enable-precise-memory-info']);
  try {
    await crowd(replicator);
    const feed = startFeed(replicatedRoute(link), {
      rate: PACKETS_A_SECOND,
      count: PACKETS_A_SECOND * 3600,
    });
    const url = `http://${replicator.control}/`;
    const open = () => Tab.open(browser, url);
    await measureSupervisor(replicator.program.pid, open);
    await measurePaint(open);
    const { page } = await open();
    await isConnected(page);
    const session = await page.context().newCDPSession(page);
    // of the page's own thread: what others take of the machine is not in it
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    await measureUpdates(session, page);
    await measureHeap(session, minutes);
    await feed.stop();
  } finally {
    await browser.close();
    replicator.close();
    link.close();
  }
}

/** Seconds of a core that a process has used (proc(5): utime and stime). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

async function measureSupervisor(pid: number, open: () => Promise<Tab>): Promise<void> {
  const tabs: Tab[] = [];
  for (const count of [0, 1, 4]) {
    while (tabs.length < count) tabs.push(await open());
    await sleep(2000);
    const before = cpuSeconds(pid);
    await sleep(SUPERVISOR_SECONDS * 1000);
    const ms = ((cpuSeconds(pid) - before) / SUPERVISOR_SECONDS) * 1000;
    say(`supervisor, ${count} tabs: ${ms.toFixed(1)} ms of a core a second`);
  }
  for (const tab of tabs) await tab.close();
}

async function measurePaint(open: () => Promise<Tab>): Promise<void> {
  for (let turn = 0; turn < PAINTS; turn++) {
    const tab = await open();
    await tab.page.locator('.subscribers .body [role=row]').first().waitFor();
    const [first, figures] = (await tab.page.evaluate(
      `[performance.getEntriesByName('first-contentful-paint')[0].startTime, performance.now()]`,
    )) as [number, number];
    say(`first paint ${first.toFixed(0)} ms, all figures by ${figures.toFixed(0)} ms`);
    await tab.close();
  }
}

async function metricsOf(session: CDPSession): Promise<Record<string, number>> {
  const { metrics } = await session.send('Performance.getMetrics');
  return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
}

async function measureUpdates(session: CDPSession, page: Page): Promise<void> {
  await page.evaluate(`{
    window.readings = 0;
    const options = { childList: true, characterData: true, subtree: true };
    new MutationObserver(() => { readings += 1; }).observe(document.querySelector('.facts'), options);
  }`);
  const before = await metricsOf(session);
  await sleep(UPDATE_SECONDS * 1000);
  const after = await metricsOf(session);
  const readings = (await page.evaluate('readings')) as number;
  const each = (name: string) =>
    ((((after[name] ?? 0) - (before[name] ?? 0)) * 1000) / readings).toFixed(1);
  say(
    `an update (of ${readings}): ${each('ScriptDuration')} ms of a core in scripts, ` +
      `${each('LayoutDuration')} of layout, ${each('RecalcStyleDuration')} of styles, ` +
      `${each('TaskDuration')} in all`,
  );
}

/**
 * After full collections, so that it is what is held; the least of several, since a reading that is
 * on its way is some hundred kB by itself.
 */
async function measureHeap(session: CDPSession, minutes: number): Promise<void> {
  for (let minute = 0; minute <= minutes; minute++) {
    if (minute > 0) await sleep(60_000);
    let held = Number.POSITIVE_INFINITY;
    for (let look = 0; look < LOOKS; look++) {
      await session.send('HeapProfiler.collectGarbage');
      held = Math.min(held, (await metricsOf(session)).JSHeapUsedSize ?? held);
      await sleep(LOOK_MS);
    }
    const { Nodes = 0, JSEventListeners = 0 } = await metricsOf(session);
    const mib = (held / 2 ** 20).toFixed(2);
    say(`minute ${minute}: ${mib} MiB, ${Nodes} nodes, ${JSEventListeners} listeners`);
  }
}
