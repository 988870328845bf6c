/**
 * takes: 150 s
 *
 * Goal: a member's dashboard shows its group as the commands do, changes it by the same operations,
 * and says before one tries when nothing can be changed. Method: a real etcd, three members and the
 * browser, each in a namespace of its own; what was done is seen in etcd, by the commands and by
 * what arrives.
 *
 * needs: a link
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Endpoint } from '../../src/domain/endpoint.js';
import type { FleetStatus, FleetSubscriberRow } from '../../src/domain/fleet.js';
import { lackForFleet } from '../rig/fleet/fleet.js';
import type { Group } from '../rig/fleet/group.js';
import type { Member } from '../rig/fleet/member.js';
import { eventually, MAIN } from '../rig/program.js';
import { type Look, lackForBrowser, type Tab } from './browser.js';
import { GroupScene, showGroup } from './group-scene.js';
import {
  assertAccessible,
  assertQuiet,
  browserTest,
  cellsOf,
  confirm,
  connection,
  endBrowser,
  isConnected,
  numberOf,
  rowOf,
  table,
} from './scene.js';

const test = suite('group on the dashboard');
const RATE = 100;
const COUNT = 12;
/** As a desk of many has them; the members' tables have room for 4096 each. */
const CROWD = 10_000;
const CROWD_PORT = 20_000;
/** In the document: what is in sight, and some above and below. */
const ROWS_MAX = 80;

const READ_TOKEN = 'that-may-only-read-of-the-tests';

const folder = mkdtempSync(join(tmpdir(), 'fantail-dashboard-'));
const readTokenFile = join(folder, 'read-token');
let scene: GroupScene | null = null;

interface Shown {
  readonly group: Group;
  readonly one: Member;
  readonly two: Member;
  /** The page of the first member, with a token shown: the one that may change things, or that. */
  open(look?: Look, token?: string): Promise<Tab>;
}

test.before(async () => {
  const lack = lackForFleet() ?? lackForBrowser();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const subscribers = { addresses: 2, each: COUNT / 2 };
  writeFileSync(readTokenFile, READ_TOKEN, { mode: 0o600 });
  const more = () => ['--read-token-file', readTokenFile];
  scene = await GroupScene.open({ members: 3, subscribers, more });
});
test.after(async () => {
  await scene?.close();
  rmSync(folder, { recursive: true });
  await endBrowser();
});

/** All of them share a group, and each leaves it as it was, but for the last. */
function groupTest(name: string, work: (shown: Shown) => Promise<void>): void {
  test(name, async () => {
    if (scene === null) return console.log('skip: there is no group');
    const { group, url } = scene;
    const [one, two] = group.fleet.members;
    assert.ok(one !== undefined && two !== undefined);
    const show = scene.show.bind(scene);
    const tabs: Tab[] = [];
    const began_ms = performance.now();
    const open = async (look?: Look, token?: string) => {
      const tab = await show(look, token);
      tabs.push(tab);
      return tab;
    };
    try {
      await work({ group, one, two, open });
      for (const tab of tabs) assertQuiet(tab, url);
    } catch (error) {
      if (error instanceof Error) error.message += `\n--- the members said:\n${group.fleet.told()}`;
      throw error;
    } finally {
      for (const tab of tabs) await tab.close();
      if (group.fleet.etcd.running.length === 0) await group.fleet.etcd.start();
      console.log(`     ${((performance.now() - began_ms) / 1000).toFixed(1)} s: ${name}`);
    }
  });
}

/** `fantail fleet … --json`, from a host that is neither a member nor a node. */
async function command<Answer>({ fleet, url }: Group, ...words: string[]): Promise<Answer> {
  const where = ['--fleet', url, '--fleet-plaintext', '--json'];
  const program = fleet.run(process.execPath, [MAIN, 'fleet', ...words, ...where]);
  const { status } = await program.wait();
  assert.is(status, 0, program.told());
  return JSON.parse(program.stdout) as Answer;
}

