/**
 * Who is subscribed for how long, and what outlives a restart: leases, and `--state`. Socket mode:
 * what is kept is the supervisor's alone.
 *
 * needs: a link
 * takes: 60 s
 */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { SubscriberRow } from '../../src/domain/statistics.js';
import { openAsker } from '../rig/channel.js';
import { HOSTS, type Link } from '../rig/link.js';
import { eventually, MAIN, Program, ROOT, sleep } from '../rig/program.js';
import { Replicator, startUp } from '../rig/replicator.js';
import { networkTest, withReplicator } from '../rig/scenario.js';

const test = suite('state');
const SOCKET = ['--mode', 'socket', '--layout', 'inline'];
const [ip = ''] = HOSTS;
const STOCK = join(ROOT, 'build', 'filters', 'dscp-ttl.wasm');

const folder = mkdtempSync(join(tmpdir(), 'state-'));
test.after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

const portsOf = (rows: readonly SubscriberRow[]) => rows.map(({ port }) => port);

/** Starts with that state, does `work`, stops by SIGTERM. */
const withState = (
  link: Link,
  file: string,
  work: (replicator: Replicator) => Promise<void>,
  ...more: string[]
) => withReplicator({ link, flags: [...SOCKET, '--state', file, ...more] }, work);

networkTest(test, 'a lease ends by itself, and adding again renews it', { queues: 1 }, (link) =>
  withReplicator({ link, flags: SOCKET }, async (replicator) => {
    const add = (port: number, lease?: number) =>
      replicator.change({ op: 'add', ip, port, ...(lease === undefined ? {} : { lease }) });
    await add(9001, 1);
    await add(9002, 1);
    await add(9003, 1);
    await add(9004);
    const expiries = (await replicator.list()).map(({ expires_s }) => expires_s);
    assert.equal(expiries, [1, 1, 1, null]);
    await add(9002, 600);
    await add(9003); // and stays
    await eventually('the first has gone', async () => (await replicator.list()).length === 3);
    const rows = await replicator.list();
    assert.equal(portsOf(rows), [9002, 9003, 9004]);
    const left = Number(rows[0]?.expires_s);
    assert.ok(left > 500 && left <= 600, String(left));
    assert.equal([rows[1]?.expires_s, rows[2]?.expires_s], [null, null]);
    assert.match(replicator.told(), new RegExp(`the lease of ${ip}:9001 has ended`));
    // its row is used again, by one that has no lease
    await add(9005);
    await sleep(1500);
    assert.equal(portsOf(await replicator.list()), [9002, 9003, 9004, 9005]);
  }),
);

networkTest(
  test,
  'a lease on a session ends with it, however it ends; a later one of another session does not',
  { queues: 1 },
  (link) =>
    withReplicator({ link, flags: SOCKET }, async (replicator) => {
      const one = await openAsker(replicator.control);
      for (const port of [9001, 9002, 9003])
        await one.ask({ op: 'add', ip, port, lease: 'session' });
      await replicator.change({ op: 'add', ip, port: 9002, lease: 'session' }); // another's now
      const rows = await replicator.list();
      assert.ok(rows.every(({ expires_s }) => expires_s === 'session'));
      await one.ask({ op: 'remove', ip, port: 9003 });
      await replicator.change({ op: 'add', ip, port: 9003 }); // another subscription
      one.close();
      await eventually('theirs has gone', async () => (await replicator.list()).length === 2);
      assert.equal(portsOf(await replicator.list()), [9002, 9003]);
      const url = `ws://${replicator.control}`;
      const words = ['add', ip, '9004', '--lease', 'session', '--control', url];
      const command = new Program(process.execPath, [MAIN, ...words]);
      await command.line(/^added/m);
      assert.equal(portsOf(await replicator.list()), [9002, 9003, 9004]);
      command.signal('SIGKILL');
      await command.wait();
      await eventually('it has gone with it', async () => (await replicator.list()).length === 2);
    }),
);

