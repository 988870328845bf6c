/**
 * A real browser without a screen: Debian's Chromium, driven by playwright-core. A machine that has
 * none gets it by apt, as root; where that cannot be, the reason is a skip.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { atEnd, lackForProgram } from '../rig/program.js';

const FILES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** How long a page is waited for: for hangs only. */
const WAIT_MS = 60_000;

const found = () => FILES.find((file) => existsSync(file));

/** Why there can be none here; null: there is one from now on. Text of no font has no width. */
export const lackForBrowser = (): string | null =>
  lackForProgram('Chromium', () => found() !== undefined, 'chromium', 'fonts-dejavu-core');

/** `namespace`: where it runs, and reaches what can be reached from there; absent: here. */
export async function startBrowser(
  flags: readonly string[] = [],
  namespace?: string,
): Promise<Browser> {
  const program = found();
  if (program === undefined) throw new Error('there is no browser: see lackForBrowser()');
  const executablePath = namespace === undefined ? program : inNamespace(program, namespace);
  // root may not have its sandbox, and a container's /dev/shm is small
  const args = ['--disable-dev-shm-usage', '--disable-gpu', ...flags];
  return chromium.launch({ executablePath, chromiumSandbox: false, args });
}

/** A program that becomes the other one there: playwright starts a file, and no words before it. */
function inNamespace(program: string, namespace: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-browser-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'browser');
  const script = `#!/bin/sh\nexec ip netns exec ${namespace} ${program} "$@"\n`;
  writeFileSync(file, script, { mode: 0o700 });
  return file;
}

export interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly colorScheme?: 'light' | 'dark';
  /** The certificate of a test is nobody's. */
  readonly ignoreHTTPSErrors?: boolean;
}

/** A tab of its own, with its own storage. What goes wrong in it is kept: see `Tab.faults`. */
export class Tab {
  /** Errors of scripts, and what the policy has refused. */
  readonly faults: string[] = [];
  /** All that it has asked for. */
  readonly requests: string[] = [];
  readonly sockets: string[] = [];

  private constructor(readonly page: Page) {}

  static async open(browser: Browser, url: string, look: Look = {}): Promise<Tab> {
    const { width = 1280, height = 900, colorScheme = 'light', ignoreHTTPSErrors = false } = look;
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme,
      ignoreHTTPSErrors,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const tab = new Tab(page);
    page.on('pageerror', (error) => tab.faults.push(`${error}`));
    page.on('console', (message) => {
      if (message.type() === 'error') tab.faults.push(message.text());
    });
    page.on('request', (request) => tab.requests.push(request.url()));
    page.on('websocket', (socket) => tab.sockets.push(socket.url()));
    await page.exposeFunction('tellViolation', (what: string) => tab.faults.push(what));
    await page.addInitScript(
      `addEventListener('securitypolicyviolation', (event) =>
        tellViolation('policy: ' + event.violatedDirective + ' ' + event.blockedURI));`,
    );
    await page.goto(url);
    return tab;
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}
