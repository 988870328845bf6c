/**
 * Goal: a program manages a replicator with what the package exports, in JavaScript and in
 * TypeScript, and is told of everything that can go wrong. Method: programs in a folder of their
 * own, which import the package by its name, against a real replicator; each method against a
 * control port over a table in memory, which says what it was asked.
 *
 * needs: a link
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocketServer } from 'ws';
import { EventQueue, GAPS_MAX } from '../../src/api/events.js';
import { connect, type Fantail } from '../../src/api/fantail.js';
import { type Op, operations } from '../../src/control/operations.js';
import { type Control, type ControlOptions, startControl } from '../../src/control/server.js';
import { Failure, FantailError } from '../../src/domain/errors.js';
import type { GapEvent, WatchEvent } from '../../src/domain/replicator.js';
import { emptyStats, MemoryReplicator } from '../rig/memory-replicator.js';
import { eventually, Program, ROOT } from '../rig/program.js';
import { freePort } from '../rig/replicator.js';
import {
  networkTest,
  socketMode,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import type { Destination } from '../rig/wire.js';

const test = suite('the client of programs');
const TOKEN = 'a-token-of-32-characters-for-test';
const SUBSCRIBER = { ip: '10.0.0.34', port: 9001 };

interface Served {
  readonly url: string;
  readonly table: MemoryReplicator;
  readonly control: Control;
  /** Operations that were asked, in their order. */
  readonly asked: string[];
}

const opened: { close(): unknown }[] = [];
test.after.each(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

async function serve(options: Partial<ControlOptions> = {}): Promise<Served> {
  const table = new MemoryReplicator();
  const asked: string[] = [];
  const control = await startControl({
    ...{ address: '127.0.0.1', port: 0, tokens: null, replicator: table },
    onAnswer: (op) => asked.push(op),
    ...options,
  });
  opened.push(control);
  return { url: `ws://127.0.0.1:${control.port}`, table, control, asked };
}

async function opens(control: string, more: Parameters<typeof connect>[0] = {}): Promise<Fantail> {
  const fantail = await connect({ control, ...more });
  opened.push(fantail);
  return fantail;
}

/** What was thrown; it must be thrown. */
async function thrownBy(work: () => Promise<unknown>): Promise<Error> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('nothing was thrown');
}

/** By compiling: whatever can be asked has a way here, but for what `watch` and connecting do. */
type Called = Exclude<Op, 'watch' | 'unwatch' | 'auth' | 'help'>;
const METHODS: Record<Called, (fantail: Fantail) => Promise<unknown>> = {
  add: (fantail) => fantail.add(SUBSCRIBER, { feeds: ['main'], lease: 30 }),
  list: (fantail) => fantail.list(),
  pause: (fantail) => fantail.pause(SUBSCRIBER),
  resume: (fantail) => fantail.resume(SUBSCRIBER),
  stats: (fantail) => fantail.stats({ queues: true }),
  'feed.add': ({ feeds }) => feeds.add({ name: 'b', ip: '239.1.1.1', port: 1, source: '10.0.0.9' }),
  'feed.list': ({ feeds }) => feeds.list(),
  'feed.remove': ({ feeds }) => feeds.remove('b'),
  'filter.load': ({ filters }) => filters.load('mine', new Uint8Array([0, 1])),
  'filter.list': ({ filters }) => filters.list(),
  'filter.info': ({ filters }) => filters.info('mine'),
  'filter.use': ({ filters }) => filters.use('mine', { to: SUBSCRIBER, param: 'hex:00ff' }),
  'filter.unload': ({ filters }) => filters.unload('mine'),
  'fleet.status': ({ fleet }) => fleet.status(),
  'fleet.list': ({ fleet }) => fleet.list(),
  'fleet.add': ({ fleet }) => fleet.add(SUBSCRIBER, { feeds: ['main'], filter: 'mine' }),
  'fleet.remove': ({ fleet }) => fleet.remove(SUBSCRIBER),
  'fleet.pause': ({ fleet }) => fleet.pause(SUBSCRIBER),
  'fleet.resume': ({ fleet }) => fleet.resume(SUBSCRIBER),
  'fleet.move': ({ fleet }) => fleet.move(SUBSCRIBER, 'rack1'),
  'fleet.drain': ({ fleet }) => fleet.drain('rack1'),
  'fleet.feed.add': ({ fleet }) => fleet.feedAdd({ name: 'b', ip: '239.1.1.1', port: 1 }),
  'fleet.feed.remove': ({ fleet }) => fleet.feedRemove('b'),
  'fleet.filter.load': ({ fleet }) => fleet.filterLoad('mine', new Uint8Array([0, 1])),
  'fleet.filter.use': ({ fleet }) => fleet.filterUse('mine', { to: SUBSCRIBER, param: 'x' }),
  'fleet.filter.unload': ({ fleet }) => fleet.filterUnload('mine'),
  changes: (fantail) => fantail.changes(5),
  config: (fantail) => fantail.configuration(),
  reload: (fantail) => fantail.reload(),
  remove: (fantail) => fantail.remove(SUBSCRIBER),
};