const listed = async (of: Group): Promise<readonly FleetSubscriberRow[]> =>
  (await command<{ subscribers: FleetSubscriberRow[] }>(of, 'list')).subscribers;

/** By address, then port. */
const orderOf = ({ ip, port }: Endpoint): number =>
  ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0) * 65536 + port;

const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });

const press = (page: Page, name: string): Promise<void> => button(page, name).click();

const standing = (page: Page) => page.getByRole('status', { name: 'Standing in the group' });

/** Of the first member's own page the name says so. */
const titleOf = (member: string) => (member === 'm1' ? 'm1 this one' : member);

groupTest(
  'it shows of members and subscribers what the commands say, and of its own panels none offers what is the group’s',
  async ({ group, open }) => {
    const { page } = await open();
    await rowOf(page, 'Feeds', 'main').waitFor();
    assert.is(await page.getByRole('form').count(), 0, 'no form of its own');
    const buttons = await page.locator('main button:not(.sort)').allInnerTexts();
    assert.equal([...new Set(buttons)], ['Info'], 'and nothing that would be refused');
    await showGroup(page);
    const status = await command<FleetStatus>(group, 'status');
    assert.is(status.members.length, 3);
    for (const row of status.members) {
      const cells = await cellsOf(page, 'Members', titleOf(row.member));
      assert.is(cells.State, 'serving');
      for (const [title, value] of [
        ['Shards', row.shards],
        ['Subscribers', row.subscribers],
        ['Not served', row.unserved],
        ['Weight', row.weight],
        ['Handover copies', row.handover],
      ] as const)
        assert.is(numberOf(cells[title]), value, `${title} of ${row.member}`);
      assert.is(cells['Feed from'], row.upstream ?? 'network');
      assert.is(`http://${cells.Control}`, row.control);
      assert.is(cells['Listens ip:port'], `${row.listen.ip}:${row.listen.port}`);
      assert.is(cells.Version, row.version);
      assert.match(cells.Since ?? '', /^\d\d:\d\d:\d\d$/);
    }
    await eventually('the way to its upstream is shown', async () => {
      return Number((await cellsOf(page, 'Members', 'm3'))['Way there µs']) > 0;
    });
    for (const { ip, port, member, shard } of await listed(group)) {
      const cells = await cellsOf(page, 'Subscribers', `${ip}:${port}`);
      assert.equal([cells.Member, Number(cells.Shard), cells.State], [member, shard, 'served']);
    }
    assert.is(await table(page, 'Subscribers').getAttribute('aria-rowcount'), String(COUNT + 1));
    await page.reload();
    await table(page, 'Members').waitFor(); // a reload keeps it
    const { page: reader } = await open({}, READ_TOKEN);
    await reader.getByText('Read only').waitFor();
    await showGroup(reader);
    await rowOf(reader, 'Members', 'm2').waitFor();
    assert.is(await reader.getByRole('form').count(), 0);
    assert.is(await reader.locator('main button:not(.sort)').count(), 0, 'it may change nothing');
  },
);

