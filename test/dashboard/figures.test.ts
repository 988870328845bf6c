/**
 * What the dashboard shows is what the replicator says, and where that is gone it says so, and goes
 * on with the next one.
 *
 * needs: a link
 * takes: 55 s
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { received } from '../rig/channel.js';
import { NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, subscribersOf, transfer } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';
import {
  browserTest,
  cellsOf,
  confirm,
  connection,
  endBrowser,
  isConnected,
  numberOf,
  rowOf,
} from './scene.js';

const test = suite('figures of the dashboard');
const COUNT = 3000;

browserTest(
  test,
  'rates, accounts, drops by name, feeds, workers and filters are those of stats and list',
  async ({ replicator, link, open }) => {
    const { page } = await open();
    await isConnected(page);
    const [one, two] = subscribersOf(2);
    assert.ok(one !== undefined && two !== undefined);
    await replicator.subscribe([one, two]);
    await replicator.change({ op: 'pause', ip: two.ip, port: two.port });
    await replicator.change({ op: 'feed.add', name: 'b', ip: REPLICATOR_IP, port: 9002 });
    await replicator.change({ op: 'add', ip: NOBODY_IP, port: 9101, feeds: ['main', 'b'] });
    const route = replicatedRoute(link);
    const feeds = [
      startFeed(route, { rate: 1000, count: 60_000, unusualEvery: 10 }),
      startFeed(route, { rate: 500, count: 30_000, port: 9002, flow: 1 }),
    ];
    const summed = page.getByRole('region', { name: 'Summary' });
    await eventually('a rate is shown', async () => {
      const { 'In packets/s': rate } = await cellsOf(page, 'Feeds', 'main');
      const [, all] = /packets\/s\s*([\d,]+)/.exec((await summed.textContent()) ?? '') ?? [];
      return numberOf(rate) > 0 && numberOf(all) >= numberOf(rate);
    });
    const fed = await Promise.all(feeds.map((feed) => feed.stop()));
    const sent = fed.reduce((total, one) => total + one.sent, 0);
    const { last: stats } = await replicator.settled((now) => received(now) >= sent);
    const list = await replicator.list();
    for (const account of stats.subscribers) {
      const name = `${account.ip}:${account.port}`;
      const row = list.find(({ ip, port }) => ip === account.ip && port === account.port);
      const drops = Object.entries(account.drops)
        .filter(([, count]) => count > 0)
        .map(([drop, count]) => `${drop} ${count.toLocaleString('en')}`);
      await eventually(`${name} as it is in the end`, async () => {
        const cells = await cellsOf(page, 'Subscribers', name);
        return (
          numberOf(cells['Sent copies']) === account.sent &&
          numberOf(cells['In flight']) === account.in_flight &&
          cells.State === row?.state &&
          cells.Filter === row?.filter &&
          cells.Feeds === row?.feeds.join(', ') &&
          drops.every((drop) => cells['Drops by name copies']?.includes(drop)) &&
          cells['Drops by name copies']?.split(' · ').filter(Boolean).length === drops.length
        );
      });
    }
    const nobody = stats.subscribers.find(({ ip }) => ip === NOBODY_IP);
    assert.ok((nobody?.drops.no_neighbour ?? 0) > 0, 'copies were dropped, by name');
    for (const feed of stats.feeds)
      await eventually(`${feed.name} as it is in the end`, async () => {
        const cells = await cellsOf(page, 'Feeds', feed.name);
        return (
          numberOf(cells['Received packets']) === feed.received &&
          numberOf(cells['Received bytes']) === feed.bytes &&
          numberOf(cells['Slow path packets']) === feed.slow_path &&
          numberOf(cells.Subscribers) === feed.subscribers
        );
      });
    assert.ok(stats.feed.slow_path > 0, 'some came by the kernel');
    const [worker] = stats.workers;
    assert.ok(worker !== undefined);
    const cells = await cellsOf(page, 'Workers', '0');
    assert.is(numberOf(cells.Process), worker.pid);
    assert.ok(numberOf(cells['Inside p50 µs']) > 0);
    const dropped = await cellsOf(page, 'Drops', 'no_neighbour');
    assert.is(numberOf(dropped.Total), nobody?.drops.no_neighbour);
    assert.is((await cellsOf(page, 'Filters', 'rewrite'))['For new'], 'yes');
  },
);

/** Of late; all since the start is in other words of the answer. */
const RECENT = {
  inside_ns: { p50: 1230, p99: 4560, p999: 7890 },
  kick_ns: { p50: 10_000, p99: 20_000, p999: 30_000 },
  window_ns: { p50: 11_000, p99: 12_000, p999: 13_000 },
};