test('each operation of the control channel has a method, which gives what was answered', async () => {
  const { url, table, asked } = await serve();
  const fantail = await opens(url);
  const answers: Record<string, unknown> = {};
  for (const [op, call] of Object.entries(METHODS)) answers[op] = await call(fantail);
  assert.equal(asked, Object.keys(METHODS));
  const others = Object.keys(operations).filter((op) => !(op in METHODS));
  assert.equal(others.sort(), ['auth', 'help', 'unwatch', 'watch']);
  const { add, list, pause, resume, remove, stats } = answers;
  assert.equal(
    [add, pause, resume, remove],
    [{ existing: false }, { changed: true }, { changed: true }, { removed: true }],
  );
  assert.is((list as { port: number }[])[0]?.port, 9001);
  assert.is((stats as { driver: null }).driver, null);
  assert.not.ok('ok' in (stats as object) || 'id' in (stats as object), 'only what was asked for');
  assert.equal(table.leases, [30]);
  assert.equal(table.used?.to, SUBSCRIBER);
  assert.equal([...(table.used?.param ?? [])], [0, 255]);
  const how = { feeds: ['main'], filter: 'mine', param: undefined };
  assert.equal(table.fleetAsked, [
    ['status'],
    ['list'],
    ['add', SUBSCRIBER, how],
    ['remove', SUBSCRIBER],
    ['pause', SUBSCRIBER, true],
    ['pause', SUBSCRIBER, false],
    ['move', SUBSCRIBER, 'rack1'],
    ['drain', 'rack1'],
    ['feedAdd', { name: 'b', ip: '239.1.1.1', port: 1, source: null }],
    ['feedRemove', 'b'],
    ['filterLoad', 'mine', new Uint8Array([0, 1])],
    ['filterUse', 'mine', 'x', SUBSCRIBER],
    ['filterUnload', 'mine'],
  ]);
});

test('what is refused is a FantailError with its code; nobody there, or another token, is a Failure', async () => {
  const { url } = await serve({ tokens: { all: TOKEN, read: null } });
  const fantail = await opens(url, { token: TOKEN });
  const refused = await thrownBy(() => fantail.add({ ip: '192.0.2.1', port: 9001 }));
  assert.instance(refused, FantailError);
  assert.is((refused as FantailError).code, 'NOT_ALLOWED');
  assert.match(refused.message, /^192\.0\.2\.1 is outside 10\.0\.0\.0\/8; see --allow/);
  assert.equal(await fantail.list(), [], 'the connection is as good as before');

  const stranger = await opens(url);
  const unknown = await thrownBy(() => stranger.list());
  assert.is((unknown as FantailError).code, 'UNAUTHORIZED');
  const wrong = await thrownBy(() => connect({ control: url, token: 'another' }));
  assert.instance(wrong, Failure);
  assert.match(wrong.message, /refuses the token/);
  const nobody = `ws://127.0.0.1:${await freePort()}`;
  const absent = await thrownBy(() => connect({ control: nobody }));
  assert.instance(absent, Failure);
  assert.match(absent.message, /nothing listens at .*; start it with: fantail up/);
});

test('a loop over events ends as it is left, by a signal, by close, and by the end of the replicator', async () => {
  const { url, control, asked } = await serve();
  const fantail = await opens(url);
  let events = 0;
  for await (const event of fantail.watch(0.1)) {
    assert.is(event.event, 'stats');
    if (++events === 3) break;
  }
  await eventually('the replicator tells no more', () => asked.join() === 'watch,unwatch');

  const stop = new AbortController();
  for await (const _ of fantail.watch(0.1, { signal: stop.signal })) stop.abort();
  for await (const _ of fantail.watch(0.1, { signal: stop.signal })) assert.unreachable();
  const refused = await thrownBy(async () => {
    for await (const _ of fantail.watch(0)) assert.unreachable();
  });
  assert.is((refused as FantailError).code, 'BAD_REQUEST');

  for await (const _ of fantail.watch(0.1)) {
    const second = await thrownBy(() => fantail.watch(1).next());
    assert.match(second.message, /is watched already/);
    break;
  }
  const closing = await opens(url);
  for await (const _ of closing.watch(0.1)) closing.close();
  assert.match((await thrownBy(() => closing.list())).message, /is closed/);

  const ended = await thrownBy(async () => {
    for await (const _ of fantail.watch(0.1)) await control.close();
  });
  assert.instance(ended, Failure);
  assert.match(ended.message, /closed the connection: fantail stops/);
  assert.match((await thrownBy(() => fantail.list())).message, /fantail stops/);
});

