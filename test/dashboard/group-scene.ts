/**
 * A group under a browser: an etcd, members of which one takes its feed from the first, and tabs
 * that look at the first one's dashboard from a host that is neither.
 */
import type { Browser, Page } from 'playwright-core';
import { FEED_GROUP } from '../rig/fleet/fleet.js';
import { Group, type GroupOptions, TOKEN } from '../rig/fleet/group.js';
import { type Look, startBrowser, Tab } from './browser.js';
import { isConnected, table } from './scene.js';

/** The relay's, and of whom it takes the feed. */
export const RELAY = 'm3';
export const UPSTREAM = 'm1';

export class GroupScene {
  private constructor(
    readonly group: Group,
    readonly browser: Browser,
    /** Of the first member's dashboard. */
    readonly url: string,
  ) {}

  static async open(
    options: Pick<GroupOptions, 'members' | 'subscribers' | 'more'>,
  ): Promise<GroupScene> {
    const { more = () => [], ...rest } = options;
    const group = await Group.open({
      ...{ etcd: 1, ...rest },
      listen: ({ name, ip }) => (name === RELAY ? { ip, port: FEED_GROUP.port } : FEED_GROUP),
      more: (host) => [...(host.name === RELAY ? ['--upstream', UPSTREAM] : []), ...more(host)],
    });
    const url = `http://${group.fleet.members[0]?.ip}:12345/`;
    // as a page by TLS or of the loopback: else it tells which of its headers it passes over
    const flags = [`--unsafely-treat-insecure-origin-as-secure=${new URL(url).origin}`];
    const browser = await startBrowser(flags, group.fleet.subscriberHost.namespace);
    return new GroupScene(group, browser, url);
  }

  /** Another tab, in which the token was shown. */
  async show(look?: Look, token = TOKEN): Promise<Tab> {
    const tab = await Tab.open(this.browser, this.url, look);
    const form = tab.page.getByRole('form', { name: 'Token' });
    await form.getByLabel('Token').fill(token);
    await form.getByRole('button', { name: 'Show token' }).click();
    await isConnected(tab.page);
    return tab;
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.group.close();
  }
}

/** From the member's own page. */
export async function showGroup(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Group test' }).click();
  await table(page, 'Members').waitFor();
}