browserTest(
  test,
  'latency and delivery window are those of the last one to two seconds',
  async ({ open }) => {
    const { page } = await open();
    await between(page, (frame) => {
      for (const worker of frame.workers ?? []) Object.assign(worker, { recent: RECENT });
      return frame;
    });
    const named = ['Inside p50 µs', 'Window p50 µs', 'Window p99.9 µs', 'Kick p99 µs'];
    await eventually('of late', async () => {
      const cells = await cellsOf(page, 'Workers', '0');
      return named.map((name) => cells[name]).join(' ') === '1.23 11.00 13.00 20.00';
    });
    await page.getByText('latency of the last one to two seconds').waitFor();
    await page.getByRole('img', { name: /Latency, .* p99 4.56, .*window p99 12.00/ }).waitFor();
  },
);

interface Frame {
  readonly event?: string;
  readonly id?: number;
  readonly uptime_ms?: number;
  readonly workers?: object[];
  readonly feeds?: { received: number }[];
}

/** Loads the page again with that between it and the replicator: null is not passed on. */
async function between(
  page: Page,
  passed: (frame: Frame, pass: (frame: Frame) => void) => Frame | null,
): Promise<void> {
  await page.routeWebSocket('**', (socket) => {
    const server = socket.connectToServer();
    const pass = (frame: Frame) => socket.send(JSON.stringify(frame));
    server.onMessage((message) => {
      const frame = passed(JSON.parse(String(message)) as Frame, pass);
      if (frame !== null) pass(frame);
    });
  });
  await page.reload();
  await isConnected(page);
}

browserTest(
  test,
  'what is read since something was changed is compared with a reading of a second ago, not of a moment ago',
  async ({ replicator, open }) => {
    const [one] = subscribersOf(1);
    assert.ok(one !== undefined);
    await replicator.subscribe([one]);
    const { page } = await open();
    const AHEAD = 500_000;
    await between(page, (frame) => {
      // 1000 packets a second, and so many more where it is an answer and not an event
      const more = frame.event === undefined ? AHEAD : 0;
      for (const feed of frame.feeds ?? []) feed.received = (frame.uptime_ms ?? 0) + more;
      return frame;
    });
    const rate = async () => numberOf((await cellsOf(page, 'Feeds', 'main'))['In packets/s']);
    await eventually('at its pace', async () => (await rate()) === 1000);
    await page.evaluate(`{
      window.rates = [];
      const cells = document.querySelector('[aria-label=Feeds] .body');
      const options = { childList: true, characterData: true, subtree: true };
      new MutationObserver(() => rates.push(cells.querySelectorAll('.cell')[2].innerText)).observe(cells, options);
    }`);
    for (const verb of ['Pause', 'Resume', 'Pause', 'Resume', 'Pause']) {
      await page.getByRole('button', { name: `${verb} ${one.ip}:${one.port}` }).click();
      if (verb === 'Pause') await confirm(page, verb);
      const words = verb === 'Pause' ? 'is paused' : 'is sent to again';
      await page.getByRole('status', { name: 'Last change' }).getByText(words).waitFor();
    }
    const rates = () => page.evaluate('rates') as Promise<string[]>;
    await eventually('a refresh is drawn', async () =>
      (await rates()).some((text) => numberOf(text) > 1000),
    );
    const most = AHEAD / 0.9 + 1000;
    for (const text of await rates()) assert.ok(numberOf(text) <= most, `${text} a second`);
  },
);

/** Longer than the page waits for a replicator that says nothing. */
const SLOW_MS = 12_000;