test('of events that nobody takes the newest statistics wait and so many gaps; the rest is counted', async () => {
  const queue = new EventQueue();
  const gap = (from: number): GapEvent => ({ feeds: ['main'], from, to: from, at_ms: 1 });
  const statsAt = (uptime_ms: number): WatchEvent => {
    return { event: 'stats', ...emptyStats(), uptime_ms };
  };
  for (let i = 0; i < 3; i++) queue.onEvent(statsAt(i));
  for (let i = 0; i < GAPS_MAX + 5; i++) queue.onEvent({ event: 'gap', ...gap(i) });
  queue.onEvent({ event: 'gap', ...gap(-1), suppressed: 7 });
  const taken = queue.taken();
  const some: WatchEvent[] = [];
  for (let i = 0; i < GAPS_MAX + 1; i++) {
    const { value } = await taken.next();
    if (value) some.push(value);
  }
  assert.equal(some.at(-1), statsAt(2));
  assert.equal(some[0], { event: 'gap', ...gap(0) });
  assert.equal(some.at(-2), { event: 'gap', ...gap(GAPS_MAX - 1) });
  queue.onEvent({ event: 'gap', ...gap(9), suppressed: 2 });
  // 5 and the last found no room, 7 the last would have told of, 2 of its own
  assert.equal((await taken.next()).value, { event: 'gap', ...gap(9), suppressed: 5 + 1 + 7 + 2 });
  queue.onEnd(null);
  queue.onEnd(new Failure('later'));
  assert.equal(await taken.next(), { done: true, value: undefined });
});

test('an address that is none, a frame that is no JSON: a Failure that a program can tell, and nothing left open', async () => {
  for (const control of ['127.0.0.1:12345', 'ws://[', 'ws://127.0.0.1:1/x']) {
    const wrong = await thrownBy(() => connect({ control }));
    assert.instance(wrong, Failure);
    assert.match(wrong.message, /^control takes /);
    assert.not.match(wrong.message, /--/, 'a program has no flags');
  }
  const other = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  try {
    await once(other, 'listening');
    let isClosed = false;
    other.on('connection', (socket) => {
      socket.on('message', () => socket.send('hello'));
      socket.once('close', () => {
        isClosed = true;
      });
    });
    const { port } = other.address() as { port: number };
    const fantail = await connect({ control: `ws://127.0.0.1:${port}` });
    const thrown = await thrownBy(() => fantail.list());
    assert.match(thrown.message, /is not a fantail control port/);
    await eventually('it is closed', () => isClosed);
  } finally {
    other.close();
  }
});

test('a loop is left without waiting for a replicator that does not answer, also before it has begun', async () => {
  const silent = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  try {
    await once(silent, 'listening');
    let isSilent = false;
    const asked: string[] = [];
    silent.on('connection', (socket) =>
      socket.on('message', (data) => {
        const { id, op } = JSON.parse(String(data));
        asked.push(op);
        if (isSilent) return;
        socket.send(JSON.stringify({ id, ok: true, seconds: 1 }));
        socket.send(JSON.stringify({ event: 'stats', ...emptyStats() }));
        isSilent = true;
      }),
    );
    const { port } = silent.address() as { port: number };
    const fantail = await opens(`ws://127.0.0.1:${port}`);
    const began = performance.now();
    for await (const _ of fantail.watch(1)) break;
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 100);
    for await (const _ of fantail.watch(1, { signal: stop.signal })) assert.unreachable();
    // a reply is waited for 30 s
    assert.ok(performance.now() - began < 25_000);
    await eventually('each is ended', () => asked.join() === 'watch,unwatch,watch,unwatch');
    fantail.close();
  } finally {
    silent.close();
  }
});

// ---- programs -----------------------------------------------------------------------------------

/** What a user writes; `fantail` is the package, and what it prints is looked at. */
const PROGRAM = `
const [control, ip, port] = process.argv.slice(2);
const fantail = await connect({ control });
const to = { ip, port: Number(port) };
console.log('added', await fantail.add(to, { lease: 'session' }));
for await (const event of fantail.watch(0.1)) {
  if (event.event !== 'stats') continue;
  const row = event.subscribers.find((each) => each.ip === ip && each.port === to.port);
  if (row === undefined || row.sent < 100) continue;
  console.log('sent', row.sent >= 100);
  break;
}
await fantail.pause(to);
console.log('state', (await fantail.list()).map(({ state }) => state).join());
try {
  await fantail.filters.unload('rewrite');
} catch (error) {
  console.log('refused', error instanceof FantailError ? error.code : error);
}
fantail.close();
`;

