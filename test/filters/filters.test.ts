/**
 * Filters that come, go and misbehave while packets flow, on a real link: who gets what, and who
 * must not notice.
 *
 * Good filters are the stock's; each bad one is a few lines of text that does one thing wrong.
 * Copies tell by their TOS byte which filter made them.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Question } from '../../src/control/operations.js';
import type { FilterInfo, FilterRow } from '../../src/domain/statistics.js';
import { limits } from '../../src/memory/layout.js';
import { eventually, Program, ROOT, sleep } from '../rig/program.js';
import { MAIN, type Replicator } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  LAYOUTS,
  networkTest,
  servedAgain,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';

const test = suite('filters');
const RATE = 10_000;
/** DSCP 46 is the upper six bits of the TOS byte (RFC 2474). */
const MARKED = String(46 << 2);

const stock = (name: string) => readFileSync(join(ROOT, 'build', 'filters', `${name}.wasm`));

/** A module whose fantail_burst does `body` for each job, whose address is in $job. */
function moduleOf(body: string): Uint8Array {
  const module = binaryen.parseText(`(module
    (import "env" "memory" (memory 1))
    (func (export "fantail_abi") (result i32) (i32.const ${limits.FILTER_ABI}))
    (func (export "fantail_burst") (param $jobs i32) (param $first i32) (param $count i32)
      (local $job i32) (local $end i32)
      (local.set $job (i32.add (local.get $jobs) (i32.mul (local.get $first) (i32.const ${limits.JOB_SIZE}))))
      (local.set $end (i32.add (local.get $job) (i32.mul (local.get $count) (i32.const ${limits.JOB_SIZE}))))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $job) (local.get $end)))
        ${body}
        (local.set $job (i32.add (local.get $job) (i32.const ${limits.JOB_SIZE})))
        (br $next)))))`);
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}

const DROP = '(i32.store offset=16 (local.get $job) (i32.const 0))';
/**
 * Lawful on the samples that a module is tried on, which come from 192.0.2.253; wrong on anything
 * else.
 */
const onFeed = (wrong: string) =>
  `(if (i32.ne (i32.load offset=26 (i32.load (local.get $job))) (i32.const 0xfd0200c0)) (then ${wrong})) ${DROP}`;
const TRAPS = moduleOf(onFeed('unreachable'));
const NEVER_RETURNS = moduleOf(onFeed('(loop $on (br $on))'));
/** A header of 100 bytes for a packet's 42: with a payload near the MTU that is too much. */
const GROWS = moduleOf(`(i32.store offset=20 (local.get $job) (i32.const ${100 << 16}))
  (i32.store offset=24 (local.get $job) (i32.const 0)) (i32.store offset=16 (local.get $job) (i32.const 1))`);

async function load(replicator: Replicator, name: string, bytes: Uint8Array): Promise<void> {
  const module = Buffer.from(bytes).toString('base64');
  await replicator.ask({ op: 'filter.load', name, module });
}

async function use(
  replicator: Replicator,
  name: string,
  to?: Destination,
  param?: string,
): Promise<void> {
  const one = to === undefined ? {} : { ip: to.ip, port: to.port };
  await replicator.ask({
    op: 'filter.use',
    name,
    ...one,
    ...(param === undefined ? {} : { param }),
  });
}

const list = async (replicator: Replicator) =>
  (await replicator.ask({ op: 'filter.list' })).filters as FilterRow[];
const info = async (replicator: Replicator, name: string) =>
  (await replicator.ask({ op: 'filter.info', name })).filter as FilterInfo;

const flagsOf = (layout: string, ...more: string[]) => [
  '--mode',
  'copy',
  '--layout',
  layout,
  ...more,
];

