/**
 * Everybody can use the dashboard: by keyboard alone, by a screen reader, on a narrow screen; and
 * with as many subscribers and feeds as a desk has, whatever a reading changes.
 *
 * needs: a link
 * takes: 45 s
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HOSTS } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { subscribersOf } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';
import { crowd, SUBSCRIBERS } from './crowd.js';
import { assertAccessible, browserTest, endBrowser, isConnected, rowOf, table } from './scene.js';

const test = suite('look of the dashboard');
const TOKEN = 'dashboard-token-of-32-characters';
const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
test.after(() => rmSync(folder, { recursive: true }));
const fileOf = (name: string, token: string) => {
  writeFileSync(join(folder, name), token, { mode: 0o600 });
  return join(folder, name);
};
/** Rows in the document: what fits in the tallest window, and some above and below. */
const ROWS_MAX = 80;

browserTest(
  test,
  'axe finds nothing: light and dark, with subscribers and without, and in dialogs',
  async ({ replicator, open }) => {
    const { page } = await open({ height: 2400 });
    await isConnected(page);
    const themes = ['light', 'dark'] as const;
    const inBoth = async (what: string) => {
      for (const theme of themes) {
        await page.getByLabel('Colours').selectOption(theme);
        await assertAccessible(page, `${what}, ${theme}`);
      }
    };
    await inBoth('nobody subscribed');
    const [one, two] = subscribersOf(2);
    assert.ok(one !== undefined && two !== undefined);
    await replicator.subscribe([one, two]);
    await replicator.change({ op: 'pause', ip: two.ip, port: two.port });
    await replicator.ask({ op: 'filter.unload', name: 'none' }).catch(() => {});
    await rowOf(page, 'Subscribers', `${two.ip}:${two.port}`).getByText('paused').waitFor();
    await inBoth('subscribers');
    for (const name of [`Remove ${one.ip}:${one.port}`, `Filter ${one.ip}:${one.port}`]) {
      await page.getByRole('button', { name }).click();
      await assertAccessible(page, name);
      await page.keyboard.press('Escape');
    }
    await page.getByRole('button', { name: 'Info rewrite' }).click();
    await page.getByText('Copies judged').waitFor();
    await assertAccessible(page, 'info');
  },
);

browserTest(
  test,
  'axe finds nothing in a form for the token, with a wrong one; of what a reader sees; and once the connection is lost; on a narrow screen too',
  async ({ replicator, open }) => {
    await replicator.ask({ op: 'auth', token: `${TOKEN}-all` });
    await replicator.subscribe(subscribersOf(2));
    const { page, faults } = await open({ height: 2400 });
    const everywhere = async (what: string) => {
      for (const width of [360, 1280]) {
        await page.setViewportSize({ width, height: 2400 });
        await assertAccessible(page, `${what}, ${width} pixels`);
      }
    };
    const form = page.getByRole('form', { name: 'Token' });
    await form.waitFor();
    await everywhere('the form for the token');
    const show = async (token: string) => {
      await form.getByLabel('Token').fill(token);
      await form.getByRole('button', { name: 'Show token' }).click();
    };
    await show('wrong');
    await form.getByRole('alert').getByText('wrong token').waitFor();
    await everywhere('a wrong token');
    await show(TOKEN);
    await page.getByText('Read only').waitFor();
    await everywhere('who may only read');
    await page.getByRole('button', { name: 'Info rewrite' }).click();
    await page.getByText('Copies judged').waitFor();
    await everywhere('a dialog');
    await page.keyboard.press('Escape');
    replicator.close();
    await page.getByText('No connection since').waitFor();
    await everywhere('no connection');
    faults.length = 0; // the browser tells each try that nobody answers
  },
  [
    ...['--token-file', fileOf('all', `${TOKEN}-all`)],
    ...['--read-token-file', fileOf('read', TOKEN)],
  ],
);

browserTest(
  test,
  'it is light or dark as the system is, or as was chosen, which this browser keeps',
  async ({ open }) => {
    const { page } = await open({ colorScheme: 'dark' });
    await isConnected(page);
    const light = async () => {
      const [red = 0] =
        String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
          .match(/\d+/g)
          ?.map(Number) ?? [];
      return red > 128;
    };
    assert.not.ok(await light());
    await page.emulateMedia({ colorScheme: 'light' });
    assert.ok(await light());
    await page.getByLabel('Colours').selectOption('dark');
    assert.not.ok(await light());
    await page.reload();
    await isConnected(page);
    assert.not.ok(await light(), 'chosen before');
    await page.getByLabel('Colours').selectOption('auto');
    assert.ok(await light());
  },
);

