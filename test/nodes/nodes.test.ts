/**
 * Goal: on each Node that users have, filters are checked, compiled and run as on the one that runs
 * the tests. Method: the stock's filters on sample packets, lawless modules, and a replicator on a
 * link whose filter is swapped and whose worker is killed. `npm run nodes` has more.
 *
 * needs: a link
 * takes: 90 s
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, MARKED, stock, use } from '../filters/loading.js';
import { moduleOf } from '../filters/modules.js';
import { MAIN } from '../rig/program.js';
import {
  assertReceived,
  copyMode,
  networkTest,
  replaceWorker,
  servedAgain,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import { MAJORS, nodeOf } from './nodes.js';

const test = suite('Node versions');

/** One that is lawful, one that breaks a rule, one that fails on samples. */
const MODULES: Record<string, Uint8Array> = {
  dedupe: stock('dedupe'),
  grows: moduleOf('(drop (memory.grow (i32.const 1)))'),
  silent: moduleOf('(nop)'),
};

/** What `fantail filter test` says of each, on a Node. */
function verdicts(node: string): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-node-'));
  try {
    return Object.fromEntries(
      Object.entries(MODULES).map(([name, bytes]) => {
        const file = join(folder, `${name}.wasm`);
        writeFileSync(file, bytes);
        const words = [MAIN, 'filter', 'test', file, '--json'];
        const { status, stdout, stderr } = spawnSync(node, words, { encoding: 'utf8' });
        return [name, `${status} ${stderr.replaceAll(folder, '')}${stdout}`];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

let here: Record<string, string> | null = null;

for (const major of MAJORS) {
  test(`Node ${major} runs and refuses filters as the Node of the tests does`, () => {
    here ??= verdicts(process.execPath);
    assert.equal(verdicts(nodeOf(major)), here);
  });

  test(`Node ${major} without its trap handler, which contains filters, is refused`, () => {
    const words = ['--disable-wasm-trap-handler', MAIN, 'up', 'lo', '127.0.0.1', '5990'];
    const { status, stderr } = spawnSync(nodeOf(major), words, { encoding: 'utf8' });
    assert.is(status, 1, stderr);
    assert.match(stderr, /without --disable-wasm-trap-handler/);
  });

  networkTest(
    test,
    `on Node ${major} it replicates, swaps a filter, and outlives its worker`,
    { queues: 1 },
    async (link) => {
      const options = { link, node: nodeOf(major), flags: copyMode('split') };
      await withReplicator(options, async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        await load(replicator, 'marked', stock('dscp-ttl'));
        const some = { subscribers, rate: 4000, count: 1000 };
        await assertReceived(replicator, await transfer(replicator, some));
        await use(replicator, 'marked', undefined, 'dscp=46');
        await replaceWorker(replicator);
        await servedAgain(replicator, subscribers);
        const sunk = await transfer(replicator, some);
        await assertReceived(replicator, sunk);
        for (const { tos } of sunk.subscribers) assert.equal(Object.keys(tos), [MARKED]);
        assert.not.match(replicator.told(), /was never tried with Node/);
      });
    },
  );
}

test.run();