networkTest(
  test,
  'filters are swapped under 100,000 packets/s and no packet is lost, doubled or torn',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: flagsOf('inline') }, async (replicator) => {
      const subscribers = subscribersOf(1);
      await replicator.subscribe(subscribers);
      const more = async () => {
        const { received } = (await replicator.stats()).feed;
        do await sleep(100);
        while (
          // asked no more often: each answer takes time of a core that the feed needs
          (await replicator.stats()).feed.received <
          received + 1000
        );
      };
      const sunk = await transfer(replicator, {
        subscribers,
        rate: 100_000,
        count: 100_000,
        meanwhile: async () => {
          await more();
          for (let round = 0; round < 3; round++) {
            // a new module under the same name each time
            await load(replicator, 'marked', stock('dscp-ttl'));
            await use(replicator, 'marked', undefined, 'dscp=46');
            await more();
            await use(replicator, 'rewrite');
            await more();
          }
        },
      });
      await assertLossless(replicator, sunk);
      const { tos = {} } = sunk.subscribers[0] ?? {};
      assert.equal(Object.keys(tos), ['0', MARKED], JSON.stringify(tos));
      assert.ok((tos[MARKED] ?? 0) >= 3000 && (tos['0'] ?? 0) >= 4000, JSON.stringify(tos));
      await use(replicator, 'marked', undefined, 'dscp=46');
      const again = await transfer(replicator, { subscribers, rate: RATE, count: 5000 });
      await assertReceived(replicator, again);
      const { status, cost_ns, jobs, verdicts, faults } = await info(replicator, 'marked');
      assert.equal([status, faults], ['ready', { trap: 0, bad_answer: 0, too_big: 0 }]);
      assert.ok(
        jobs > 0 && verdicts.send === jobs && (cost_ns ?? 0) > 0,
        JSON.stringify({ jobs, verdicts, cost_ns }),
      );
    });
  },
);

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
      await withReplicator({ link, flags: flagsOf('inline'), inside: true }, async (replicator) => {
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
        await replicator.wscat('filter list', /^mine ready sha256 [0-9a-f]{12} .* subscribers 1$/m);
        await replicator.wscat('filter info mine', /^faults trap 0 bad_answer 0 too_big 0$/m);
        await replicator.cli('filter', 'load', 'vlan'); // of the stock, by name
        assert.match(await replicator.cli('filter', 'list'), /^vlan +ready/m);
        await replicator.cli('filter', 'use', 'rewrite', one.ip, String(one.port));
        assert.match(
          await replicator.cli('filter', 'info', 'mine'),
          /^answers for +0 subscribers$/m,
        );
        await replicator.cli('filter', 'unload', 'mine');
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

for (const layout of LAYOUTS)
  networkTest(
    test,
    `each subscriber has its own filter and parameter, and keeps both when its worker dies: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags: flagsOf(layout) }, async (replicator) => {
        const subscribers = subscribersOf(4);
        const [plain, marked, other, late] = subscribers as [
          Destination,
          Destination,
          Destination,
          Destination,
        ];
        await replicator.subscribe([plain, marked, other]);
        await load(replicator, 'marked', stock('dscp-ttl'));
        await use(replicator, 'marked', marked, 'dscp=46');
        await use(replicator, 'marked', other, 'hex:647363703d3130'); // dscp=10
        await replicator.subscribe([late]); // gets what new ones get: rewrite
        const expected = ['0', MARKED, String(10 << 2), '0'];
        for (const restarts of [0, 1]) {
          const count = 5000;
          const sunk = await transfer(replicator, { subscribers, rate: RATE, count });
          await assertLossless(replicator, sunk);
          assert.equal(
            sunk.subscribers.map(({ tos }) => Object.keys(tos).join()),
            expected,
          );
          const [worker] = (await replicator.stats()).workers;
          assert.is(worker?.restarts, restarts);
          if (restarts > 0) break;
          process.kill(worker?.pid ?? 0, 'SIGKILL');
          await eventually('the worker is replaced', async () => {
            const [next] = (await replicator.stats()).workers;
            return next !== undefined && next.restarts === 1 && next.pid !== worker?.pid;
          });
          await servedAgain(replicator, subscribers);
        }
        const rows = await replicator.list();
        assert.equal(
          rows.map(({ filter }) => filter),
          ['rewrite', 'marked', 'marked', 'rewrite'],
        );
      });
    },
  );

networkTest(
  test,
  'filters are listed, told about and unloaded; what cannot be is refused by name',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: flagsOf('inline') }, async (replicator) => {
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
      await replicator.ask({ op: 'filter.unload', name: 'marked' });
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
      for (const name of names) await replicator.ask({ op: 'filter.unload', name });
      await load(replicator, 'more', TRAPS);
      assert.is((await list(replicator)).length, 2);
    });
  },
);

for (const layout of LAYOUTS)
  for (const [what, bytes, size, why] of [
    ['that traps', TRAPS, '200', /traps/],
    ['whose results pass the MTU', GROWS, '1450', /results over the MTU/],
  ] as const)
    networkTest(
      test,
      `a filter ${what} is rolled back to what its subscriber had, and others lose nothing: ${layout}`,
      { queues: 1 },
      async (link) => {
        await withReplicator({ link, flags: flagsOf(layout) }, async (replicator) => {
          const [good, victim] = subscribersOf(2) as [Destination, Destination];
          await replicator.subscribe([good, victim]);
          await load(replicator, 'marked', stock('dscp-ttl'));
          await use(replicator, 'marked', victim, 'dscp=46');
          await load(replicator, 'bad', bytes);
          const sentTo = async ({ ip, port }: Destination) => {
            const rows = (await replicator.stats()).subscribers;
            return rows.find((row) => row.ip === ip && row.port === port)?.sent ?? 0;
          };
          const sunk = await transfer(replicator, {
            subscribers: [good],
            watched: [victim],
            rate: RATE,
            count: RATE,
            sizes: size,
            meanwhile: async () => {
              await eventually('it is served', async () => (await sentTo(victim)) > 1000);
              await use(replicator, 'bad', victim);
              await eventually('it is rolled back', async () => {
                return (await replicator.stats()).filters.rollbacks.length === 1;
              });
              const sent = await sentTo(victim);
              await eventually('it is served again', async () => {
                return (await sentTo(victim)) > sent + 1000;
              });
            },
          });
          const [, hurt] = sunk.subscribers;
          await assertReceived(replicator, sunk, sunk.subscribers.slice(0, 1));
          assert.ok((hurt?.lost ?? 0) >= 100, `a hundred faults: ${JSON.stringify(hurt)}`);
          assert.equal(
            Object.keys(hurt?.tos ?? {}),
            [MARKED],
            'it had the marking filter before and after',
          );
          const stats = await replicator.stats();
          assert.match(stats.filters.rollbacks[0]?.reason ?? '', why);
          const row = (await list(replicator)).find(({ name }) => name === 'bad');
          assert.equal([row?.status, row?.subscribers], ['rolled_back', 0]);
          assert.match(replicator.told(), /filter bad \(sha256 [0-9a-f]{12}\) is rolled back/);
          assert.is(stats.workers[0]?.restarts, 0);
          const again = await transfer(replicator, {
            subscribers: [good, victim],
            rate: RATE,
            count: 3000,
          });
          await assertReceived(replicator, again);
          await replicator.check();
        });
      },
    );

networkTest(
  test,
  'a new version that misbehaves goes back to the one before it',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: flagsOf('inline') }, async (replicator) => {
      const subscribers = subscribersOf(2);
      await replicator.subscribe(subscribers);
      await load(replicator, 'mine', stock('dscp-ttl'));
      await use(replicator, 'mine', undefined, 'dscp=46');
      const { hash } = await info(replicator, 'mine');
      await load(replicator, 'mine', TRAPS);
      await transfer(replicator, {
        subscribers: [],
        watched: subscribers,
        rate: RATE,
        count: 3000,
      });
      await eventually(
        'it is rolled back',
        async () => (await info(replicator, 'mine')).rollback !== null,
      );
      const row = await info(replicator, 'mine');
      assert.equal([row.status, row.hash, row.subscribers, row.default], ['ready', hash, 2, true]);
      const sunk = await transfer(replicator, { subscribers, rate: RATE, count: 3000 });
      await assertReceived(replicator, sunk);
      for (const { tos } of sunk.subscribers) assert.equal(Object.keys(tos), [MARKED]);
    });
  },
);

for (const layout of LAYOUTS)
  networkTest(
    test,
    `a filter that never returns costs its worker a restart, and is rolled back: ${layout}`,
    { queues: 2 },
    async (link) => {
      await withReplicator(
        { link, flags: flagsOf(layout, '--workers', '2') },
        async (replicator) => {
          const [other, victim] = subscribersOf(2) as [Destination, Destination];
          await replicator.subscribe([other, victim]); // in turn: one a worker
          await load(replicator, 'hang', NEVER_RETURNS);
          const sunk = await transfer(replicator, {
            subscribers: layout === 'split' ? [other] : [],
            watched: layout === 'split' ? [victim] : [other, victim],
            rate: 5000,
            count: 5000,
            meanwhile: async () => {
              await use(replicator, 'hang', victim).catch((error) =>
                assert.match(String(error), /BUSY/),
              );
              await eventually('it is rolled back', async () => {
                return (await replicator.stats()).filters.rollbacks.length === 1;
              });
              await eventually('the worker is replaced', async () => {
                return (await replicator.stats()).workers[1]?.restarts === 1;
              });
            },
          });
          if (layout === 'split')
            await assertReceived(replicator, sunk, sunk.subscribers.slice(0, 1)); // it never noticed
          const stats = await replicator.stats();
          assert.is(stats.filters.rollbacks[0]?.reason, 'it did not return');
          assert.equal(
            stats.workers.map(({ restarts }) => restarts),
            [0, 1],
          );
          await replicator.check(); // the gap is in the counters
          await servedAgain(replicator, [other, victim]);
          const again = await transfer(replicator, {
            subscribers: [other, victim],
            rate: 5000,
            count: 3000,
          });
          await assertReceived(replicator, again);
          await replicator.check();
        },
      );
    },
  );

test.run();