networkTest(
  test,
  'feeds and who gets which are there again after a restart; what cannot be is told',
  { queues: 1 },
  async (link) => {
    const file = path('feeds');
    const b = { name: 'b', ip: '10.77.0.1', port: 9100, source: null };
    const group = { name: 'group', ip: '239.205.1.2', port: 9100, source: '10.77.0.2' };
    const feedsOf = async (replicator: Replicator) =>
      (await replicator.stats()).feeds.map((feed) => [feed.name, feed.ip, feed.port, feed.source]);
    const chosen = async (replicator: Replicator) =>
      (await replicator.list()).map(({ port, feeds }) => [port, feeds]);
    await withState(link, file, async (replicator) => {
      for (const { source, ...feed } of [b, group])
        await replicator.change({
          op: 'feed.add',
          ...feed,
          ...(source === null ? {} : { source }),
        });
      await replicator.change({ op: 'add', ip, port: 9001, feeds: ['b'] });
      await replicator.change({ op: 'add', ip, port: 9002, feeds: ['all'] });
      await replicator.change({ op: 'add', ip, port: 9003 });
    });
    await withState(link, file, async (replicator) => {
      assert.equal(
        (await feedsOf(replicator)).slice(1),
        [b, group].map((feed) => [feed.name, feed.ip, feed.port, feed.source]),
      );
      assert.equal(await chosen(replicator), [
        [9001, ['b']],
        [9002, ['main', 'b', 'group']],
        [9003, ['main']],
      ]);
      await replicator.change({ op: 'feed.add', name: 'late', ip: '10.77.0.1', port: 9101 });
      assert.equal((await chosen(replicator))[1], [9002, ['main', 'b', 'group', 'late']]);
      await replicator.change({ op: 'feed.remove', name: 'late' });
    });
    // another has its name: who got the state's gets none, and is told of
    await withState(
      link,
      file,
      async (replicator) => {
        assert.match(replicator.told(), /not restored: feed b: feed b is 10\.77\.0\.1:9200/);
        assert.equal((await feedsOf(replicator))[1], ['b', '10.77.0.1', 9200, null]);
      },
      ...['--feed', 'b=10.77.0.1:9200'],
    );
  },
);

networkTest(
  test,
  'subscribers, filters, parameters and leases are there again after a restart',
  { queues: 1 },
  async (link) => {
    const file = path('whole');
    let before: SubscriberRow[] = [];
    await withState(link, file, async (replicator) => {
      await replicator.subscribe([
        { ip, port: 9001 },
        { ip, port: 9002 },
      ]);
      await replicator.change({ op: 'add', ip, port: 9003, lease: 600 });
      await replicator.change({ op: 'add', ip, port: 9004, lease: 'session' });
      await replicator.change({ op: 'add', ip, port: 9005, lease: 1 });
      await replicator.cli('filter', 'load', 'marked', STOCK);
      await replicator.cli('filter', 'use', 'marked', ip, '9002', '--param', 'dscp=46');
      before = await replicator.list();
    });
    assert.is(statSync(file).mode & 0o777, 0o600);
    assert.is(statSync(`${file}.filters`).mode & 0o777, 0o700);
    const modules = readdirSync(`${file}.filters`).map((name) => join(`${file}.filters`, name));
    assert.equal(
      modules.map((each) => readFileSync(each)),
      [readFileSync(STOCK)],
    );
    await sleep(1000); // the shortest lease ends meanwhile
    await withState(link, file, async (replicator) => {
      const after = await replicator.list();
      const filterOf = (rows: SubscriberRow[], port: number) =>
        rows.find((row) => row.port === port)?.filter;
      assert.equal(portsOf(after), [9001, 9002, 9003, 9004]);
      for (const port of [9001, 9002, 9003, 9004])
        assert.is(filterOf(after, port), filterOf(before, port), String(port));
      const [, , timed, ofSession] = after;
      assert.ok(Number(timed?.expires_s) > 500 && Number(timed?.expires_s) <= 600);
      assert.ok(Number(ofSession?.expires_s) <= 30, 'time to come back in');
      assert.match(replicator.told(), /restored 4 of [45] subscribers/);
      await replicator.cli('filter', 'use', 'rewrite');
      await replicator.cli('filter', 'unload', 'marked');
      await eventually(
        'its module is not kept any longer',
        () => readdirSync(`${file}.filters`).length === 0,
      );
    });
  },
);

networkTest(
  test,
  'what a kill -9 of everything leaves is whole, and restored',
  { queues: 1 },
  async (link) => {
    const file = path('killed');
    const first = await Replicator.start({ link, flags: [...SOCKET, '--state', file] });
    for (let port = 9001; port <= 9050; port++) await first.add({ ip, port });
    await eventually('it is written', () => readFileSync(file, 'utf8').includes('"port": 9050'));
    for (let port = 9051; port <= 9100; port++) await first.add({ ip, port });
    for (const { pid } of first.processes()) process.kill(pid, 'SIGKILL');
    first.close();
    await withState(link, file, async (replicator) => {
      const ports = portsOf(await replicator.list());
      assert.ok(ports.length >= 50, String(ports.length));
      assert.equal(
        ports,
        Array.from(ports, (_, index) => 9001 + index),
      );
    });
  },
);

