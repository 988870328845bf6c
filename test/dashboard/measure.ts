/**
 * What the dashboard costs with 1000 subscribers and 10 feeds under traffic: the browser's time and
 * memory, and the supervisor's time for each tab. Figures, and no judgement: see decisions.md.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CDPSession, Page } from 'playwright-core';
import { HOSTS, Link } from '../rig/link.js';
import { atNice, INSTRUMENT_NICE, Program, ROOT, SERVICE_NICE, sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode } from '../rig/scenario.js';
import { replicatedRoute, startFeed, startSink } from '../rig/wire.js';
import { startBrowser, Tab } from './browser.js';
import { crowd, FIRST_PORT } from './crowd.js';
import { isConnected } from './scene.js';

const PACKETS_A_SECOND = 100;
/** Times of a page that is opened anew. */
const PAINTS = 5;
const UPDATE_SECONDS = 20;
const SUPERVISOR_SECONDS = 20;
const FEED_ROUNDS = 5;
const FEED_SECONDS = 15;
const TABS = 3;
/** At the heap, each minute. */
const LOOKS = 10;
const LOOK_MS = 270;
/** Of /proc/<pid>/stat, on all that Linux runs on. */
const TICKS_A_SECOND = 100;

const say = (line: string) => console.log(line);

export async function measure(minutes: number): Promise<void> {
  const link = new Link({ queues: 1 });
  // as its service runs it, and as one would beside a browser
  const replicator = await atNice(SERVICE_NICE, () =>
    Replicator.start({ link, flags: copyMode('inline') }),
  );
  const browser = await startBrowser(['--enable-precise-memory-info']);
  try {
    await crowd(replicator);
    const endless = { rate: PACKETS_A_SECOND, count: PACKETS_A_SECOND * 3600 };
    let feed = startFeed(replicatedRoute(link), endless);
    const url = `http://${replicator.control}/`;
    const open = () => Tab.open(browser, url);
    await measureSupervisor(replicator.program.pid, open);
    await feed.stop();
    await measureFeed(replicator, open);
    feed = startFeed(replicatedRoute(link), endless);
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

/** Our own session beside others; nothing where the kernel schedules by none. */
function raiseSession(nice: number): void {
  if (existsSync('/proc/self/autogroup')) writeFileSync('/proc/self/autogroup', `${nice}`);
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

/** Of every process below this one that is the browser's: cpuSeconds. */
function browserSeconds(): number {
  const parents = new Map<number, { parent: number; name: string }>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each)))
    try {
      const [, comm = '', rest = ''] =
        /^\d+ \((.*)\) \S (.*)$/s.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
      parents.set(Number(name), { parent: Number(rest.split(' ')[0]), name: comm });
    } catch {
      // it has ended
    }
  const isOurs = (pid: number): boolean =>
    pid === process.pid || (parents.has(pid) && isOurs(parents.get(pid)?.parent ?? 0));
  return [...parents]
    .filter(([pid, { name }]) => name.startsWith('chrom') && isOurs(pid))
    .reduce((sum, [pid]) => sum + cpuSeconds(pid), 0);
}

/** p99 of the feed at some of the subscribers, the median of them, µs; while `seconds` pass. */
async function p99Of(replicator: Replicator): Promise<number> {
  const [ip = ''] = HOSTS;
  const route = replicatedRoute(replicator.link);
  const extras = [0, 250, 500, 750, 999].map((index) => ({ ip, port: FIRST_PORT + index }));
  const count = PACKETS_A_SECOND * FEED_SECONDS;
  const sink = await startSink(route, { subscribers: [], extras });
  // an instrument: how late it was itself is no figure of the replicator
  const feed = await atNice(INSTRUMENT_NICE, async () =>
    startFeed(route, { rate: PACKETS_A_SECOND, count }),
  );
  await feed.result(FEED_SECONDS * 10_000);
  await sleep(1000);
  const { subscribers } = await sink.stop();
  const sorted = subscribers.map(({ latency_ns }) => latency_ns.p99).sort((a, b) => a - b);
  return (sorted[sorted.length >> 1] ?? Number.NaN) / 1000;
}

/** Beside tabs, and beside two programs that take the CPU time that those took. */
async function measureFeed(replicator: Replicator, open: () => Promise<Tab>): Promise<void> {
  const { pid } = replicator.program;
  const burner = join(ROOT, 'dist', 'tools', 'bench', 'specials', 'burner.js');
  const ratios: number[] = [];
  raiseSession(INSTRUMENT_NICE);
  for (let round = 0; round < FEED_ROUNDS; round++) {
    const idle = cpuSeconds(pid);
    const calm = await p99Of(replicator);
    const own = cpuSeconds(pid) - idle;
    const tabs = await Promise.all(Array.from({ length: TABS }, open));
    for (const { page } of tabs) await isConnected(page);
    const [before, began_ms] = [browserSeconds() + cpuSeconds(pid), performance.now()];
    const watched = await p99Of(replicator);
    const seconds = (performance.now() - began_ms) / 1000;
    const cores = (browserSeconds() + cpuSeconds(pid) - before - own) / seconds;
    for (const tab of tabs) await tab.close();
    const burners = [0, 1].map(
      () => new Program(process.execPath, [burner, String(cores / 2)], { group: true }),
    );
    for (const each of burners) await each.line(/^ready$/m);
    const beside = await p99Of(replicator);
    for (const each of burners) each.close();
    ratios.push(watched / beside);
    say(
      `feed's p99, µs: calm ${calm.toFixed(0)}, ${TABS} tabs ${watched.toFixed(0)} (${cores.toFixed(2)} cores), ` +
        `beside as much CPU time ${beside.toFixed(0)}; ratio ${(watched / beside).toFixed(2)}`,
    );
  }
  ratios.sort((a, b) => a - b);
  say(
    `feed's p99, ${TABS} tabs / as much CPU time: median ${ratios[FEED_ROUNDS >> 1]?.toFixed(2)}`,
  );
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
