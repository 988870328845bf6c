/**
 * Goal: a supervisor is replaceable like everything else. Killed under load, the data path runs on,
 * and `fantail up` with the same words goes on with it: nothing lost, nothing sent twice, nobody
 * forgotten; with other words it says what differs; `fantail clean` removes what nobody adopts.
 *
 * needs: a link
 * takes: 80 s
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Noise } from '../rig/noise.js';
import { eventually, MAIN, Program, ROOT } from '../rig/program.js';
import { fantail, kill, Replicator, replicatorProcesses, startUp } from '../rig/replicator.js';
import {
  assertLossless,
  assertReceived,
  copyMode,
  hasFed,
  LAYOUTS,
  networkTest,
  servedAgain,
  subscribersOf,
  transfer,
} from '../rig/scenario.js';
import { replicatedRoute, startFeed, startSink } from '../rig/wire.js';

const test = suite('adoption');
/** It is the supervisor that dies: a ring of 8192 frames gives a busy machine over a second. */
const RATE = 5000;
const SECONDS = 4;
const UP = ['up', 'rep0', '10.77.0.1'];

/** kill -9 of the supervisor alone. */
async function killSupervisor({ program }: Replicator): Promise<void> {
  process.kill(program.pid, 'SIGKILL');
  await program.wait();
}

/** Ends the one that adopted, and demands that neither has left anything. */
async function assertNothingLeft(first: Replicator, second: Replicator): Promise<void> {
  assert.equal(await second.stop(), { status: 0, signal: null }, second.told());
  assert.equal(await second.residue(), []);
  assert.equal(await first.residue(), []);
}

/** `work` with a replicator, which is closed whatever happens, as is the one that adopts it. */
async function withFirst(
  options: Parameters<typeof Replicator.start>[0],
  work: (first: Replicator, adopt: () => Promise<Replicator>) => Promise<void>,
): Promise<void> {
  const started = [await Replicator.start(options)];
  const [first] = started;
  if (first === undefined) throw new Error('nothing was started');
  try {
    await work(first, async () => {
      const second = await Replicator.start(options);
      started.push(second);
      return second;
    });
  } catch (error) {
    if (error instanceof Error)
      error.message += started.map((each) => `\n--- ${each.told()}`).join('');
    throw error;
  } finally {
    for (const each of started) each.close();
  }
}