networkTest(
  test,
  'a file that is torn or of something else is kept aside, told in a line, and not believed',
  { queues: 1 },
  async (link) => {
    const file = path('torn');
    await withState(link, file, (replicator) => replicator.add({ ip, port: 9001 }));
    const whole = readFileSync(file);
    const others = ['', 'hello\n', '{"fantail":"state","version":99}', '[]'];
    for (const content of [...others, null]) {
      if (content === null) {
        writeFileSync(file, whole);
        truncateSync(file, whole.length - 7);
      } else writeFileSync(file, content);
      const bad = readFileSync(file);
      await withState(link, file, async (replicator) => {
        assert.equal(await replicator.list(), []);
        const [, aside = ''] = /it is (\S+) now, and not believed/.exec(replicator.told()) ?? [];
        assert.equal(readFileSync(aside), bad);
      });
    }
  },
);

networkTest(
  test,
  '--allow and the checks of modules apply again, and what is refused is told',
  { queues: 1 },
  async (link) => {
    const file = path('narrower');
    await withState(link, file, async (replicator) => {
      await replicator.add({ ip, port: 9001 });
      await replicator.cli('filter', 'load', 'marked', STOCK);
    });
    const [module = ''] = readdirSync(`${file}.filters`);
    writeFileSync(join(`${file}.filters`, module), 'another');
    const work = async (replicator: Replicator) => {
      assert.equal(await replicator.list(), []);
      assert.match(replicator.told(), /not restored: filter marked: its module is not in /);
      assert.match(replicator.told(), new RegExp(`not restored: ${ip}:9001: .*NOT_ALLOWED`));
    };
    await withState(link, file, work, '--allow', '192.0.2.0/24');
  },
);

networkTest(
  test,
  'who cannot have its own filter again is not served by another, and nothing of the file is lost',
  { queues: 1 },
  async (link) => {
    const file = path('missing');
    await withState(link, file, async (replicator) => {
      await replicator.add({ ip, port: 9001 });
      await replicator.add({ ip, port: 9002 });
      await replicator.cli('filter', 'load', 'marked', STOCK);
      await replicator.cli('filter', 'use', 'marked', ip, '9002', '--param', 'dscp=46');
    });
    const whole = readFileSync(file);
    const [module = ''] = readdirSync(`${file}.filters`);
    rmSync(join(`${file}.filters`, module));
    await withState(link, file, async (replicator) => {
      assert.equal(portsOf(await replicator.list()), [9001]);
      const [, aside = ''] = /was not restored is kept in (\S+)/.exec(replicator.told()) ?? [];
      assert.equal(readFileSync(aside), whole);
    });
  },
);

networkTest(
  test,
  '--filter beats the state, and a second fantail up may not have the same file',
  { queues: 1 },
  async (link) => {
    const file = path('both');
    await withState(link, file, async (replicator) => {
      await replicator.add({ ip, port: 9001 });
      const lo = ['--mode', 'socket', '--state', file];
      const second = await startUp({ link, interface: 'lo', listenIp: '127.0.0.1', flags: lo });
      assert.is((await second.program.wait()).status, 1);
      assert.match(second.program.told(), /another fantail up has --state /);
    });
    const work = async (replicator: Replicator) => {
      await replicator.add({ ip, port: 9002 });
      const filters = (await replicator.list()).map(({ filter }) => filter);
      assert.equal(filters, ['rewrite', 'dscp-ttl'], 'one that had its own keeps it');
      assert.match(replicator.told(), /filter dscp-ttl is that of --filter/);
    };
    await withState(link, file, work, '--filter', STOCK);
  },
);

networkTest(
  test,
  'a state that cannot be written ends the start; one that cannot be written later is told, and is written when there is room',
  { queues: 1 },
  async (link) => {
    const nowhere = await startUp({ link, flags: [...SOCKET, '--state', path('none/state')] });
    assert.is((await nowhere.program.wait()).status, 1);
    assert.match(nowhere.program.told(), /fantail up: cannot write the state: .*ENOENT/);
    const small = path('small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', small]);
    try {
      await withState(link, join(small, 'state'), async (replicator) => {
        const ballast = join(small, 'ballast');
        try {
          writeFileSync(ballast, Buffer.alloc(65_536));
        } catch {
          // full, as it should be
        }
        await replicator.add({ ip, port: 9001 });
        await eventually('it is told', () => /ENOSPC.*do not outlive/.test(replicator.told()));
        assert.equal(portsOf(await replicator.list()), [9001], 'it serves on');
        rmSync(ballast);
        await eventually('it is written again', () =>
          /written to .* again/.test(replicator.told()),
        );
        assert.match(readFileSync(join(small, 'state'), 'utf8'), /"port": 9001/);
      });
    } finally {
      execFileSync('umount', ['-l', small]);
    }
  },
);

test.run();
