/**
 * What is done on the dashboard is done to the replicator: as its control channel tells, and as the
 * wire shows.
 *
 * needs: a link
 * takes: 40 s
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MODULE_SIZE_MAX } from '../../src/domain/filter.js';
import { LATER } from '../rig/channel.js';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually, ROOT } from '../rig/program.js';
import type { Replicator } from '../rig/replicator.js';
import { subscribersOf, transfer } from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';
import {
  browserTest,
  cellsOf,
  confirm,
  endBrowser,
  isConnected,
  numberOf,
  rowOf,
  table,
} from './scene.js';

const test = suite('changes from the dashboard');
const COUNT = 200;
const FEED = { name: 'b', ip: REPLICATOR_IP, port: 9002 };

/** Of so many packets, how many the wire brought there. */
async function receivedBy(replicator: Replicator, to: Destination): Promise<number> {
  const { subscribers } = await transfer(replicator, {
    subscribers: [],
    watched: [to],
    rate: 2000,
    count: COUNT,
  });
  return subscribers[0]?.received ?? 0;
}

async function add(page: Page, ip: string, port: string, feeds = ''): Promise<void> {
  const form = page.getByRole('form', { name: 'Add a subscriber' });
  await form.getByLabel('IP').fill(ip);
  await form.getByLabel('Port').fill(port);
  await form.getByLabel('Feeds').fill(feeds);
  await form.getByRole('button', { name: 'Add subscriber' }).click();
}

/** Until the page says that it is done; a worker of a machine that is busy may follow later. */
async function told(
  { page, replicator }: { readonly page: Page; readonly replicator: Replicator },
  sentence: string,
): Promise<void> {
  const alert = page.getByRole('alert', { name: 'Refused change' });
  const status = page.getByRole('status', { name: 'Last change' });
  const later = alert.getByText(LATER);
  await status.getByText(sentence, { exact: true }).or(later).first().waitFor();
  if (!(await later.isVisible())) return;
  await alert.getByRole('button', { name: 'Put this message away' }).click();
  await replicator.followed();
}

const pressed = (page: Page, name: string) =>
  page.getByRole('button', { name, exact: true }).click();

browserTest(
  test,
  'a subscriber is added, paused, resumed and removed, and gets packets accordingly',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    const [to] = subscribersOf(1);
    assert.ok(to !== undefined);
    const name = `${to.ip}:${to.port}`;
    const stateOf = async () => (await replicator.list()).map(({ state }) => state);
    await add(page, to.ip, String(to.port));
    await told({ page, replicator }, `${name} is added.`);
    await eventually('it is live', async () => (await stateOf())[0] === 'live');
    assert.is(await receivedBy(replicator, to), COUNT);
    await pressed(page, `Pause ${name}`);
    await confirm(page, 'Cancel');
    assert.equal(await stateOf(), ['live'], 'nothing is done before it is confirmed');
    await pressed(page, `Pause ${name}`);
    await confirm(page, 'Pause');
    await told({ page, replicator }, `${name} is paused.`);
    assert.equal(await stateOf(), ['paused']);
    assert.is(await receivedBy(replicator, to), 0);
    await rowOf(page, 'Subscribers', name).getByText('paused').waitFor();
    await pressed(page, `Resume ${name}`);
    await told({ page, replicator }, `${name} is sent to again.`);
    await eventually('it is live', async () => (await stateOf())[0] === 'live');
    assert.is(await receivedBy(replicator, to), COUNT);
    await pressed(page, `Remove ${name}`);
    await confirm(page, 'Cancel');
    assert.is((await replicator.list()).length, 1);
    await pressed(page, `Remove ${name}`);
    await confirm(page, 'Remove');
    await told({ page, replicator }, `${name} is removed.`);
    assert.equal(await replicator.list(), []);
    assert.is(await receivedBy(replicator, to), 0);
    await page.getByText('Nobody is subscribed.').waitFor();
  },
);