groupTest(
  'what is added, paused, moved and removed on it is so for the commands, and in what arrives',
  async ({ group, open }) => {
    const { page } = await open();
    await showGroup(page);
    const { fleet } = group;
    fleet.startFeed(RATE);
    const [first] = fleet.subscribers;
    assert.ok(first !== undefined);
    const name = `${first.ip}:${first.port}`;
    const isServed = async () =>
      (await fleet.served.reset()).runs.some((run) => run.subscriber === 0);
    const find = async () => (await listed(group)).find(({ ip, port }) => `${ip}:${port}` === name);
    await eventually('it is served', isServed);

    await press(page, `Pause ${name}`);
    await confirm(page, 'Pause');
    await page.getByText(`${name} is paused.`).waitFor();
    await rowOf(page, 'Subscribers', name).getByText('paused').waitFor();
    assert.is((await find())?.paused, true);
    await eventually('nothing arrives', async () => !(await isServed()) && !(await isServed()));
    await press(page, `Resume ${name}`);
    await eventually('it arrives again', isServed);

    const before = (await find())?.member;
    const to = before === 'm2' ? 'm3' : 'm2';
    await press(page, `Move ${name}`);
    await page.getByRole('dialog').getByLabel('To').selectOption(to);
    await confirm(page, 'Move it');
    await rowOf(page, 'Subscribers', name).getByText(`${to} moved`).waitFor();
    assert.is((await find())?.member, to);
    await press(page, `Move ${name}`);
    await page
      .getByRole('dialog')
      .getByLabel('To')
      .selectOption({ label: 'whose it is by weight' });
    await confirm(page, 'Move it');
    await eventually('it goes back', async () => (await find())?.member === before);

    await press(page, `Remove ${name}`);
    await confirm(page, 'Remove');
    await rowOf(page, 'Subscribers', name).waitFor({ state: 'detached' });
    assert.is(await find(), undefined);
    await eventually('nothing arrives', async () => !(await isServed()) && !(await isServed()));

    const form = page.getByRole('form', { name: 'Add a subscriber' });
    await form.getByLabel('IP').fill(first.ip);
    await form.getByLabel('Port').fill(String(first.port));
    await form.getByRole('button', { name: 'Add subscriber' }).click();
    await rowOf(page, 'Subscribers', name).waitFor();
    assert.equal((await find())?.feeds, ['main']);
    await eventually('it arrives again', isServed);
    await form.getByLabel('IP').fill('10.78.0.300');
    await form.getByLabel('Port').fill('1');
    await form.getByRole('button', { name: 'Add subscriber' }).click();
    await page.getByRole('alert', { name: 'Refused change' }).getByText('BAD_ADDRESS').waitFor();

    const feeds = page.getByRole('form', { name: 'Add a feed' });
    await feeds.getByLabel('Name').fill('b');
    await feeds.getByLabel('Address').fill('239.78.0.2:5000');
    await feeds.getByRole('button', { name: 'Add feed' }).click();
    await rowOf(page, 'Feeds', 'b').waitFor();
    const { feeds: now } = await command<FleetStatus>(group, 'status');
    assert.equal(now, [{ name: 'b', ip: '239.78.0.2', port: 5000, source: null }]);
    await press(page, 'Remove feed b');
    await confirm(page, 'Remove');
    await page.getByText('The group has no feed but main.').waitFor();
    await fleet.stopFeed();
  },
);

groupTest(
  'axe finds nothing, light and dark, in its dialogs, and on a narrow screen, which needs no scrolling sideways',
  async ({ group, open }) => {
    const { page } = await open({ height: 2400 });
    await showGroup(page);
    const [first] = group.fleet.subscribers;
    for (const theme of ['light', 'dark'] as const) {
      await page.getByLabel('Colours').selectOption(theme);
      await assertAccessible(page, theme);
    }
    for (const verb of ['Move', 'Filter']) {
      await press(page, `${verb} ${first?.ip}:${first?.port}`);
      await assertAccessible(page, verb);
      await page.keyboard.press('Escape');
    }
    for (const width of [360, 1600]) {
      await page.setViewportSize({ width, height: 2400 });
      const beyond = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
      await eventually('it fits', async () => (await page.evaluate(beyond)) === 0);
    }
    await page.setViewportSize({ width: 360, height: 2400 });
    await assertAccessible(page, 'narrow');
    await page.getByRole('link', { name: 'Member m1' }).click();
    await table(page, 'Workers').waitFor();
    await assertAccessible(page, 'the member itself');
  },
);

