/**
 * A dashboard under test: a replicator on a virtual link of its own, and tabs of a real browser
 * that look at it. Whatever a test does, no script may fail, no policy may be violated, and nothing
 * may be asked for but the page and its socket.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Locator, Page } from 'playwright-core';
import * as assert from 'uvu/assert';
import type { Link } from '../rig/link.js';
import { ROOT } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest } from '../rig/scenario.js';
import { type Look, lackForBrowser, startBrowser, Tab } from './browser.js';

export interface Scene {
  readonly link: Link;
  readonly replicator: Replicator;
  readonly url: string;
  /** Another tab, with a storage of its own. */
  open(look?: Look): Promise<Tab>;
}

/** One for all tests of a file: it takes a second to start. */
let running: Promise<Browser> | undefined;

/** To be called after the last test. */
export async function endBrowser(): Promise<void> {
  await (await running)?.close();
}

/** A test with a browser; where there can be none it says so, and is counted as skipped. */
export function browserTest(
  test: (name: string, work: () => Promise<void>) => void,
  name: string,
  work: (scene: Scene) => Promise<void>,
  flags: readonly string[] = [],
): void {
  networkTest(test, name, { queues: 1 }, async (link) => {
    const lack = lackForBrowser();
    if (lack !== null) return console.log(`skip: ${lack}`);
    const replicator = await Replicator.start({ link, flags: [...copyMode('inline'), ...flags] });
    running ??= startBrowser();
    const browser = await running;
    const tabs: Tab[] = [];
    const url = `http://${replicator.control}/`;
    try {
      const open = async (look?: Look) => {
        const tab = await Tab.open(browser, url, look);
        tabs.push(tab);
        return tab;
      };
      await work({ link, replicator, url, open });
      for (const tab of tabs) assertQuiet(tab, url);
    } catch (error) {
      if (error instanceof Error)
        error.message += `\n--- the replicator said:\n${replicator.told()}`;
      throw error;
    } finally {
      for (const tab of tabs) await tab.close();
      replicator.close();
    }
  });
}

export function assertQuiet({ faults, requests, sockets }: Tab, url: string): void {
  assert.equal(faults, [], 'no script failed, and the policy was not violated');
  assert.ok(requests.length > 0 && sockets.length > 0);
  for (const asked of requests) assert.ok(asked === url || asked.startsWith('data:'), asked);
  for (const socket of sockets) assert.is(socket, url.replace('http', 'ws'));
}

// ---- what is on the page ------------------------------------------------------------------------

export const connection = (page: Page): Locator => page.getByRole('status', { name: 'Connection' });

export const isConnected = (page: Page): Promise<void> =>
  connection(page).getByText('Connected', { exact: true }).waitFor();

export const table = (page: Page, name: string): Locator => page.getByRole('grid', { name });

/** Whose first cell is that text. */
export const rowOf = (page: Page, name: string, text: string): Locator =>
  table(page, name)
    .getByRole('row')
    .filter({ has: page.getByRole('rowheader', { name: text, exact: true }) });

/** Texts of a row's cells by the titles of their columns, with their units. */
export async function cellsOf(
  page: Page,
  name: string,
  text: string,
): Promise<Record<string, string>> {
  const [titles, cells] = await Promise.all([
    table(page, name).getByRole('columnheader').allInnerTexts(),
    rowOf(page, name, text).locator('.cell').allInnerTexts(),
  ]);
  const clean = (title: string) => title.replace(/[▲▼]/g, '').replace(/\s+/g, ' ').trim();
  return Object.fromEntries(titles.map((title, index) => [clean(title), cells[index] ?? '']));
}

/** `1,234` → 1234. */
export const numberOf = (text: string | undefined): number =>
  Number((text ?? '').replaceAll(',', ''));

export async function confirm(page: Page, verb: string): Promise<void> {
  await page.getByRole('dialog').getByRole('button', { name: verb, exact: true }).click();
}

// ---- whether everybody can use it ---------------------------------------------------------------

const AXE = readFileSync(join(ROOT, 'node_modules/axe-core/axe.min.js'), 'utf8');

interface Finding {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

/** Every rule that axe has, best practices too. */
export async function assertAccessible(page: Page, what: string): Promise<void> {
  await page.evaluate(AXE);
  const { violations, passes } = (await page.evaluate(
    'axe.run(document).then(({ violations, passes }) => ({ violations, passes: passes.length }))',
  )) as { violations: Finding[]; passes: number };
  assert.ok(passes > 5, 'it has looked');
  const told = violations.map(({ id, nodes }) => {
    return `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('\n')}`;
  });
  assert.equal(told, [], what);
}
