/** Pictures of the dashboard for the docs: of a few subscribers on a virtual link. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { lackForFleet } from '../rig/fleet/fleet.js';
import { HOSTS, Link, NEIGHBOURS, NOBODY_IP } from '../rig/link.js';
import { eventually, lackForProgram, ROOT, run, sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode } from '../rig/scenario.js';
import { replicatedRoute, startFeed } from '../rig/wire.js';
import { startBrowser, Tab } from './browser.js';
import { GroupScene, showGroup } from './group-scene.js';

const FOLDER = join(ROOT, 'docs', 'dashboard');
/** Seconds of traffic that the plots show. */
const SECONDS = 45;
const SECOND_PORT = 9002;
const PICTURE_BYTES_MAX = 200_000;
/** Of the group's picture. */
const GROUP_RATE = 400;
const GROUP_SECONDS = 15;

export async function takePictures(folder = FOLDER): Promise<void> {
  const lack =
    lackForProgram('pngquant', () => existsSync('/usr/bin/pngquant'), 'pngquant') ?? lackForFleet();
  if (lack !== null) throw new Error(lack);
  await takeGroupPicture(folder);
  const link = new Link({ queues: 1 });
  const replicator = await Replicator.start({ link, flags: copyMode('inline') });
  const browser = await startBrowser();
  try {
    await populate(replicator);
    const route = replicatedRoute(link);
    const feeds = [
      startFeed(route, { rate: 4000, count: 4000 * 600 }),
      startFeed(route, { rate: 900, count: 900 * 600, port: SECOND_PORT, flow: 1 }),
    ];
    await eventually('packets flow', async () => (await replicator.stats()).feed.received > 0);
    await picture(browser, replicator, folder);
    for (const feed of feeds) await feed.stop();
  } finally {
    await browser.close();
    replicator.close();
    link.close();
  }
}

/** Some of every state, and one whose copies are dropped since nobody answers for it. */
async function populate(replicator: Replicator): Promise<void> {
  await replicator.ask({ op: 'feed.add', name: 'b', ip: '10.77.0.1', port: SECOND_PORT });
  const [host = ''] = HOSTS;
  const subscribers = [
    ...NEIGHBOURS.slice(0, 6).map(({ ip }) => ({ ip, port: 9101 })),
    { ip: host, port: 9101 },
    { ip: host, port: 9102 },
    { ip: NOBODY_IP, port: 9101 },
  ];
  for (const [index, { ip, port }] of subscribers.entries())
    await replicator.ask({
      op: 'add',
      ...{ ip, port, feeds: index % 3 === 0 ? ['main', 'b'] : ['main'] },
    });
  await replicator.ask({ op: 'pause', ip: host, port: 9102 });
  await replicator.ask({ op: 'remove', ip: host, port: 9999 });
  await replicator.ask({ op: 'add', ip: '192.0.2.7', port: 9101 }).catch(() => {}); // is refused
}

async function keep(page: Page, file: string): Promise<void> {
  await page.screenshot({ path: file });
  run('pngquant', ['--force', '--strip', '--ext', '.png', file]); // a palette is enough
  const { size } = statSync(file);
  console.log(`${file}: ${size} bytes`);
  if (size > PICTURE_BYTES_MAX) throw new Error(`${file} has more than ${PICTURE_BYTES_MAX} bytes`);
}

async function picture(browser: Browser, replicator: Replicator, folder: string): Promise<void> {
  const url = `http://${replicator.control}/`;
  const looks = [
    { name: 'light', width: 1440, height: 1000, colorScheme: 'light' },
    { name: 'dark', width: 1440, height: 1000, colorScheme: 'dark' },
    { name: 'narrow', width: 360, height: 800, colorScheme: 'light' },
    { name: 'lost', width: 1440, height: 1000, colorScheme: 'light' },
  ] as const;
  const tabs = await Promise.all(looks.map((look) => Tab.open(browser, url, look)));
  await sleep(SECONDS * 1000);
  for (const [index, { name }] of looks.entries()) {
    const page = tabs[index]?.page;
    if (page === undefined) continue;
    if (name === 'lost') {
      replicator.program.signal('SIGKILL');
      await page.getByRole('status', { name: 'Connection' }).getByText('No connection').waitFor();
      await sleep(3000);
    }
    await keep(page, join(folder, `${name}.png`));
  }
  for (const tab of tabs) {
    if (tab.faults.length > 0) console.log(tab.faults.join('\n'));
    await tab.close();
  }
}

/** Five members, one of them a relay and one of twice the weight, and some of every state. */
async function takeGroupPicture(folder: string): Promise<void> {
  const scene = await GroupScene.open({
    ...{ members: 5, subscribers: { addresses: 4, each: 12 } },
    more: ({ name }) => (name === 'm4' ? ['--weight', '2'] : []),
  });
  try {
    const { group } = scene;
    const [first, second, third] = group.fleet.subscribers;
    if (first === undefined || second === undefined || third === undefined)
      throw new Error('there are no subscribers');
    group.fleet.startFeed(GROUP_RATE);
    group.put([
      ['feeds/b', '{"ip":"239.78.0.2","port":5000}'],
      [`subscribers/${first.ip}:${first.port}`, '{"feeds":["main","b"]}'],
      [`subscribers/${second.ip}:${second.port}`, '{"paused":true}'],
      ['subscribers/10.0.0.9:9001', '{}'], // beyond --allow
    ]);
    await group.alive[0]?.channel.ask({ op: 'fleet.move', ...third, member: 'm2' });
    await sleep(GROUP_SECONDS * 1000);
    const { page } = await scene.show({ width: 1440, height: 1000 });
    await showGroup(page);
    await sleep(3000);
    await keep(page, join(folder, 'group.png'));
    await group.fleet.stopFeed();
  } finally {
    await scene.close();
  }
}