/** A folder of a user's: the package is installed there. */
function project(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-api-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules', 'fantail'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  return work(folder).finally(() => rmSync(folder, { recursive: true }));
}

test('docs/api.md: its program runs, and it names every method', async () => {
  const text = readFileSync(join(ROOT, 'docs', 'api.md'), 'utf8');
  const [, code = ''] = /```js run\n([\s\S]*?)```/.exec(text) ?? [];
  const { url, table } = await serve();
  await project(async (folder) => {
    writeFileSync(join(folder, 'main.js'), code.replaceAll('ws://127.0.0.1:12345', url));
    const program = new Program(process.execPath, [join(folder, 'main.js')]);
    await program.line(/^received 0$/m);
    assert.match(program.stdout, /^10\.0\.0\.34 9001 live$/m);
    assert.is(table.rows[0]?.expires_s, 'session');
    program.close();
  });
  const fantail = await opens(url);
  const own = Object.getOwnPropertyNames(Object.getPrototypeOf(fantail));
  const rooms = (['feeds', 'filters'] as const).flatMap((room) =>
    Object.keys(fantail[room]).map((name) => `${room}.${name}`),
  );
  const isInner = new Set(['constructor', 'ask', 'untilEnd']);
  for (const name of [...own, ...rooms])
    if (!isInner.has(name)) assert.ok(text.includes(`\`${name}`), `${name} is not in docs/api.md`);
});

networkTest(
  test,
  'a program adds its subscriber, sees it served, pauses it, and takes it along when it ends',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: socketMode('inline') }, (replicator) =>
      project(async (folder) => {
        writeFileSync(
          join(folder, 'main.js'),
          `import { connect, FantailError } from 'fantail';\n${PROGRAM}`,
        );
        const [subscriber] = subscribersOf(1) as [Destination];
        const sunk = await transfer(replicator, {
          subscribers: [],
          watched: [subscriber],
          rate: 1000,
          count: 100,
          meanwhile: async () => {
            const { ip, port } = subscriber;
            const words = [`ws://${replicator.control}`, ip, String(port)];
            const program = new Program(process.execPath, [join(folder, 'main.js'), ...words]);
            const end = await program.wait();
            assert.equal(end, { status: 0, signal: null }, program.told());
            assert.equal(program.stdout.trim().split('\n'), [
              'added { existing: false }',
              'sent true',
              'state paused',
              'refused BAD_REQUEST',
            ]);
          },
        });
        assert.ok(sunk.sent >= 100);
        await eventually('its lease was the connection', async () =>
          (await replicator.list()).every(({ ip }) => ip !== subscriber.ip),
        );
      }),
    );
  },
);

test('TypeScript knows what it takes and gives, and finds nothing of the rest of fantail', () =>
  project(async (folder) => {
    writeFileSync(
      join(folder, 'main.ts'),
      `
import { type Code, connect, FantailError, type Stats, type WatchEvent } from 'fantail';
declare const process: { argv: string[] };
${PROGRAM}
const stats: Stats = await fantail.stats();
const count: number = stats.subscribers.length;
const code: Code = 'NOT_FOUND';
const told = (event: WatchEvent): number => (event.event === 'gap' ? event.from : event.uptime_ms);
// @ts-expect-error a port is a number
await fantail.add({ ip: '10.0.0.1', port: '9001' });
// @ts-expect-error there is no such operation
await fantail.stop();
console.log(count, code, told);
`,
    );
    const options = [
      '--ignoreConfig',
      '--strict',
      '--noEmit',
      '--target',
      'es2022',
      '--module',
      'nodenext',
    ];
    const more = ['--types', '', '--lib', 'es2022,dom'];
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
    const program = new Program(tsc, [...options, ...more, join(folder, 'main.ts')]);
    const end = await program.wait();
    assert.equal(end, { status: 0, signal: null }, program.told());
    const probe = join(folder, 'probe.js');
    writeFileSync(
      probe,
      "import('fantail/dist/src/main.js').catch(({ code }) => console.log(code));",
    );
    const inner = new Program(process.execPath, [probe]);
    await inner.wait();
    assert.is(inner.stdout, 'ERR_PACKAGE_PATH_NOT_EXPORTED\n');
  }));

test.run();
