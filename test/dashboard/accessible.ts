/** Whether a page can be used by everybody, as far as axe can tell. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import * as assert from 'uvu/assert';
import { ROOT } from '../rig/program.js';

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