/** What has the focus: its name, and whether that is seen. */
async function focused(page: Page): Promise<{ name: string | null; isSeen: boolean }> {
  return (await page.evaluate(`{
    const { activeElement: it } = document;
    const style = getComputedStyle(it);
    const label = it.getAttribute('aria-label') ?? it.labels?.[0]?.innerText ?? it.innerText;
    ({ name: it === document.body ? null : label, isSeen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 })
  }`)) as { name: string | null; isSeen: boolean };
}

/** Presses Tab until that has the focus; whatever has it on the way shows it. */
async function tabTo(page: Page, name: string | RegExp): Promise<void> {
  for (let steps = 0; steps < 200; steps++) {
    await page.keyboard.press('Tab');
    const at = await focused(page);
    if (at.name === null) continue; // the browser's own bar
    assert.ok(at.isSeen, `the focus is seen on ${at.name}`);
    if (typeof name === 'string' ? at.name === name : name.test(at.name)) return;
  }
  assert.unreachable(`Tab never comes to ${name}`);
}

browserTest(
  test,
  'by keyboard alone a subscriber is added, found among others, and removed',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    const several = subscribersOf(5);
    await replicator.subscribe(several.slice(1));
    const [one] = several;
    assert.ok(one !== undefined);
    await tabTo(page, 'IP');
    await page.keyboard.type(one.ip);
    await tabTo(page, 'Port');
    await page.keyboard.type(String(one.port));
    await page.keyboard.press('Enter');
    await eventually('it is added', async () => (await replicator.list()).length === 5);
    await page.reload();
    await isConnected(page);
    const name = `${one.ip}:${one.port}`;
    await rowOf(page, 'Subscribers', name).waitFor();
    await tabTo(page, /^10\.77\./);
    await page.keyboard.press('End');
    await page.keyboard.press('Home');
    for (let rows = 0; !(await focused(page)).name?.startsWith(name); rows++) {
      assert.ok(rows < 5, 'an arrow leads to each row');
      await page.keyboard.press('ArrowDown');
    }
    await tabTo(page, `Remove ${name}`);
    await page.keyboard.press('Enter');
    await eventually('the safe way out has the focus', async () => {
      return (await focused(page)).name === 'Cancel';
    });
    await page.keyboard.press('Escape');
    assert.is((await focused(page)).name, `Remove ${name}`, 'and what asked has it again');
    await page.keyboard.press('Enter');
    await tabTo(page, 'Remove');
    await page.keyboard.press('Enter');
    await eventually('it is removed', async () => (await replicator.list()).length === 4);
    await rowOf(page, 'Subscribers', name).waitFor({ state: 'detached' });
    await eventually('the focus stays in the table', async () => {
      return /^10\.77\./.test((await focused(page)).name ?? '');
    });
    await page.locator('h1').click();
    const facts = () => page.locator('.facts').textContent();
    const before = await facts();
    await eventually('another reading', async () => (await facts()) !== before);
    assert.is((await focused(page)).name, null, 'and it is not taken back from who has left it');
  },
);

/** What readings have done to the tables, as the page itself saw it. */
interface Seen {
  readonly readings: number;
  /** Cells whose text has changed, over all readings. */
  readonly changed: number;
  /** Cells that something was done to though their text is the same. */
  readonly untouched: readonly string[];
  /** Rows of the first moment, and those of them that are in the document still. */
  readonly rowsBefore: number;
  readonly rowsKept: number;
}