groupTest(
  'while etcd is away that is said with since when, nothing is offered, and what was tried before that was known is refused with the reason',
  async ({ group, open }) => {
    const { page } = await open();
    await showGroup(page);
    const [first] = group.fleet.subscribers;
    const name = `${first?.ip}:${first?.port}`;
    assert.is((await standing(page).textContent())?.trim(), '');
    await group.fleet.etcd.end();
    const alert = page.getByRole('alert', { name: 'Refused change' });
    const form = page.getByRole('form', { name: 'Add a subscriber' });
    await form.getByLabel('IP').fill('10.78.0.101');
    await form.getByLabel('Port').fill('9');
    // as if it were pressed before that is known, however late this machine comes to it
    await page.evaluate(
      `document.querySelector('[aria-label="Add a subscriber"]').requestSubmit()`,
    );
    await alert.getByText('BUSY').waitFor();
    await alert.getByText('nothing of the group can be read or changed until it does').waitFor();
    await standing(page)
      .getByText(/etcd is not reached since \d\d:\d\d:\d\d/)
      .waitFor();
    await standing(page).getByText('no member reaches etcd').waitFor();
    for (const each of [
      `Remove ${name}`,
      `Pause ${name}`,
      'Drain m2',
      'Add subscriber',
      'Add feed',
    ])
      assert.ok(await button(page, each).isDisabled(), each);
    await rowOf(page, 'Members', 'm1 this one').getByText('etcd is gone').waitFor();
    await rowOf(page, 'Subscribers', name).waitFor(); // what was known last
    await assertAccessible(page, 'while etcd is away');

    await page.getByRole('link', { name: 'Member m1' }).click();
    await standing(page).getByText('etcd is not reached').waitFor();
    await rowOf(page, 'Workers', '0').waitFor();
    assert.is(await page.locator('main.stale').count(), 0, 'what it tells of itself is of now');
    const late = await open();
    await late.page.getByRole('link', { name: 'Group test' }).click();
    await late.page.getByText('Nothing of the group was read yet').waitFor();

    await page.getByRole('link', { name: 'Group test' }).click();
    await group.fleet.etcd.start();
    await eventually('it is reached', async () => (await standing(page).textContent()) === '');
    await rowOf(page, 'Members', 'm1 this one').getByText('serving').waitFor();
    await table(late.page, 'Members').waitFor();
    await eventually('changes are offered again', () => button(page, `Remove ${name}`).isEnabled());
  },
);

groupTest(
  'a page whose supervisor was killed goes on with the group when it is back',
  async ({ one, open }) => {
    const tab = await open();
    await showGroup(tab.page);
    await one.killSupervisor();
    await connection(tab.page).getByText('No connection').waitFor();
    await one.start();
    await isConnected(tab.page);
    await eventually('the group is read again', async () => {
      const cells = await cellsOf(tab.page, 'Members', 'm1 this one');
      return cells.State === 'serving' && !(await tab.page.locator('main.stale').count());
    });
    tab.faults.length = 0; // the browser tells each try that nobody answers
  },
);

const NAME_OF_ROW = `((row) => row.querySelector('[role=rowheader]').textContent)`;
const SUBSCRIBERS = `document.querySelector('[role=grid][aria-label=Subscribers]')`;

/** Frames in which nothing new comes: for hangs only. */
const STILL_FRAMES_MAX = 3600;

/**
 * From the first row to the last by scrolling alone, a view at a time: number and name of each that
 * was wholly in sight, in that order.
 */
const scrolledThrough = (page: Page): Promise<[index: number, name: string][]> =>
  page.evaluate(`(async () => {
    const grid = ${SUBSCRIBERS};
    const indexOf = (row) => Number(row.getAttribute('aria-rowindex'));
    const inSight = () => {
      const top = grid.querySelector('.head').getBoundingClientRect().bottom;
      const bottom = grid.getBoundingClientRect().top + grid.clientTop + grid.clientHeight;
      return [...grid.querySelectorAll('.body [role=row]')]
        .map((row) => ({ row, box: row.getBoundingClientRect() }))
        .filter(({ box }) => box.top > top - 1 && box.bottom < bottom + 1)
        .map(({ row, box }) => ({ row, next: box.bottom - top }))
        .sort((a, b) => indexOf(a.row) - indexOf(b.row));
    };
    const seen = new Map();
    let [last, still] = [1, 0];
    grid.scrollTop = 0;
    while (last < Number(grid.getAttribute('aria-rowcount'))) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const rows = inSight();
      const end = rows.at(-1);
      still = end === undefined || indexOf(end.row) === last ? still + 1 : 0;
      if (still > ${STILL_FRAMES_MAX}) throw new Error('nothing comes after row ' + last);
      if (still > 0) continue;
      for (const { row } of rows) seen.set(indexOf(row), ${NAME_OF_ROW}(row));
      last = indexOf(end.row);
      grid.scrollTop += end.next;
    }
    return [...seen];
  })()`);