browserTest(
  test,
  'a change that takes long is waited for: figures go on, and nothing says that the connection is lost',
  async ({ replicator, open }) => {
    const [one] = subscribersOf(1);
    assert.ok(one !== undefined);
    await replicator.subscribe([one]);
    const { page, sockets } = await open();
    let held: (() => void)[] | null = null;
    await between(page, (frame, pass) => {
      if (held === null || frame.event !== undefined) return frame;
      held.push(() => pass(frame)); // answers keep their order
      return null;
    });
    const [lost, opened] = [connection(page).getByText('No connection'), sockets.length];
    await page.evaluate(`{
      window.spoken = [];
      const status = document.querySelector('[role=status][aria-label=Connection]');
      const options = { childList: true, characterData: true, subtree: true };
      new MutationObserver(() => spoken.push(status.innerText)).observe(status, options);
    }`);
    held = [];
    await page.getByRole('button', { name: `Pause ${one.ip}:${one.port}` }).click();
    await confirm(page, 'Pause');
    const facts = () => page.locator('.facts').textContent();
    await sleep(SLOW_MS);
    const before = await facts();
    await eventually('figures go on', async () => (await facts()) !== before);
    const waiting = held;
    held = null;
    for (const pass of waiting) pass();
    await page.getByText(`${one.ip}:${one.port} is paused.`).waitFor();
    assert.equal(await page.evaluate('spoken'), [], 'nothing was said of the connection');
    assert.is(await lost.count(), 0);
    assert.is(sockets.length, opened, 'and it is the same one');
  },
);

browserTest(
  test,
  'a replicator that is gone is told once, with old figures marked; the next one is taken up by itself',
  async ({ replicator, link, open }) => {
    const { page, faults } = await open();
    await isConnected(page);
    const [one] = subscribersOf(1);
    assert.ok(one !== undefined);
    await replicator.subscribe([one]);
    await transfer(replicator, { subscribers: [one], rate: 2000, count: COUNT });
    const name = `${one.ip}:${one.port}`;
    const sent = async () => numberOf((await cellsOf(page, 'Subscribers', name))['Sent copies']);
    await eventually('all are shown', async () => (await sent()) === COUNT);
    await page.evaluate(`{
      window.spoken = [];
      const status = document.querySelector('[role=status][aria-label=Connection]');
      const options = { childList: true, characterData: true, subtree: true };
      new MutationObserver(() => spoken.push(status.innerText)).observe(status, options);
    }`);
    replicator.close();
    await connection(page)
      .getByText(/^No connection since \d\d:\d\d:\d\d, trying again$/)
      .waitFor();
    await page.locator('.since').waitFor();
    assert.ok(await page.locator('main.stale').isVisible(), 'old figures are grey');
    assert.is(await sent(), COUNT, 'and still there');
    assert.ok(await page.getByRole('button', { name: `Remove ${name}` }).isDisabled());
    const since = () => page.locator('.since').textContent();
    const first = await since();
    await eventually('it says for how long', async () => (await since()) !== first);
    const flags = [...copyMode('inline'), '--control', replicator.control];
    const next = await Replicator.start({ link, flags });
    try {
      await next.subscribe([one]);
      await isConnected(page);
      await eventually('the counters of the next one', async () => (await sent()) === 0);
      assert.not.ok(await page.locator('main.stale').count());
      await transfer(next, { subscribers: [one], rate: 2000, count: 10 });
      await eventually('its figures go on', async () => (await sent()) === 10);
      const rates = await page.locator('.cell.number').allInnerTexts();
      assert.not.ok(
        rates.some((text) => text.startsWith('-')),
        'no rate is below zero',
      );
      const spoken = (await page.evaluate('spoken')) as string[];
      // one that starts slowly may be found silent, and lost, once more; none is said again
      const again = spoken.filter((said, index) => said === spoken[index - 1]);
      assert.equal(again, [], `said once each: ${spoken.join(' | ')}`);
      assert.is(spoken.at(-1), 'Connected');
    } finally {
      next.close();
    }
    // the browser itself tells each try that nobody answers
    const refused = faults.filter((fault) => fault.includes('ERR_CONNECTION_REFUSED'));
    assert.ok(refused.length > 0);
    faults.splice(0, faults.length, ...faults.filter((fault) => !refused.includes(fault)));
  },
);

browserTest(
  test,
  'a replicator that is stopped without a word is told, and goes on when it does',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    await rowOf(page, 'Feeds', 'main').waitFor();
    replicator.program.signal('SIGSTOP');
    await connection(page).getByText('No connection since').waitFor();
    await page.getByText('it does not answer').waitFor();
    replicator.program.signal('SIGCONT');
    await isConnected(page);
  },
);

test.after(endBrowser);
test.run();