/** From now on, in `seen`; called for the records of one reading at a time. */
async function watchReadings(page: Page): Promise<void> {
  await page.evaluate(`{
    const cells = () => [...document.querySelectorAll('[aria-label=Subscribers] .body .cell, [aria-label=Feeds] .body .cell')];
    const rows = [...document.querySelectorAll('[aria-label=Subscribers] .body [role=row], [aria-label=Feeds] .body [role=row]')];
    const texts = new Map(cells().map((cell) => [cell, cell.innerText]));
    window.seen = { readings: 0, changed: 0, untouched: [], rowsBefore: rows.length, rowsKept: rows.length };
    const options = { childList: true, characterData: true, attributes: true, subtree: true };
    new MutationObserver((records) => {
      const touched = new Set(records.map(({ target }) =>
        (target.nodeType === Node.TEXT_NODE ? target.parentElement : target)?.closest('.body .cell')));
      for (const cell of touched) {
        if (!texts.has(cell)) continue;
        if (cell.innerText === texts.get(cell)) seen.untouched.push(cell.outerHTML);
        else seen.changed += 1;
        texts.set(cell, cell.innerText);
      }
      seen.rowsKept = rows.filter((row) => row.isConnected).length;
      if (records.some(({ target }) => target.parentElement?.closest('.facts'))) seen.readings += 1;
    }).observe(document.body, options);
  }`);
}

browserTest(
  test,
  '1000 subscribers and 10 feeds: rows in sight alone are in the page, each is reached and told by its number, and a reading touches no more than they show',
  async ({ replicator, link, open }) => {
    await crowd(replicator);
    const feed = startFeed(replicatedRoute(link), { rate: 50, count: 50_000 });
    const { page } = await open();
    await isConnected(page);
    const grid = table(page, 'Subscribers');
    await grid.waitFor();
    assert.is(await grid.getAttribute('aria-rowcount'), String(SUBSCRIBERS + 1));
    const rows = () => page.locator('[role=row]').count();
    assert.ok((await rows()) <= ROWS_MAX, `${await rows()} rows`);
    const [ip] = HOSTS;
    await grid.locator('.body [role=row]').first().focus();
    await page.keyboard.press('End');
    const last = rowOf(page, 'Subscribers', `${ip}:${10_000 + SUBSCRIBERS - 1}`);
    await last.waitFor();
    assert.is(await last.getAttribute('aria-rowindex'), String(SUBSCRIBERS + 1));
    await eventually(
      'it has the focus',
      () =>
        last.evaluate('document.activeElement.innerText.includes(":10999")') as Promise<boolean>,
    );
    await page.keyboard.press('Home');
    await rowOf(page, 'Subscribers', `${ip}:10000`).waitFor();
    const head = grid.getByRole('columnheader', { name: 'Subscriber' });
    assert.is(await head.getAttribute('aria-sort'), 'ascending');
    await head.getByRole('button').click();
    assert.is(await head.getAttribute('aria-sort'), 'descending');
    await grid.locator('[aria-rowindex="2"]').getByText(':10999').waitFor();
    await head.getByRole('button').click();
    await page.getByLabel('Show subscribers with').fill('10499');
    await rowOf(page, 'Subscribers', `${ip}:10499`).waitFor();
    assert.is(await grid.getAttribute('aria-rowcount'), '2');
    await page.getByLabel('Show subscribers with').fill('');
    await watchReadings(page);
    const seen = () => page.evaluate('seen') as Promise<Seen>;
    await eventually('some readings', async () => (await seen()).readings >= 4);
    const { changed, untouched, rowsBefore, rowsKept } = await seen();
    assert.ok(changed > 0, 'texts have changed');
    assert.equal(untouched, [], 'no cell was touched whose text is what it was');
    assert.is(rowsKept, rowsBefore, 'each row is the element that it was');
    assert.ok((await rows()) <= ROWS_MAX, `${await rows()} rows`);
    await feed.stop();
  },
);

browserTest(
  test,
  'from 360 to 2560 pixels nothing has to be scrolled sideways but a table in its own place',
  async ({ replicator, open }) => {
    await replicator.subscribe(subscribersOf(3));
    const { page } = await open();
    await isConnected(page);
    await table(page, 'Subscribers').waitFor();
    for (const width of [360, 480, 768, 1024, 1500, 1920, 2560]) {
      await page.setViewportSize({ width, height: 900 });
      // the plots follow when the browser has laid out the rest
      const outside = `[...document.querySelectorAll('main *:not(.grid *), header *')]
        .filter((it) => it.getBoundingClientRect().right > ${width} + 1).length`;
      const scrolled =
        'document.documentElement.scrollWidth - document.documentElement.clientWidth';
      for (const beyond of [scrolled, outside])
        await eventually(`${width} pixels are enough`, async () => {
          return (await page.evaluate(beyond)) === 0;
        });
    }
  },
);

test.after(endBrowser);
test.run();