browserTest(
  test,
  'feeds come and go, filters are loaded, used, told of and unloaded, and each change is in the log',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    const form = page.getByRole('form', { name: 'Add a feed' });
    await form.getByLabel('Name').fill(FEED.name);
    await form.getByLabel('Address').fill(`${FEED.ip}:${FEED.port}`);
    await form.getByRole('button', { name: 'Add feed' }).click();
    await told({ page, replicator }, 'Feed b is added.');
    await rowOf(page, 'Feeds', 'b').waitFor();
    const names = async () => (await replicator.stats()).feeds.map((feed) => feed.name);
    assert.equal(await names(), ['main', 'b']);
    const [to] = subscribersOf(1);
    assert.ok(to !== undefined);
    const name = `${to.ip}:${to.port}`;
    await add(page, to.ip, String(to.port), 'main,b');
    await told({ page, replicator }, `${name} is added.`);
    assert.equal((await replicator.list())[0]?.feeds, ['main', 'b']);
    const load = page.getByRole('form', { name: 'Load a filter' });
    await load.getByLabel('Name').fill('mine');
    await load.getByLabel('Module').setInputFiles(join(ROOT, 'build/filters/dscp-ttl.wasm'));
    await load.getByRole('button', { name: 'Load filter' }).click();
    await told({ page, replicator }, 'mine is loaded.');
    await pressed(page, `Filter ${name}`);
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Filter').selectOption('mine');
    await dialog.getByLabel('Parameter').fill('dscp=46 ttl=8');
    await confirm(page, 'Use it');
    await told({ page, replicator }, `mine answers for ${name}.`);
    assert.is((await replicator.list())[0]?.filter, 'mine');
    await eventually('the page has it', async () => {
      return (await cellsOf(page, 'Subscribers', name)).Filter === 'mine';
    });
    const tos = async () => {
      const transferred = { subscribers: [], watched: [to], rate: 2000, count: COUNT };
      return (await transfer(replicator, transferred)).subscribers[0]?.tos;
    };
    assert.equal(await tos(), { [46 << 2]: COUNT }, 'the wire shows its parameter');
    await pressed(page, 'Info mine');
    await dialog.getByText('Copies judged').waitFor();
    assert.match((await dialog.textContent()) ?? '', new RegExp(`Copies judged${COUNT}Sent`));
    await confirm(page, 'Close');
    await pressed(page, 'Use for all rewrite');
    await confirm(page, 'Use it');
    await told({ page, replicator }, 'rewrite answers for all subscribers.');
    await pressed(page, 'Unload mine');
    await confirm(page, 'Unload');
    await told({ page, replicator }, 'mine is unloaded.');
    await pressed(page, 'Remove feed b');
    await confirm(page, 'Remove');
    await told({ page, replicator }, 'Feed b is removed.');
    assert.equal(await names(), ['main']);
    const { changes } = (await replicator.ask({ op: 'changes' })) as {
      changes: { who: string; what: string; answer: string }[];
    };
    const shown = table(page, 'Changes').locator('.body [role=row]');
    // the rig asks, too, where a worker was slow to follow
    assert.is(changes.filter(({ who }) => who === changes[0]?.who).length, 7);
    await eventually('the log has all of them', async () => {
      return (await shown.count()) === changes.length;
    });
    const rows = await shown.allInnerTexts();
    for (const [index, { who, what, answer }] of [...changes].reverse().entries())
      for (const word of [who, what, answer])
        assert.ok(rows[index]?.includes(word), `${word} in ${rows}`);
  },
);

