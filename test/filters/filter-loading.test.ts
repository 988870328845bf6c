/**
 * Loading, listing and unloading filters over the control channel: what a user's own takes, what is
 * refused by name, and that slots are free again.
 *
 * needs: a link
 * takes: 30 s
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Question } from '../../src/control/operations.js';
import { limits } from '../../src/memory/layout.js';
import { MAIN, Program } from '../rig/program.js';
import {
  assertLossless,
  copyMode,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';

import { list, load, MARKED, stock, use } from './loading.js';
import { moduleOf, TRAPS } from './modules.js';

const test = suite('filter loading');
const RATE = 2000;

/**
 * A user's first filter: the project that `fantail filter new` makes, one line added, compiled. Its
 * bytes.
 */
async function ownFilter(folder: string): Promise<Buffer> {
  const run = async (...words: string[]) => {
    const program = new Program(process.execPath, [MAIN, 'filter', ...words], { folder });
    assert.is((await program.wait()).status, 0, program.told());
  };
  await run('new', 'mine');
  const source = join(folder, 'mine', 'mine.ts');
  const text = readFileSync(source, 'utf8')
    .replace('import { set_ttl }', 'import { set_dscp, set_ttl }')
    .replace(
      '    this.send_rewritten();',
      '    set_dscp(this.header, 46);\n    this.send_rewritten();',
    );
  writeFileSync(source, text);
  await run('build', 'mine');
  return readFileSync(join(folder, 'mine', 'build', 'mine.wasm'));
}

networkTest(
  test,
  "a user's own filter, new from the SDK, is loaded and used by wscat under traffic, and no packet is lost",
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'fantail-'));
    try {
      const module = await ownFilter(folder);
      await withReplicator(
        { link, flags: copyMode('inline'), inside: true },
        async (replicator) => {
          const [one, other] = subscribersOf(2) as [Destination, Destination];
          await replicator.subscribe([one, other]);
          const sunk = await transfer(replicator, {
            subscribers: [one, other],
            rate: RATE,
            count: RATE,
            meanwhile: async () => {
              const base64 = module.toString('base64');
              await replicator.wscat(
                `filter load mine base64:${base64}`,
                /^ok mine loaded, sha256 [0-9a-f]{64}$/m,
              );
              await replicator.wscat(
                `filter use mine ${one.ip} ${one.port} ttl=64`,
                /^ok mine answers for 1 subscriber$/m,
              );
            },
          });
          await assertLossless(replicator, sunk);
          const [marked, plain] = sunk.subscribers.map(({ tos }) => tos);
          assert.equal(Object.keys(marked ?? {}), ['0', MARKED], 'old headers, then new ones');
          assert.equal(Object.keys(plain ?? {}), ['0'], 'the other subscriber keeps its own');
          await replicator.wscat(
            'filter list',
            /^mine ready sha256 [0-9a-f]{12} .* subscribers 1$/m,
          );
          await replicator.wscat('filter info mine', /^faults trap 0 bad_answer 0 too_big 0$/m);
          await replicator.cli('filter', 'load', 'vlan'); // of the stock, by name
          assert.match(await replicator.cli('filter', 'list'), /^vlan +ready/m);
          await replicator.cli('filter', 'use', 'rewrite', one.ip, String(one.port));
          assert.match(
            await replicator.cli('filter', 'info', 'mine'),
            /^answers for +0 subscribers$/m,
          );
          await replicator.cli('filter', 'unload', 'mine');
        },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

networkTest(
  test,
  'filters are listed, told about and unloaded; what cannot be is refused by name',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      const [one] = subscribersOf(1) as [Destination];
      await replicator.subscribe([one]);
      const refused = async (question: Question, pattern: RegExp) => {
        try {
          await replicator.ask(question);
        } catch (error) {
          assert.match(String(error), pattern);
          return;
        }
        assert.unreachable(`${JSON.stringify(question).slice(0, 100)} was not refused`);
      };
      const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
      const bulk = moduleOf('(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))');
      await refused(
        { op: 'filter.load', name: 'bulk', module: text(bulk) },
        /memory\.fill.*FILTER_REJECTED/,
      );
      await refused(
        { op: 'filter.load', name: 'x', module: text(Buffer.from('what?')) },
        /FILTER_REJECTED/,
      );
      await refused(
        { op: 'filter.load', name: 'rewrite', module: text(TRAPS) },
        /built in.*BAD_REQUEST/,
      );
      await refused({ op: 'filter.load', name: 'A b', module: text(TRAPS) }, /name.*BAD_REQUEST/);
      await refused({ op: 'filter.load', name: 'x', module: '*' }, /module must be.*BAD_REQUEST/);
      await refused({ op: 'filter.use', name: 'nobody' }, /no filter nobody.*NOT_FOUND/);
      await refused(
        { op: 'filter.use', name: 'rewrite', ip: '10.77.0.9', port: 9 },
        /not subscribed.*NOT_FOUND/,
      );
      await refused(
        { op: 'filter.use', name: 'rewrite', ip: '10.77.0.9' },
        /together.*BAD_REQUEST/,
      );
      await refused(
        { op: 'filter.use', name: 'rewrite', param: 'x'.repeat(65) },
        /64 bytes.*BAD_REQUEST/,
      );
      await refused({ op: 'filter.info', name: 'nobody' }, /NOT_FOUND/);
      await refused({ op: 'filter.unload', name: 'rewrite' }, /built in.*BAD_REQUEST/);
      await load(replicator, 'marked', stock('dscp-ttl'));
      await use(replicator, 'marked', one);
      await refused({ op: 'filter.unload', name: 'marked' }, /1 subscriber.*BUSY/);
      await use(replicator, 'rewrite', one);
      await replicator.change({ op: 'filter.unload', name: 'marked' });
      assert.equal(
        (await list(replicator)).map(({ name }) => name),
        ['rewrite'],
      );
      // Sixteen slots, the built-in's among them, can be filled, and emptied, and are free again.
      const names = Array.from({ length: limits.FILTERS_MAX - 1 }, (_, index) => `f${index}`);
      for (const name of names) await load(replicator, name, TRAPS);
      await refused(
        { op: 'filter.load', name: 'more', module: text(TRAPS) },
        /16 filters.*TABLE_FULL/,
      );
      const answer = await replicator.cli('stats', '--json');
      assert.is(JSON.parse(answer).filters.loaded.length, limits.FILTERS_MAX);
      for (const name of names) await replicator.change({ op: 'filter.unload', name });
      await load(replicator, 'more', TRAPS);
      assert.is((await list(replicator)).length, 2);
    });
  },
);

test.run();
