/**
 * Who may do what on the dashboard, and that nothing foreign gets into it: tokens, and names that
 * would be HTML or scripts.
 *
 * needs: a link
 * takes: 30 s
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { UNAUTHORIZED_SESSIONS_MAX } from '../../src/control/constants.js';
import { eventually } from '../rig/program.js';
import { subscribersOf } from '../rig/scenario.js';
import type { Tab } from './browser.js';
import { browserTest, connection, endBrowser, isConnected, rowOf, table } from './scene.js';

const test = suite('guards of the dashboard');
const TOKEN = 'dashboard-token-of-32-characters';
const READ_TOKEN = `${TOKEN}-read`;

const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
test.after(() => rmSync(folder, { recursive: true }));
const fileOf = (name: string, token: string) => {
  writeFileSync(join(folder, name), token, { mode: 0o600 });
  return join(folder, name);
};
const TOKENS = [
  ...['--token-file', fileOf('all', TOKEN)],
  ...['--read-token-file', fileOf('read', READ_TOKEN)],
];

const form = (page: Page) => page.getByRole('form', { name: 'Token' });

async function show(page: Page, token: string): Promise<void> {
  await form(page).getByLabel('Token').fill(token);
  await form(page).getByRole('button', { name: 'Show token' }).click();
}

/** What the tab's storages and cookies hold, as one text. */
async function keptBy({ page }: Tab): Promise<string> {
  const stored = await page.evaluate(
    'JSON.stringify([{ ...sessionStorage }, { ...localStorage }])',
  );
  return `${stored}${JSON.stringify(await page.context().cookies())}`;
}

browserTest(
  test,
  'the page comes without a token and asks for it; a wrong one is told, the right one is kept for the tab alone',
  async ({ replicator, open }) => {
    await replicator.ask({ op: 'auth', token: TOKEN });
    const tab = await open();
    const { page } = tab;
    await form(page).waitFor();
    assert.is(await table(page, 'Feeds').count(), 0, 'no figure is shown');
    assert.ok(
      await form(page).getByLabel('Token').evaluate('document.activeElement.type === "password"'),
    );
    await show(page, 'wrong');
    const alert = form(page).getByRole('alert');
    await alert.getByText('UNAUTHORIZED wrong token').waitFor();
    assert.is(await keptBy(tab), '[{},{}][]', 'a wrong one is not kept');
    await show(page, TOKEN);
    await isConnected(page);
    await rowOf(page, 'Feeds', 'main').waitFor();
    assert.is(await form(page).count(), 0);
    assert.is(await keptBy(tab), `[{"fantail-token":"${TOKEN}"},{}][]`);
    assert.not.ok((await page.content()).includes(TOKEN), 'it stands nowhere in the page');
    await page.reload();
    await isConnected(page);
    const { page: other } = await open();
    await form(other).waitFor();
    await page.getByRole('button', { name: 'Forget token' }).click();
    await form(page).waitFor();
    assert.is(await keptBy(tab), '[{},{}][]');
    assert.is(await table(page, 'Feeds').count(), 0, 'figures go with it');
  },
  TOKENS,
);

browserTest(
  test,
  'a token that may only read sees all figures, is told that it may change nothing, and is offered nothing that does',
  async ({ replicator, open }) => {
    await replicator.ask({ op: 'auth', token: TOKEN });
    const [one] = subscribersOf(1);
    assert.ok(one !== undefined);
    await replicator.subscribe([one]);
    const { page } = await open();
    await show(page, READ_TOKEN);
    await page.getByText('Read only').waitFor();
    await rowOf(page, 'Subscribers', `${one.ip}:${one.port}`).waitFor();
    assert.is(await page.getByRole('form').count(), 0);
    const buttons = await page.locator('main button:not(.sort)').allInnerTexts();
    assert.equal(buttons, ['Info'], 'nothing else is offered');
    await page.getByRole('button', { name: 'Info rewrite' }).click();
    await page.getByRole('dialog').getByText('Copies judged').waitFor();
    assert.is((await replicator.list()).length, 1);
  },
  TOKENS,
);

browserTest(
  test,
  'sessions that show no token keep out nobody who has one: the page shows it before the upgrade',
  async ({ replicator, open }) => {
    await replicator.ask({ op: 'auth', token: TOKEN });
    const { page, faults } = await open();
    await show(page, READ_TOKEN);
    await isConnected(page);
    const silent: WebSocket[] = [];
    try {
      for (let count = 0; count < UNAUTHORIZED_SESSIONS_MAX; count++) {
        const socket = new WebSocket(`ws://${replicator.control}`);
        silent.push(socket);
        await once(socket, 'open');
      }
      await page.reload();
      await page.getByText('Read only').waitFor();
      await isConnected(page);
    } finally {
      for (const socket of silent) socket.terminate();
    }
    assert.equal(faults, [], 'by the first try');
    await page.getByRole('button', { name: 'Use another token' }).click();
    await show(page, 'wrong');
    await form(page).getByText('UNAUTHORIZED wrong token').waitFor();
  },
  TOKENS,
);