/** From now on, of the rows in the document: what is done to them, and which of them stay. */
async function watchRows(page: Page): Promise<void> {
  await page.evaluate(`{
    const body = ${SUBSCRIBERS}.querySelector('.body');
    const rows = [...body.querySelectorAll('[role=row]')];
    window.watched = { rows, names: rows.map(${NAME_OF_ROW}), touched: new Set() };
    const options = { childList: true, characterData: true, attributes: true, subtree: true };
    new MutationObserver((records) => {
      for (const { target, type, attributeName } of records) {
        if (attributeName === 'disabled') continue; // etcd was silent for some seconds
        const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
        const row = element === null ? null : element.closest('.body [role=row]');
        // the height of all that may be scrolled through is none of theirs
        if (element === body && type === 'attributes') continue;
        watched.touched.add(row === null ? 'rows come or go' : ${NAME_OF_ROW}(row));
      }
    }).observe(body, options);
  }`);
}

/** Of those that are watched. */
const watched = (page: Page): Promise<{ touched: string[]; names: string[]; now: string[] }> =>
  page.evaluate(`(() => {
    const rows = [...${SUBSCRIBERS}.querySelectorAll('.body [role=row]')];
    // those that are not the same nodes have no name
    const now = rows.map((row, at) => (row === watched.rows[at] ? ${NAME_OF_ROW}(row) : ''));
    return { touched: [...watched.touched], names: watched.names, now };
  })()`);

groupTest(
  '10,000 subscribers: rows in sight alone are in the page, each is reached, and an update touches none that is as it was',
  async ({ group, open }) => {
    const [ip = ''] = group.fleet.subscriberHost.ips;
    const ports = Array.from({ length: CROWD }, (_, index) => CROWD_PORT + index);
    group.put(ports.map((port) => [`subscribers/${ip}:${port}`, '{}']));
    const { page } = await open();
    await showGroup(page);
    const grid = table(page, 'Subscribers');
    const areListed = (count: number) =>
      eventually('all are there', async () => {
        return (await grid.getAttribute('aria-rowcount')) === String(count + 1);
      });
    await areListed(COUNT + CROWD);
    const isShort = async () =>
      assert.ok((await page.locator('[role=row]').count()) <= ROWS_MAX, 'those in sight');
    await isShort();

    const names = [...group.fleet.subscribers, ...ports.map((port) => ({ ip, port }))]
      .sort((a, b) => orderOf(a) - orderOf(b))
      .map((to) => `${to.ip}:${to.port}`);
    const expected = names.map((name, index) => [index + 2, name]);
    await page.setViewportSize({ width: 1280, height: 2000 });
    assert.equal(await scrolledThrough(page), expected, 'each in its turn');
    await isShort();
    await page.setViewportSize({ width: 1280, height: 900 });
    const first = names[0] ?? '';
    const last = names.at(-1) ?? '';
    await grid.locator('.body [role=row]').first().focus();
    await page.keyboard.press('End');
    await rowOf(page, 'Subscribers', last).waitFor();
    await page.keyboard.press('Home');
    await rowOf(page, 'Subscribers', first).waitFor();
    await page.getByLabel('Show subscribers with').fill(`${ip}:${CROWD_PORT + CROWD / 2}`);
    await areListed(1);
    await rowOf(page, 'Subscribers', `${ip}:${CROWD_PORT + CROWD / 2}`).waitFor();
    await page.getByLabel('Show subscribers with').fill('');
    await areListed(COUNT + CROWD);
    await grid.locator('.body [role=row]').first().focus();
    await page.keyboard.press('Home');
    await rowOf(page, 'Subscribers', first).waitFor();

    // what is changed on the page is read at once: on a busy machine a reading may be a minute away
    const form = page.getByRole('form', { name: 'Add a subscriber' });
    const revisionShown = async () =>
      Number(/revision (\d+)/.exec((await page.locator('.summary').textContent()) ?? '')?.[1]);
    const addOnPage = async (name: string) => {
      const [address = '', port = ''] = name.split(':');
      await form.getByLabel('IP').fill(address);
      await form.getByLabel('Port').fill(port);
      const { revision } = await group.status();
      await form.getByRole('button', { name: 'Add subscriber' }).click();
      await eventually('it is read again', async () => (await revisionShown()) > revision);
    };
    await addOnPage(first); // what the keys have done is over
    await watchRows(page);
    await addOnPage(first);
    const calm = await watched(page);
    assert.ok(calm.names.length > 10 && calm.names.includes(first));
    assert.equal([calm.touched, calm.now], [[], calm.names], 'another list that says the same');
    await addOnPage(`${ip}:${CROWD_PORT + CROWD}`);
    await areListed(COUNT + CROWD + 1);
    const longer = await watched(page);
    assert.equal([longer.touched, longer.now], [[], calm.names], 'one that comes out of sight');
    const [, , third = ''] = calm.names;
    group.put([[`subscribers/${third}`, '{"paused":true}']]);
    await addOnPage(first);
    await rowOf(page, 'Subscribers', third).getByText('paused').waitFor();
    const paused = await watched(page);
    assert.equal([paused.touched, paused.now], [[third], calm.names], 'one that is paused');
    group.put([[`subscribers/${third}`, '{}']]);

    // all of that address but those of the fleet itself, whose ports begin with a 1
    for (const digit of [2, 3])
      group.fleet.etcd.ctl('del', '--prefix', group.keyOf(`subscribers/${ip}:${digit}`));
    await addOnPage(first);
    await areListed(COUNT);
  },
);