for (const layout of LAYOUTS)
  networkTest(
    test,
    `a supervisor killed under load and started again loses nothing and sends nothing twice: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withFirst({ link, flags: copyMode(layout) }, async (first, adopt) => {
        const subscribers = subscribersOf(3);
        await first.subscribe(subscribers);
        const [before, listed, receiver] = [
          await first.stats(),
          await first.list(),
          first.receiver(),
        ];
        const route = replicatedRoute(link);
        const count = RATE * SECONDS;
        const sink = await startSink(route, { subscribers, expect: count });
        const feed = startFeed(route, { rate: RATE, count });
        const noise = new Noise(() => [...replicatorProcesses(), sink.program, feed.program]);
        await eventually('traffic flows', async () => {
          const { feed: fed } = await first.stats();
          return fed.received - before.feed.received > RATE / 4;
        });
        await killSupervisor(first);
        const second = await adopt();
        assert.match(second.program.stdout, new RegExp(` adopted=${receiver.pid}$`, 'm'));
        assert.equal(await second.list(), listed);
        const { uptime_ms } = await second.stats();
        assert.ok(uptime_ms > before.uptime_ms, `up for ${before.uptime_ms}, then ${uptime_ms} ms`);
        await feed.result();
        await second.settled(hasFed(before, count));
        const isLoud = noise.isLoud();
        noise.end();
        const sunk = isLoud ? await sink.stop() : await sink.within(10_000);
        await assertReceived(second, { ...sunk, sent: count, before, isLoud });
        await second.check();
        // it is a whole supervisor: it takes subscribers, and replaces what dies
        const more = subscribersOf(4);
        await second.subscribe(more);
        const killed = first.processes().filter(({ command }) => /fantail-(rx|tx)/.test(command));
        for (const { pid } of killed) process.kill(pid, 'SIGKILL');
        await eventually('both are replaced', async () => {
          const { workers } = await second.stats();
          const now = second.processes().map(({ pid }) => pid);
          const isGone = killed.every(({ pid }) => !now.includes(pid));
          return isGone && now.length === 3 && workers.every(({ pid }) => now.includes(pid));
        });
        await servedAgain(second, more);
        const again = await transfer(second, {
          subscribers: more,
          rate: RATE / 4,
          count: RATE / 4,
        });
        await assertReceived(second, again);
        await assertNothingLeft(first, second);
      });
    },
  );

networkTest(
  test,
  'a worker that died while there was no supervisor is replaced by the next one',
  { queues: 1 },
  async (link) => {
    await withFirst({ link, flags: copyMode('inline') }, async (first, adopt) => {
      const subscribers = subscribersOf(3);
      await first.subscribe(subscribers);
      await killSupervisor(first);
      for (const { pid, command } of first.processes())
        if (/fantail-tx/.test(command)) process.kill(pid, 'SIGKILL');
      const second = await adopt();
      await second.subscribe(subscribers);
      const sunk = await transfer(second, { subscribers, rate: RATE / 4, count: RATE / 4 });
      await assertLossless(second, sunk);
      await assertNothingLeft(first, second);
    });
  },
);

networkTest(
  test,
  'a worker that does not follow for a while keeps no supervisor of several feeds from taking over',
  { queues: 1 },
  async (link) => {
    const flags = [...copyMode('inline'), '--feed', 'second=10.77.0.1:9100'];
    await withFirst({ link, flags }, async (first, adopt) => {
      const subscribers = subscribersOf(3);
      await first.subscribe(subscribers);
      const worker = first.processes().find(({ command }) => /fantail-tx/.test(command))?.pid ?? 0;
      assert.ok(worker > 0, first.told());
      await killSupervisor(first);
      process.kill(worker, 'SIGSTOP');
      const second = await adopt().finally(() => kill(worker, 'SIGCONT'));
      assert.match(second.program.stdout, / adopted=\d+$/m);
      await servedAgain(second, subscribers);
      const sunk = await transfer(second, { subscribers, rate: RATE / 4, count: RATE / 4 });
      await assertLossless(second, sunk);
      await assertNothingLeft(first, second);
    });
  },
);

networkTest(
  test,
  'what runs is believed, and not a file that was edited meanwhile, nor what it said of what others have changed; a reload applies it',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'adoption-'));
    const file = join(folder, 'F.yaml');
    const [{ ip, port } = { ip: '', port: 0 }] = subscribersOf(1);
    const write = (...lines: string[]) =>
      writeFileSync(file, `mode: copy\nlayout: inline\n${lines.join('\n')}\n`);
    const named = (...ports: number[]) =>
      `subscribers: [${ports.map((each) => `{ ip: ${ip}, port: ${each} }`).join(', ')}]`;
    try {
      write('feed: [b=10.77.0.1:9100, c=10.77.0.1:9102]', named(port, port + 1));
      await withFirst({ link, flags: ['--config', file] }, async (first, adopt) => {
        await first.remove({ ip, port: port + 1 });
        await first.change({ op: 'feed.remove', name: 'c' });
        await killSupervisor(first);
        write('feed: [b=10.77.0.1:9101, c=10.77.0.1:9102]', named(port + 1, port + 2));
        const second = await adopt();
        const ports = async () => (await second.list()).map((row) => row.port);
        const feeds = async () => (await second.stats()).feeds.map((feed) => feed.port);
        assert.equal([await ports(), await feeds()], [[port], [9000, 9100]]);
        assert.match(second.told(), /adopted as it runs, .*: feed, subscribers; fantail reload/);
        await second.ask({ op: 'reload' });
        assert.equal([await ports(), await feeds()], [[port + 2], [9000, 9101]]);
        await assertNothingLeft(first, second);
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

for (const layout of LAYOUTS)
  networkTest(
    test,
    `a supervisor that dies while it replaces fantail-rx leaves a whole data path: ${layout}`,
    { queues: 1 },
    async (link) => {
      await withFirst({ link, flags: copyMode(layout) }, async (first, adopt) => {
        const subscribers = subscribersOf(3);
        await first.subscribe(subscribers);
        const successorOf = () =>
          first.standbys().find(({ command }) => /fantail-rx/.test(command));
        await eventually('one stands by', () => successorOf() !== undefined);
        const successor = successorOf()?.pid ?? 0;
        // it has its task, and runs only once whoever gave it is dead
        process.kill(successor, 'SIGSTOP');
        process.kill(first.receiver().pid, 'SIGKILL');
        await eventually(
          'it is replaced',
          () => /fantail-rx .* is replaced/.test(first.told()),
          5000,
          1,
        );
        await first.list(); // answered in a later turn: the task has been given
        await killSupervisor(first);
        process.kill(successor, 'SIGCONT');
        const second = await adopt();
        assert.match(second.program.stdout, new RegExp(`adopted=${successor}$`, 'm'));
        await second.subscribe(subscribers);
        const sunk = await transfer(second, { subscribers, rate: RATE / 4, count: RATE / 4 });
        await assertLossless(second, sunk);
        await assertNothingLeft(first, second);
      });
    },
  );

networkTest(
  test,
  'filters, their parameters and who has them are taken over, for later workers too',
  { queues: 1 },
  async (link) => {
    await withFirst({ link, flags: copyMode('inline') }, async (first, adopt) => {
      const subscribers = subscribersOf(2);
      const [one] = subscribers;
      if (one === undefined) throw new Error('there is no subscriber');
      await first.subscribe(subscribers);
      const file = join(ROOT, 'build', 'filters', 'dscp-ttl.wasm');
      await first.cli('filter', 'load', 'marked', file);
      await first.cli('filter', 'use', 'marked', one.ip, String(one.port), '--param', 'dscp=46');
      const [listed, filters] = [await first.list(), await first.cli('filter', 'list', '--json')];
      await first.change({ op: 'add', ip: one.ip, port: 9998, lease: 600 });
      await first.change({ op: 'add', ip: one.ip, port: 9999, lease: 'session' });
      await killSupervisor(first);
      const second = await adopt();
      const rows = await second.list();
      assert.equal(rows.slice(0, 2), listed);
      const [timed, ofSession] = rows.slice(2).map(({ expires_s }) => Number(expires_s));
      assert.ok((timed ?? 0) > 500 && (timed ?? 0) <= 600, `${timed} s`);
      assert.ok((ofSession ?? 0) > 0 && (ofSession ?? 0) <= 30, `${ofSession} s to come back in`);
      for (const port of [9998, 9999]) await second.remove({ ip: one.ip, port });
      const told = (text: string) => JSON.parse(text).filters;
      assert.equal(told(await second.cli('filter', 'list', '--json')), told(filters));
      const marks = async () => {
        const sunk = await transfer(second, { subscribers, rate: 1000, count: 1000 });
        return sunk.subscribers.map(({ tos = {} }) => Object.keys(tos));
      };
      assert.equal(await marks(), [['184'], ['0']]);
      for (const { pid, command } of first.processes())
        if (/fantail-tx/.test(command)) process.kill(pid, 'SIGKILL');
      await eventually('it is replaced', () => second.processes().length > 1);
      await eventually(
        'its successor serves',
        async () => (await second.stats()).workers[0]?.pid !== 0,
      );
      assert.equal(await marks(), [['184'], ['0']]);
      // its numbers go on: another module gets a slot of its own
      await second.cli('filter', 'load', 'other', file);
      await second.cli('filter', 'unload', 'other');
      await assertNothingLeft(first, second);
    });
  },
);

networkTest(
  test,
  'other words are refused with what differs, and so is a second supervisor; both leave it running',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: copyMode('inline') };
    await withFirst(options, async (first, adopt) => {
      const refused = async (sentence: RegExp, port: string, ...flags: string[]) => {
        const { program } = await startUp({ link, flags, listenPort: port });
        assert.is((await program.wait()).status, 1, program.told());
        assert.match(program.stderr, sentence);
        assert.is(program.stderr.trimEnd().split('\n').length, 1, program.stderr);
      };
      await refused(/\(pid \d+\) serves queue 0 of rep0 already/, '9000', ...options.flags);
      await killSupervisor(first);
      await refused(
        /listen address 10\.77\.0\.1:9000, not 10\.77\.0\.1:9001/,
        '9001',
        ...options.flags,
      );
      await refused(/--layout inline, not split/, '9000', ...copyMode('split'));
      await refused(/--order rotate, not fixed/, '9000', ...options.flags, '--order', 'fixed');
      await refused(/--mode copy, not skb/, '9000', '--mode', 'skb', '--layout', 'inline');
      await assertNothingLeft(first, await adopt());
    });
  },
);

networkTest(
  test,
  'one that adopts and then cannot start leaves it as it was, renamed interface and all',
  { queues: 1 },
  async (link) => {
    const flags = copyMode('inline');
    await withFirst({ link, flags }, async (first) => {
      const subscribers = subscribersOf(2); // hosts that answer ARP: others go with the link
      await first.subscribe(subscribers);
      const receiver = first.receiver();
      await killSupervisor(first);
      link.ip('replicator', 'link', 'set', 'rep0', 'down');
      link.ip('replicator', 'link', 'set', 'rep0', 'name', 'other0');
      link.ip('replicator', 'link', 'set', 'other0', 'up');
      const taken = createServer().listen(0, '127.0.0.1');
      await once(taken, 'listening');
      const address = taken.address();
      const port = typeof address === 'object' ? address?.port : 0;
      const { program } = await startUp({
        link,
        interface: 'other0',
        flags: [...flags, '--control', `127.0.0.1:${port}`],
      });
      assert.is((await program.wait()).status, 1, program.told());
      assert.match(program.stderr, /control port .* is taken/);
      taken.close();
      assert.is(first.processes().length, 2, 'both run on');
      const second = await Replicator.start({ link, interface: 'other0', flags });
      try {
        assert.match(second.program.stdout, new RegExp(` adopted=${receiver.pid}$`, 'm'));
        await second.subscribe(subscribers);
        await second.check();
        assert.equal(await second.stop(), { status: 0, signal: null }, second.told());
        assert.equal(second.processes(), []);
      } finally {
        second.close();
      }
    });
  },
);

networkTest(
  test,
  'clean ends what nobody watches over, says so, and leaves a living replicator alone',
  { queues: 1 },
  async (link) => {
    await withFirst({ link, flags: copyMode('split') }, async (first) => {
      const before = first.processes().map(({ pid }) => pid);
      const living = await fantail(['clean', 'rep0']);
      assert.is(living.end?.status, 0, living.told());
      assert.match(living.stdout, /left alone: fantail up \(pid \d+\) serves rep0/);
      // one that is to stand by may have come meanwhile
      const now = first.processes().map(({ pid }) => pid);
      assert.ok(
        before.length >= 3 && before.every((pid) => now.includes(pid)),
        `${before}; ${now}`,
      );
      await killSupervisor(first);
      const other = await fantail(['clean', 'another0', '--json']);
      assert.equal(JSON.parse(other.stdout), { ended: [], namespaces: [], left: [] });
      const { stdout } = await fantail(['clean', 'rep0']);
      assert.match(stdout, /^ended fantail-rx \(pid \d+\) of rep0$/m);
      assert.match(stdout, /^ended fantail-tx rep0 \(pid \d+\) of rep0$/m);
      assert.equal(await first.residue(), []);
      assert.match((await fantail(['clean', 'rep0'])).stdout, /^nothing to clean$/m);
    });
  },
);

networkTest(
  test,
  'a standard output that nobody reads ends it with a sentence and leaves nothing',
  { queues: 1 },
  async (link) => {
    const up = [...UP, '9000', '--netns', link.replicator, ...copyMode('inline')];
    const words = [process.execPath, MAIN, ...up, '--control', '127.0.0.1:23999'].join(' ');
    const shell = `set -o pipefail; ${words} | true`;
    const program = new Program('bash', ['-c', shell]);
    assert.is((await program.wait()).status, 1, program.told());
    assert.match(program.stderr, /cannot write to standard output \(EPIPE\), so it stops/);
    await eventually('nothing is left', () => link.xdpProgram() === null);
    assert.equal(link.abstractSockets(), []);
  },
);

networkTest(
  test,
  'a log that cannot be written costs the log and nothing else',
  { queues: 1 },
  async (link) => {
    const up = [...UP, '9000', '--netns', link.replicator, ...copyMode('inline')];
    const words = [process.execPath, MAIN, ...up, '--control', '127.0.0.1:23998'].join(' ');
    const program = new Program('bash', ['-c', `exec ${words} 2>/dev/full`]);
    await program.line(/^ready /m);
    program.signal('SIGTERM');
    assert.is((await program.wait()).status, 0, program.told());
    assert.equal(link.abstractSockets(), []);
  },
);

test.run();
