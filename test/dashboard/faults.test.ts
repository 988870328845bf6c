/**
 * What is wrong with the page itself, or with the browser that it is in, is said; a page of another
 * build than the replicator is loaded again.
 *
 * needs: a link
 * takes: 10 s
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { startControl } from '../../src/control/server.js';
import { MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually, ROOT } from '../rig/program.js';
import { freePort } from '../rig/replicator.js';
import { lackForBrowser, startBrowser, Tab } from './browser.js';
import { browserTest, connection, endBrowser, isConnected, rowOf } from './scene.js';

const test = suite('faults of the dashboard');

browserTest(
  test,
  'a fault of its own code is said in a plain sentence, with a way to load it again',
  async ({ open }) => {
    const { page, faults } = await open();
    await isConnected(page);
    let isWrong = true;
    await page.routeWebSocket('**', (socket) => {
      const server = socket.connectToServer();
      server.onMessage((message) => {
        const frame = JSON.parse(String(message));
        if (isWrong && frame.event === 'stats') frame.workers = null; // as no replicator tells it
        socket.send(JSON.stringify(frame));
      });
    });
    await page.reload();
    const alert = page.getByRole('alert').getByText('The dashboard has a fault of its own');
    await alert.waitFor();
    assert.is(await connection(page).count(), 0, 'nothing is left that may be wrong');
    isWrong = false;
    await page.getByRole('button', { name: 'Reload' }).click();
    await isConnected(page);
    await rowOf(page, 'Feeds', 'main').waitFor();
    assert.ok(faults.length > 0, 'the browser tells it too');
    faults.length = 0;
  },
);

browserTest(
  test,
  'a browser that denies its storage shows all the same; what is chosen lasts as long as the page',
  async ({ open }) => {
    const { page } = await open();
    await page.addInitScript(`for (const name of ['localStorage', 'sessionStorage'])
      Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });`);
    await page.reload();
    await isConnected(page);
    await page.getByLabel('Colours').selectOption('dark');
    assert.is(await page.evaluate('document.documentElement.dataset.theme'), 'dark');
    await rowOf(page, 'Feeds', 'main').waitFor();
  },
);

test('a page whose replicator comes back as another build is loaded again, and says so', async () => {
  const lack = lackForBrowser();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
  const browser = await startBrowser();
  const pageFile = join(folder, 'page.html');
  const built = readFileSync(join(ROOT, 'build/dashboard/page.html'), 'utf8');
  writeFileSync(pageFile, built);
  const port = await freePort();
  const options = { address: '127.0.0.1', port, tokens: null, pageFile };
  const start = () => startControl({ ...options, replicator: new MemoryReplicator() });
  let control = await start();
  try {
    const { page } = await Tab.open(browser, `http://127.0.0.1:${port}/`);
    await isConnected(page);
    const mark = () => page.evaluate('window.isTheSame ?? false');
    await page.evaluate('window.isTheSame = true');
    await control.close();
    await connection(page).getByText('No connection').waitFor();
    control = await start();
    await isConnected(page);
    assert.is(await mark(), true, 'of the same build it goes on');
    await control.close();
    await connection(page).getByText('No connection').waitFor();
    writeFileSync(pageFile, built.replace('</body>', '<p>The next build</p></body>'));
    control = await start();
    await page.getByText('The next build').waitFor();
    await page
      .getByRole('status', { name: 'Last change' })
      .getByText('Another build of fantail answers now: the page was loaded again.')
      .waitFor();
    await isConnected(page);
    assert.is(await mark(), false);
    await page.reload();
    await isConnected(page);
    await eventually(
      'it is said once',
      async () => (await page.getByText('Another build').count()) === 0,
    );
  } finally {
    await browser.close();
    await control.close();
    rmSync(folder, { recursive: true });
  }
});

test.after(endBrowser);
test.run();