groupTest(
  'a member is drained with a word of what will happen, ends, and everybody is served on',
  async ({ group, two, open }) => {
    const { page } = await open();
    await showGroup(page);
    await press(page, 'Drain m1');
    await page.getByRole('dialog').getByText('m3 would have no feed').waitFor();
    await page.keyboard.press('Escape');
    const { fleet } = group;
    fleet.startFeed(RATE);
    const phase = await fleet.phase(async () => {
      await press(page, 'Drain m2');
      const dialog = page.getByRole('dialog');
      await dialog.getByText(/Its \d+ subscribers? go to 2 other members/).waitFor();
      await confirm(page, 'Drain');
      await page.getByText('m2 drains').first().waitFor();
      assert.equal(await two.ended(), { status: 0, signal: null });
    });
    await rowOf(page, 'Members', 'm2').waitFor({ state: 'detached' });
    const { members } = await command<FleetStatus>(group, 'status');
    assert.equal(
      members.map(({ member }) => member),
      ['m1', 'm3'],
    );
    const by = new Set(phase.after);
    assert.ok(!by.has(two.ip) && !by.has(null), `served by ${[...by]}`);
    await fleet.stopFeed();
  },
);

browserTest(
  test,
  'a launcher that is of no group shows none, nor asks for one, whatever its address says',
  async ({ open }) => {
    const { page } = await open();
    const asked: string[] = [];
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => asked.push(String(payload)));
    });
    await page.evaluate("location.hash = '#group'");
    await page.reload();
    await isConnected(page);
    await rowOf(page, 'Feeds', 'main').waitFor();
    await page.getByRole('form', { name: 'Add a subscriber' }).waitFor();
    assert.is(await page.getByRole('navigation').count(), 0);
    assert.is(await standing(page).count(), 0);
    assert.ok(asked.length > 0);
    assert.equal(
      asked.filter((each) => each.includes('fleet.')),
      [],
    );
  },
);

test.run();