/** As long as the name of a filter may be. */
const NASTY = '<img src=x onerror=alert(1)>';

browserTest(
  test,
  'what others write is text: in errors, in the log of changes, and in what is typed',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    for (const op of ['filter.unload', 'filter.info'] as const)
      await replicator.ask({ op, name: NASTY }).catch(() => {});
    await replicator.change({ op: 'remove', ip: '10.77.0.9', port: 1 });
    const log = table(page, 'Changes');
    await log.getByText(`filter.unload ${NASTY}`, { exact: true }).waitFor();
    const add = page.getByRole('form', { name: 'Add a subscriber' });
    await add.getByLabel('IP').fill(NASTY);
    await add.getByLabel('Port').fill('9001');
    await add.getByRole('button', { name: 'Add subscriber' }).click();
    const alert = page.getByRole('alert', { name: 'Refused change' });
    await alert.getByText('is not an IPv4 address').waitFor();
    assert.match((await alert.textContent()) ?? '', /<img/);
    await page.getByLabel('Show subscribers with').fill('<b>');
    assert.is(await page.locator('img, b:not(.facts b), script[src]').count(), 0);
  },
);

browserTest(
  test,
  'what a script makes in the page does not run, nor may it ask anybody, and the policy says so',
  async ({ open }) => {
    const { page, faults } = await open();
    await isConnected(page);
    // no locators from here on: a navigation that is refused is one that they would wait for
    await page.evaluate(`{
      const tries = [
        () => document.body.setAttribute('onclick', 'window.pwned = 1'),
        () => { const one = document.createElement('script'); one.append('window.pwned = 1'); document.body.append(one); },
        () => { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.pwned = 1">'); },
        () => { document.body.append(document.createRange().createContextualFragment('<script>window.pwned = 1</script>')); },
        () => { const one = document.createElement('style'); one.append('body { display: none }'); document.body.append(one); },
        () => { setTimeout('window.pwned = 1', 0); },
        () => { new WebSocket('ws://127.0.0.1:1/'); },
        () => { fetch('http://127.0.0.1:1/').catch(() => {}); },
        () => { const one = document.createElement('iframe'); one.src = 'http://127.0.0.1:1/'; document.body.append(one); },
        () => { const one = document.createElement('form'); one.action = 'http://127.0.0.1:1/'; document.body.append(one); one.submit(); },
        () => { const one = document.createElement('base'); one.href = 'http://127.0.0.1:1/'; document.head.append(one); },
      ];
      for (const each of tries) try { each(); } catch {}
      document.querySelector('h1').click();
    }`);
    const of = [
      'require-trusted-types',
      'connect-src',
      'style-src',
      'frame-src',
      'form-action',
      'base-uri',
    ];
    const untold = () =>
      of.filter((name) => !faults.some((fault) => fault.startsWith(`policy: ${name}`)));
    await eventually('each is told', () => untold().length === 0).catch((error: Error) => {
      error.message += `\nnot told: ${untold()}\n${faults.join('\n')}`;
      throw error;
    });
    assert.is(await page.evaluate('window.pwned'), undefined);
    assert.is(await page.evaluate('getComputedStyle(document.body).display'), 'block');
    faults.length = 0; // those were ours
  },
);

browserTest(test, 'a script that is in the page as it comes does not run', async ({ open }) => {
  const { page, faults } = await open();
  await page.route('**/', async (route) => {
    const response = await route.fetch();
    const injected = '<script>window.pwned = 1</script><b onclick="window.pwned = 2">b</b>';
    const body = (await response.text()).replace('<div id="root">', `${injected}$&`);
    const headers = { ...response.headers() };
    for (const of of ['content-encoding', 'content-length']) delete headers[of];
    await route.fulfill({ response, headers, body });
  });
  await page.reload();
  // its own script runs; a page of no address gets no socket from this browser
  await connection(page).waitFor();
  await page.evaluate("document.querySelector('b[onclick]').click()");
  assert.is(await page.evaluate('window.pwned'), undefined);
  for (const of of ['script-src-elem inline', 'script-src-attr inline'])
    await eventually(`${of} is told`, () => faults.includes(`policy: ${of}`));
  faults.length = 0; // those were ours
});

test.after(endBrowser);
test.run();