browserTest(
  test,
  'what was so already is told as such; a lease is not taken away unasked, nor one given on the page itself',
  async ({ replicator, open }) => {
    const { page } = await open();
    await isConnected(page);
    const [to] = subscribersOf(1);
    assert.ok(to !== undefined);
    const [name, port] = [`${to.ip}:${to.port}`, String(to.port)];
    const form = page.getByRole('form', { name: 'Add a subscriber' });
    const leftOf = async () => (await replicator.list())[0]?.expires_s;
    await form.getByLabel('Lease').fill('600');
    await add(page, to.ip, port);
    await told({ page, replicator }, `${name} is added.`);
    const lease = async () => (await cellsOf(page, 'Subscribers', name))['Lease s'];
    await eventually('the page has its lease', async () => numberOf(await lease()) > 0);
    await replicator.change({ op: 'feed.add', ...FEED });
    await add(page, to.ip, port, 'main, b');
    await page.getByRole('dialog', { name: `Keep ${name} for ever?` }).waitFor();
    await confirm(page, 'Cancel');
    assert.type(await leftOf(), 'number', 'it has its lease');
    assert.equal((await replicator.list())[0]?.feeds, ['main']);
    await form.getByLabel('Lease').fill('900');
    await form.getByRole('button', { name: 'Add subscriber' }).click();
    await told({ page, replicator }, `${name} was there already, and has what is asked for now.`);
    assert.equal(
      (await replicator.list())[0]?.feeds,
      ['main', 'b'],
      'spaces between them are none',
    );
    assert.ok(Number(await leftOf()) > 600);
    const alert = page.getByRole('alert', { name: 'Refused change' });
    for (const [word, sentence] of [
      ['session', 'a lease on the connection of this page would end with it'],
      ['1.2.3', 'lease must be session, or seconds'],
    ] as const) {
      await form.getByLabel('Lease').fill(word);
      await add(page, to.ip, port);
      await alert.getByText(sentence).waitFor();
      assert.ok(Number(await leftOf()) > 600, word);
    }
    await pressed(page, `Remove ${name}`);
    await replicator.change({ op: 'remove', ...to });
    await confirm(page, 'Remove');
    await told({ page, replicator }, `${name} was not there any more.`);
  },
);

browserTest(
  test,
  'a module that is too large is not even read, and one that is gone is told; the same refusal is said each time',
  async ({ open }) => {
    const { page } = await open();
    await isConnected(page);
    const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
    try {
      const file = join(folder, 'large.wasm');
      writeFileSync(file, Buffer.alloc(MODULE_SIZE_MAX + 1));
      const load = page.getByRole('form', { name: 'Load a filter' });
      await load.getByLabel('Name').fill('mine');
      await load.getByLabel('Module').setInputFiles(file);
      const alert = page.getByRole('alert', { name: 'Refused change' });
      const said = async () => {
        await load.getByRole('button', { name: 'Load filter' }).click();
        await alert.getByText(`TOO_LARGE large.wasm has ${MODULE_SIZE_MAX + 1} bytes`).waitFor();
      };
      await said();
      await page.evaluate(`{
        window.spoken = 0;
        const alert = document.querySelector('[role=alert][aria-label="Refused change"]');
        new MutationObserver(() => { spoken += 1; }).observe(alert, { childList: true, subtree: true });
      }`);
      await said();
      await eventually('it is said again', async () => Number(await page.evaluate('spoken')) > 0);
      writeFileSync(file, Buffer.alloc(100));
      await load.getByLabel('Module').setInputFiles(file);
      rmSync(file);
      await load.getByRole('button', { name: 'Load filter' }).click();
      await alert.getByText('UNREADABLE the browser cannot read large.wasm').waitFor();
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

browserTest(
  test,
  "what is refused is told by the server's own sentence and code, and what was typed stays",
  async ({ replicator, open }) => {
    const { page } = await open({ height: 400 });
    await isConnected(page);
    const wrong = [
      ['192.0.2.7', '9001'],
      ['10.77.0.300', '9001'],
      ['10.77.0.101', '0'],
      ['10.77.0.101', 'x'],
    ] as const;
    const alert = page.getByRole('alert', { name: 'Refused change' });
    for (const [ip, port] of wrong) {
      const asked = { op: 'add', ip, port: port === 'x' ? (port as never) : Number(port) } as const;
      const sentence = await replicator.ask(asked).catch((error: Error) => error.message);
      const [, words = '', code = ''] = /^(.*) \(([A-Z_]+)\)$/.exec(String(sentence)) ?? [];
      assert.ok(words !== '' && code !== '', String(sentence));
      await add(page, ip, port);
      await alert.getByText(words).waitFor();
      assert.is((await alert.textContent())?.trim(), `${code} ${words}`);
      assert.is(await page.getByLabel('IP').inputValue(), ip);
    }
    const { y = -1 } = (await alert.boundingBox()) ?? {};
    assert.ok(y >= 0 && y < 400, 'it is in sight, though the form is far below the top');
    assert.ok(Number(await page.evaluate('scrollY')) > 0);
    assert.equal(await replicator.list(), []);
  },
);

test.after(endBrowser);
test.run();
