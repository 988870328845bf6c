/**
 * Goal: a configuration file that has changed is applied to a replicator that runs, as far as that
 * can be, without a packet lost; what cannot be is refused with its reason, and a wrong file
 * changes nothing. Method: the file is rewritten, and read again by whichever of the three ways.
 *
 * needs: a link
 * takes: 100 s
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { connectClient } from '../../src/control/client.js';
import type {
  ChangeRow,
  ConfigurationAnswer,
  ReloadAnswer,
} from '../../src/domain/configuration.js';
import { AppliedLater, FantailError } from '../../src/domain/errors.js';
import { orLater } from '../../src/replicator/reload/roster.js';
import { HOSTS, type Link, REPLICATOR_IP } from '../rig/link.js';
import {
  atNice,
  eventually,
  INSTRUMENT_NICE,
  MAIN,
  Program,
  ROOT,
  SERVICE_NICE,
  sleep,
} from '../rig/program.js';
import { fantail, freePort, Replicator } from '../rig/replicator.js';
import {
  assertLossless,
  copyMode,
  LAYOUTS,
  networkTest,
  subscribersOf,
  transfer,
  withReplicator,
} from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  replicatedRoute,
  type Sunk,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('reload');
const folder = mkdtempSync(join(tmpdir(), 'reload-'));
test.after(() => rmSync(folder, { recursive: true }));
const FILE = join(folder, 'F.yaml');
const [ip = ''] = HOSTS;
const SOCKET = ['--mode', 'socket', '--layout', 'inline'];
const stock = (name: string) => join(ROOT, 'build', 'filters', `${name}.wasm`);

const write = (...lines: string[]) => writeFileSync(FILE, `${lines.join('\n')}\n`);
const answered = async (replicator: Replicator) =>
  (await replicator.ask({ op: 'reload' })) as unknown as ReloadAnswer; // the server's own type
const keysOf = (rows: readonly ChangeRow[]) => rows.map(({ key }) => key);
const settingsOf = async (replicator: Replicator) =>
  ((await replicator.ask({ op: 'config' })) as unknown as ConfigurationAnswer).settings;

const rowsOf = async (replicator: Replicator) =>
  (await replicator.list()).map(({ port, filter, feeds }) => [port, filter, feeds]);

/** With a file in place of flags, and these flags beside it. */
const withFile = (
  link: Link,
  work: (replicator: Replicator) => Promise<void>,
  ...flags: string[]
) => withReplicator({ link, flags: ['--config', FILE, ...flags] }, work);

/** A reload that has changed nothing says why. */
async function refusedWhole(replicator: Replicator, why: RegExp): Promise<void> {
  const before = await settingsOf(replicator);
  const rows = await replicator.list();
  let said = '';
  await answered(replicator).catch((error: unknown) => {
    said = String(error);
  });
  assert.match(said, why);
  assert.match(said, /\(\w+\)$/);
  assert.equal(await settingsOf(replicator), before);
  assert.equal(await replicator.list(), rows);
}

networkTest(
  test,
  'feeds, subscribers, filters and limits of the file are there from the start, and other ones after a reload',
  { queues: 1 },
  async (link) => {
    copyFileSync(stock('dscp-ttl'), join(folder, 'mine.wasm'));
    const head = [
      'mode: socket',
      'layout: inline',
      'filters:',
      '  - name: mine',
      '    file: mine.wasm',
    ];
    write(
      ...head,
      'feed: [b=10.77.0.1:9100]',
      'subscribers:',
      `  - { ip: ${ip}, port: 9001 }`,
      `  - { ip: ${ip}, port: 9002, feeds: "main,b", filter: mine, param: dscp=46 }`,
    );
    await withFile(link, async (replicator) => {
      const rows = () => rowsOf(replicator);
      assert.equal(await rows(), [
        [9001, 'rewrite', ['main']],
        [9002, 'mine', ['main', 'b']],
      ]);
      await replicator.add({ ip, port: 9009 }); // by the control channel: no affair of the file's
      const same = await answered(replicator);
      assert.equal([same.applied, same.refused], [[], []], 'nothing is different');
      copyFileSync(stock('sample'), join(folder, 'mine.wasm'));
      write(
        ...head,
        '  - name: gre',
        'feed: [b=10.77.0.1:9101, c=10.77.0.1:9102]',
        'allow: [10.77.0.0/24, 10.78.0.0/16]',
        'multicast-ttl: 4',
        'metrics-subscribers: 1',
        'log-level: debug',
        'queues: 0',
        'order: fixed',
        'subscribers:',
        `  - { ip: ${ip}, port: 9003, feeds: c }`,
        `  - { ip: ${ip}, port: 9002, feeds: "main,b" }`,
      );
      const { applied, refused } = await answered(replicator);
      assert.equal(keysOf(applied).sort(), [
        ...['allow', 'feed', 'feed', 'filters', 'filters', 'log-level', 'metrics-subscribers'],
        ...['multicast-ttl', 'subscribers', 'subscribers', 'subscribers'],
      ]);
      assert.equal(keysOf(refused), ['queues', 'order']);
      for (const { reason } of refused)
        assert.match(reason, /^needs a restart of the data plane: stop fantail up, and start/);
      assert.equal(await rows(), [
        [9002, 'rewrite', ['main', 'b']],
        [9009, 'rewrite', ['main']],
        [9003, 'rewrite', ['c']],
      ]);
      const feeds = (await replicator.stats()).feeds.map(({ name, port }) => `${name} ${port}`);
      assert.equal(feeds, ['main 9000', 'b 9101', 'c 9102']);
      await replicator.add({ ip: '10.78.0.1', port: 1 });
      const mine = await replicator.ask({ op: 'filter.info', name: 'mine' });
      const sample = execFileSync('sha256sum', [stock('sample')], { encoding: 'utf8' });
      assert.is((mine.filter as { hash: string }).hash, sample.slice(0, 64));
      const lines = replicator.told().match(/reload: .*/g) ?? [];
      assert.is(lines.filter((line) => line.endsWith(': applied')).length, applied.length);
      assert.ok(lines.some((line) => /queues: all → 0: refused: needs a restart/.test(line)));
      const settings = await settingsOf(replicator);
      const row = (key: string) => settings.find((each) => each.key === key);
      assert.equal(row('queues'), { key: 'queues', value: 'all', from: 'default', waiting: '0' });
      assert.equal(row('multicast-ttl'), { key: 'multicast-ttl', value: '4', from: `${FILE}:9` });
      // what is refused is told again, and what is applied is not
      const again = await answered(replicator);
      assert.equal([keysOf(again.applied), keysOf(again.refused)], [[], ['queues', 'order']]);
    });
  },
);

networkTest(
  test,
  'a wrong file, or one whose subscribers, feeds or modules are refused, changes nothing',
  { queues: 1 },
  async (link) => {
    const head = [
      ...['mode: socket', 'layout: inline'],
      'subscribers:',
      `  - { ip: ${ip}, port: 1 }`,
    ];
    write(...head);
    writeFileSync(join(folder, 'bad.wasm'), 'hello');
    await withFile(link, async (replicator) => {
      const more = `  - { ip: ${ip}, port: 2 }`;
      write(...head, more, 'order: random');
      await refusedWhole(replicator, /F\.yaml:6:8: order must be one of rotate, fixed/);
      write(...head, more, '  - { ip: 10.99.0.1, port: 2 }');
      await refusedWhole(replicator, /F\.yaml:6:5: 10\.99\.0\.1:2 is outside what is allowed/);
      write(...head, more, `  - { ip: ${REPLICATOR_IP}, port: 2 }`);
      await refusedWhole(replicator, /10\.77\.0\.1:2 is fantail's own address/);
      write(...head, more, 'filter: bad.wasm');
      await refusedWhole(replicator, /filter bad: /);
      write(...head, more, 'filter: none.wasm');
      await refusedWhole(replicator, /cannot read the filter: ENOENT/);
      write(...head, more, 'allow: [10.77.0.200/32]'); // up would not start with it either
      await refusedWhole(replicator, /F\.yaml:4:5: .*:1 is outside what is allowed/);
      await replicator.change({ op: 'feed.add', name: 'b', ip: REPLICATOR_IP, port: 9100 });
      write(...head, more, `feed: ["b=${REPLICATOR_IP}:9101"]`);
      await refusedWhole(replicator, /feed b is 10\.77\.0\.1:9100; remove it first/);
      write(...head, more, `feed: ["d=${REPLICATOR_IP}:9100"]`);
      await refusedWhole(replicator, /feed b is 10\.77\.0\.1:9100; .* another address/);
      const others = Array.from(
        { length: 63 },
        (_, index) => `b${index}=${REPLICATOR_IP}:${9200 + index}`,
      );
      write(...head, more, `feed: [${others.join(', ')}]`);
      await refusedWhole(replicator, /64 feeds are served/);
      await replicator.change({ op: 'feed.remove', name: 'b' });
      write(...head, more, `feed: ["b=${ip}:2"]`);
      await refusedWhole(replicator, /2 is the feed b itself/);
      rmSync(FILE);
      await refusedWhole(replicator, /cannot read the configuration: ENOENT/);
      write(...head, more);
      assert.equal(keysOf((await answered(replicator)).applied), ['subscribers']);
    });
  },
);

networkTest(
  test,
  'after a restart with a state the file goes first for those that it names',
  { queues: 1 },
  async (link) => {
    const head = [
      ...['mode: socket', 'layout: inline', 'filters: [{ name: gre }, { name: dscp-ttl }]'],
      ...[`state: ${join(folder, 'state')}`, 'subscribers:'],
    ];
    const one = (port: number, more = '') => `  - { ip: ${ip}, port: ${port}${more} }`;
    write(...head, one(9001), one(9002, ', filter: dscp-ttl, param: dscp=46'));
    await withFile(link, async (replicator) => {
      await replicator.add({ ip, port: 9009 });
      await replicator.change({
        op: 'filter.use',
        name: 'dscp-ttl',
        ip,
        port: 9001,
        param: 'dscp=8',
      });
      await replicator.change({ op: 'filter.use', name: 'rewrite', ip, port: 9002 });
    });
    write(...head, one(9001), one(9002, ', filter: dscp-ttl'), one(9003));
    await withFile(link, async (replicator) => {
      assert.equal(await rowsOf(replicator), [
        [9001, 'dscp-ttl', ['main']],
        [9002, 'dscp-ttl', ['main']],
        [9009, 'rewrite', ['main']],
        [9003, 'rewrite', ['main']],
      ]);
    });
  },
);

networkTest(
  test,
  'up ends with 2 where a subscriber or module of its file can never be, before anything is opened',
  { queues: 1 },
  async (link) => {
    writeFileSync(join(folder, 'bad.wasm'), 'hello');
    const ends = async (why: RegExp, ...lines: string[]) => {
      write('mode: copy', 'layout: inline', `netns: ${link.replicator}`, ...lines);
      const words = ['up', 'rep0', REPLICATOR_IP, '9000', '--config', FILE];
      const program = new Program(process.execPath, [MAIN, ...words]);
      assert.is((await program.wait()).status, 2, program.told());
      assert.match(program.stderr, why);
      assert.not.match(program.told(), /fantail-rx/);
    };
    const subscribers = `subscribers: [{ ip: ${ip}, port: 1 }]`;
    await ends(/F\.yaml:5:15: .*:1 is outside what/, 'allow: [10.78.0.0/16]', subscribers);
    await ends(/F\.yaml:4:11: /, 'filters: [{ name: mine, file: bad.wasm }]');
  },
);

networkTest(
  test,
  'by SIGHUP, by fantail reload and by the control channel; without a file there is nothing to read',
  { queues: 1 },
  async (link) => {
    write('mode: socket', 'layout: inline');
    await withFile(link, async (replicator) => {
      write('mode: socket', 'layout: inline', 'multicast-ttl: 2');
      process.kill(replicator.program.pid, 'SIGHUP');
      await eventually('it is applied', () => /ttl: 1 → 2: applied/.test(replicator.told()));
      write('mode: socket', 'layout: split', 'multicast-ttl: 3');
      const url = `ws://${replicator.control}`;
      const { end, stdout } = await fantail(['reload', '--control', url]);
      assert.is(end?.status, 1, 'a part waits for a restart');
      assert.match(stdout, /^applied {2}multicast-ttl: 2 → 3$/m);
      assert.match(
        stdout,
        /^refused {2}layout: inline → split: needs a restart of the data plane/m,
      );
      assert.match(await replicator.cli('config', 'show'), /after a restart: split/);
      write('mode: socket', 'layout: inline', 'multicast-ttl: 3');
      assert.match(await replicator.cli('reload'), /: nothing is different$/m);
      assert.equal(JSON.parse(await replicator.cli('reload', '--json')).applied, []);
      const words = ['-c', url, '-x', 'reload', '-w', '60'];
      const wscat = new Program('node_modules/.bin/wscat', words);
      await wscat.line(/ok 0 applied, 0 refused/);
      wscat.close();
    });
    await withReplicator({ link, flags: SOCKET }, async (replicator) => {
      process.kill(replicator.program.pid, 'SIGHUP');
      await eventually('it says so', () =>
        /nothing has changed: there is no/.test(replicator.told()),
      );
      await refusedWhole(replicator, /no file to read again: .* without --config/);
    });
  },
);

networkTest(
  test,
  'other tokens hold for who comes, and end sessions that have shown none of them',
  { queues: 1 },
  async (link) => {
    const tokens = ['all', 'read', 'other'].map((name) => {
      const path = join(folder, name);
      writeFileSync(path, `the-token-${name}\n`, { mode: 0o600 });
      return path;
    });
    const [all = '', read = '', other = ''] = tokens;
    const control = `127.0.0.1:${await freePort()}`;
    const url = `ws://${control}`;
    const head = [
      'mode: socket',
      'layout: inline',
      `control: ${control}`,
      `netns: ${link.replicator}`,
    ];
    const words = ['interface: rep0', `listen-ip: ${REPLICATOR_IP}`, 'listen-port: 9000'];
    write(...words, ...head, 'token-file: all', 'read-token-file: read');
    const program = new Program(process.execPath, [MAIN, 'up', '--config', FILE]);
    try {
      await program.line(/^ready /m);
      const reader = await connectClient({ control: url, tokenFile: read });
      const owner = await connectClient({ control: url, tokenFile: all });
      const untilEnd = (client: typeof reader) =>
        client.untilEnd(new AbortController().signal).then(String, String);
      const ended = untilEnd(reader);
      const ownerEnded = untilEnd(owner);
      writeFileSync(read, 'a-new-one\n', { mode: 0o600 });
      const first = await owner.ask({ op: 'reload' });
      assert.ok(first.body.ok && first.body.applied[0]?.after?.endsWith('(with other contents)'));
      assert.match(await ended, /the token has changed/);
      assert.ok((await owner.ask({ op: 'list' })).body.ok, 'whose token is the same stays');
      write(...words, ...head, 'token-file: other', 'read-token-file: read');
      const second = await owner.ask({ op: 'reload' });
      assert.ok(second.body.ok, 'the answer comes before the end');
      assert.match(await ownerEnded, /the token has changed/);
      const old = await connectClient({ control: url, tokenFile: all }).catch((error) =>
        String(error),
      );
      assert.match(String(old), /refuses the token/);
      const now = await connectClient({ control: url, tokenFile: other });
      assert.ok((await now.ask({ op: 'list' })).body.ok);
      now.close();
      program.signal('SIGTERM');
      assert.is((await program.wait()).status, 0, program.told());
    } finally {
      program.close();
    }
  },
);

networkTest(
  test,
  'a file without control and tokens takes none from a port that stays where others reach it',
  { queues: 1 },
  async (link) => {
    const token = join(folder, 'beyond');
    writeFileSync(token, 'a-token\n', { mode: 0o600 });
    const control = `${REPLICATOR_IP}:${await freePort()}`;
    const head = [
      ...['interface: rep0', `listen-ip: ${REPLICATOR_IP}`, 'listen-port: 9000', 'mode: socket'],
      'layout: inline',
    ];
    write(...head, `control: ${control}`, 'token-file: beyond');
    const program = new Program(process.execPath, [MAIN, 'up', '--config', FILE], {
      namespace: link.replicator,
    });
    try {
      await program.line(/^ready /m);
      write(...head);
      program.signal('SIGHUP');
      await eventually('it is refused', () =>
        /token-file: .* → not set: refused: the control port stays/.test(program.stderr),
      );
      assert.match(program.stderr, /control: .* refused/);
      assert.not.match(program.stderr, /: applied/);
      program.signal('SIGTERM');
      assert.is((await program.wait()).status, 0, program.told());
    } finally {
      program.close();
    }
  },
);

function certificate(name: string): void {
  const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
  const words = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const rest = ['-days', '9', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', ...words, ...files, ...rest], { stdio: 'ignore' });
}

networkTest(
  test,
  'a certificate that was renewed is shown to who comes; legacy control moves, and who is outside a narrower allow is told of',
  { queues: 1 },
  async (link) => {
    certificate('one');
    const control = `127.0.0.1:${await freePort()}`;
    const head = [
      ...['interface: rep0', `listen-ip: ${REPLICATOR_IP}`, 'listen-port: 9000', 'mode: socket'],
      ...['layout: inline', `control: ${control}`, `netns: ${link.replicator}`],
    ];
    const tls = ['tls-cert: cert.pem', 'tls-key: key.pem'];
    const legacy = [await freePort(), await freePort()].map((port) => `127.0.0.1:${port}`);
    write(...head, ...tls, `legacy-control: ${legacy[0]}`);
    const program = new Program(process.execPath, [MAIN, 'up', '--config', FILE]);
    try {
      await program.line(/^ready /m);
      const ask = (...words: string[]) =>
        fantail([...words, '--control', `wss://${control}`, '--tls-ca', join(folder, 'cert.pem')]);
      const listed = async (at = '') => {
        const [host = '', port = ''] = at.split(':');
        const client = join(ROOT, 'build', 'programs', 'bin', 'control_client.js');
        const asked = new Program(process.execPath, [client, host, 'list', '--control-port', port]);
        return (await asked.wait()).status;
      };
      assert.is((await ask('add', ip, '9001')).end?.status, 0);
      assert.is(await listed(legacy[0]), 0);
      certificate('two');
      assert.match((await ask('list')).stderr, /is not trusted/);
      write(...head, ...tls, `legacy-control: ${legacy[1]}`, 'allow: [10.77.0.200/32]');
      program.signal('SIGHUP');
      await eventually('it is applied', () => /tls-key: .*: applied/.test(program.stderr));
      assert.is((await ask('list')).end?.status, 0);
      assert.is(await listed(legacy[1]), 0);
      assert.is(await listed(legacy[0]), 1, 'nobody is there any more');
      assert.match(program.stderr, new RegExp(`1 that are subscribed are outside .*: ${ip}:9001`));
      assert.match((await ask('add', ip, '9002')).stderr, /outside what is allowed/);
      write(...head, `legacy-control: ${legacy[1]}`);
      const { stdout } = await ask('reload');
      assert.match(stdout, /^refused {2}tls-cert: .* → not set: needs another fantail up/m);
      program.signal('SIGTERM');
      assert.is((await program.wait()).status, 0, program.told());
    } finally {
      program.close();
    }
  },
);

networkTest(
  test,
  'a terminal that is closed ends it in order, and is no reload',
  { queues: 1 },
  async (link) => {
    write('mode: socket', 'layout: inline', 'log-level: info');
    const log = join(folder, 'log');
    const control = `127.0.0.1:${await freePort()}`;
    const place = `--netns ${link.replicator} --control ${control}`;
    const up = `up rep0 ${REPLICATOR_IP} 9000 --config ${FILE} ${place}`;
    const line = `exec ${process.execPath} ${MAIN} ${up} 2>${log} >/dev/null`;
    const program = new Program('script', ['-qec', line, '/dev/null'], { group: true });
    try {
      await eventually('it answers', async () => {
        return (await fantail(['list', '--control', `ws://${control}`])).end?.status === 0;
      });
      process.kill(program.pid, 'SIGKILL');
      await eventually('it has stopped', async () => {
        return (await fantail(['list', '--control', `ws://${control}`])).end?.status === 1;
      });
      assert.match(readFileSync(log, 'utf8'), /stopping/);
      assert.not.match(readFileSync(log, 'utf8'), /reload/);
    } finally {
      program.close();
    }
  },
);

networkTest(
  test,
  'a SIGHUP that comes while it starts is a reload once it is ready',
  { queues: 1 },
  async (link) => {
    const control = `127.0.0.1:${await freePort()}`;
    write('mode: socket', 'layout: inline', `netns: ${link.replicator}`, `control: ${control}`);
    const words = ['up', 'rep0', REPLICATOR_IP, '9000', '--config', FILE];
    const program = new Program(process.execPath, [MAIN, ...words]);
    try {
      const caught = () => {
        const status = readFileSync(`/proc/${program.pid}/status`, 'utf8');
        return BigInt(`0x${/^SigCgt:\s+(\w+)$/m.exec(status)?.[1] ?? 0}`);
      };
      await eventually('SIGHUP is caught', () => (caught() & 1n) !== 0n, 5000, 1);
      assert.not.match(program.stdout, /^ready /m);
      program.signal('SIGHUP');
      await program.line(/^ready /m);
      await eventually('it is done', () => /reload: nothing is different/.test(program.stderr));
      program.signal('SIGTERM');
      assert.is((await program.wait()).status, 0, program.told());
    } finally {
      program.close();
    }
  },
);

networkTest(
  test,
  'in the background of a terminal that went away without a signal, a later SIGHUP is a reload',
  { queues: 1 },
  async (link) => {
    const control = `127.0.0.1:${await freePort()}`;
    write('mode: socket', 'layout: inline', `netns: ${link.replicator}`, `control: ${control}`);
    const [log, number] = [join(folder, 'background.log'), join(folder, 'background.pid')];
    const up = `up rep0 ${REPLICATOR_IP} 9000 --config ${FILE}`;
    // a job of its own process group: the kernel tells the shell, and nobody else
    const line = `set -m; ${process.execPath} ${MAIN} ${up} > ${log} 2>&1 & echo $! > ${number}; sleep 600`;
    const shell = new Program('script', ['-qec', line, '/dev/null'], { group: true });
    const told = () => readFileSync(log, 'utf8');
    let pid = 0;
    try {
      await eventually('it is ready', () => /^ready /m.test(existsSync(log) ? told() : ''));
      pid = Number(readFileSync(number, 'utf8'));
      process.kill(shell.pid, 'SIGKILL');
      await sleep(4000); // two looks at the terminal are past
      process.kill(pid, 'SIGHUP');
      await eventually('it is read', () => /reload: nothing is different/.test(told()));
      process.kill(pid, 'SIGTERM');
      await eventually('it has stopped', async () => {
        return (await fantail(['list', '--control', `ws://${control}`])).end?.status === 1;
      });
      pid = 0;
    } finally {
      if (pid !== 0) process.kill(pid, 'SIGTERM');
      shell.close();
    }
  },
);

networkTest(
  test,
  'each feed is a change of its own: one that cannot move stays with its subscribers, and holds no other up',
  { queues: 1 },
  async (link) => {
    const [good, other] = [`c=${REPLICATOR_IP}:9101`, `c=${REPLICATOR_IP}:9102`];
    const b = `b=${REPLICATOR_IP}:9100`;
    const head = ['mode: socket', 'layout: inline'];
    write(...head, `feed: [${b}, ${good}]`);
    await withFile(link, async (replicator) => {
      await replicator.change({ op: 'add', ip, port: 9001, feeds: ['b', 'c'] });
      const feeds = async () =>
        (await replicator.stats()).feeds.map(({ name, port }) => `${name} ${port}`).sort();
      // an address that this host has not: only bind tells, in socket mode
      write(...head, `feed: [b=10.77.0.99:9100, ${other}, d=10.77.0.99:9103]`);
      const { applied, refused } = await answered(replicator);
      assert.equal(
        applied.map(({ before, after }) => [before, after]),
        [[good, other]],
      );
      assert.equal(refused.map(({ before }) => before).sort(), [b, null].sort());
      assert.equal(await feeds(), ['b 9100', 'c 9102', 'main 9000']);
      const [row] = await replicator.list();
      assert.equal([...(row?.feeds ?? [])].sort(), ['b', 'c']);
      const waiting = (await settingsOf(replicator)).find(({ key }) => key === 'feed')?.waiting;
      assert.match(String(waiting), /^b=10\.77\.0\.99:9100, .*, d=/);
      write(...head, `feed: [${b}, ${other}]`);
      const after = await answered(replicator);
      assert.equal([after.applied, after.refused], [[], []], 'as it is now');
      write(...head, `feed: [${b}, ${good}]`);
      assert.equal(keysOf((await answered(replicator)).applied), ['feed']);
      assert.equal(await feeds(), ['b 9100', 'c 9101', 'main 9000']);
    });
  },
);

networkTest(
  test,
  'who is named by the file stays for good, whatever lease it came by; a level that hides the lines of a reload holds after them',
  { queues: 1 },
  async (link) => {
    const head = ['mode: socket', 'layout: inline'];
    write(...head);
    await withFile(link, async (replicator) => {
      await replicator.change({ op: 'add', ip, port: 9001, lease: 600 });
      write(
        ...head,
        'log-level: warn',
        'multicast-ttl: 3',
        'subscribers:',
        `  - { ip: ${ip}, port: 9001 }`,
      );
      await answered(replicator);
      assert.is((await replicator.list())[0]?.expires_s, null);
      assert.match(replicator.told(), /multicast-ttl: 1 → 3: applied/);
      assert.match(replicator.told(), /log-level: info → warn: applied/);
      write(...head, 'log-level: warn', 'multicast-ttl: 2');
      await answered(replicator);
      assert.not.match(replicator.told(), /multicast-ttl: 3 → 2/);
    });
  },
);

test('done later is what the publisher says so of; any other BUSY is of what was not done', async () => {
  await orLater(Promise.reject(new AppliedLater()));
  const dropped = new FantailError('BUSY', 'a worker did not load the filter');
  const said = await orLater(Promise.reject(dropped)).catch((error: unknown) => error);
  assert.is(said, dropped);
});

networkTest(
  test,
  'a reload that is under way when it is stopped ends, and changes nothing more',
  { queues: 1 },
  async (link) => {
    const head = ['mode: socket', 'layout: inline'];
    write(...head);
    const replicator = await Replicator.start({ link, flags: ['--config', FILE] });
    try {
      copyFileSync(stock('sample'), join(folder, 'mine.wasm'));
      write(...head, 'multicast-ttl: 2', 'filters: [{ name: mine, file: mine.wasm }]');
      process.kill(replicator.program.pid, 'SIGHUP');
      assert.equal(await replicator.stop(), { status: 0, signal: null }, replicator.told());
      assert.match(replicator.told(), /reload: nothing has changed: fantail is stopping/);
      assert.not.match(replicator.told(), /applied/);
      assert.equal(await replicator.residue(), []);
    } finally {
      replicator.close();
    }
  },
);

const RELOADS = 12;
const SECOND_PORT = 9200;
const SECOND_COUNT = 3000;
const SECOND = { port: SECOND_PORT, rate: 1000, count: SECOND_COUNT };

/** Under what the file is read again and again. */
interface Under {
  readonly layout: 'inline' | 'split';
  /**
   * Packets a second. At each, whatever is lost must be counted, and nothing may come twice; the
   * next one is for a machine that had no room for the one before.
   */
  readonly rates: readonly number[];
  /** The feed of those whose filter stays: main, or the slow one. */
  readonly others: 'main' | 'd';
}

/**
 * A file again and again: its filter's module, feeds, limits and subscribers change, a wrong one
 * comes between. `swapped` has the filter, `changed` another choice of feeds and filters each time.
 */
class Turns {
  /** Changes that the replicator has applied. */
  applied = 0;
  private readonly head: readonly string[];
  private readonly stable: readonly string[];

  constructor(
    private readonly under: Under,
    still: Destination,
    swapped: Destination,
    private readonly changed: Destination,
  ) {
    const [mode = '', modeName = '', flag = '', layoutName = ''] = copyMode(under.layout);
    assert.equal([mode, flag], ['--mode', '--layout']);
    const filters = 'filters: [{ name: mine, file: mine.wasm }]';
    this.head = [`mode: ${modeName}`, `layout: ${layoutName}`, filters];
    this.stable = [
      subscriberLine(still, `, feeds: ${under.others}`),
      subscriberLine(swapped, ', filter: mine'),
    ];
    this.begin();
  }

  /** As it is when the replicator starts. */
  private begin(): void {
    copyFileSync(stock('rewrite'), join(folder, 'mine.wasm'));
    const feeds = `feed: [${movingFeed(2)}, ${STILL_FEED}]`;
    write(...this.head, feeds, 'subscribers:', ...this.stable, this.changedLine(1));
  }

  async take(replicator: Replicator): Promise<void> {
    this.applied = 0;
    for (let index = 0; index < RELOADS; index++) await this.turn(replicator, index);
  }

  private changedLine(index: number): string {
    const { others } = this.under;
    const more = index % 2 === 0 ? `, feeds: ${others}` : `, feeds: "${others},b", filter: mine`;
    return subscriberLine(this.changed, more);
  }

  private async turn(replicator: Replicator, index: number): Promise<void> {
    const { head, stable, under } = this;
    const isEven = index % 2 === 0;
    copyFileSync(stock(isEven ? 'dscp-ttl' : 'rewrite'), join(folder, 'mine.wasm'));
    const third = index % 3 === 0 ? '' : `, c=${REPLICATOR_IP}:9110`;
    const comer = { ip, port: 20_000 + index };
    write(
      ...head,
      `feed: [${STILL_FEED}, ${movingFeed(index)}${third}]`,
      `multicast-ttl: ${1 + (index % 2)}`,
      `log-level: ${isEven ? 'info' : 'debug'}`,
      `allow: [10.77.0.0/24, 10.${index}.0.0/16]`,
      `queues: ${isEven ? 'all' : '0'}`,
      ...['subscribers:', ...stable, this.changedLine(index)],
      ...(index % 4 === 0 ? [] : [subscriberLine(comer, `, feeds: ${under.others}, filter: mine`)]),
    );
    this.applied += (await answered(replicator)).applied.length;
    write(...head, 'order: random');
    await answered(replicator).then(
      () => assert.unreachable('a wrong file'),
      (error) => assert.match(String(error), /order must be/),
    );
  }
}

const movingFeed = (index: number) => `b=${REPLICATOR_IP}:${9100 + (index % 3)}`;
const STILL_FEED = `d=${REPLICATOR_IP}:${SECOND_PORT}`;
const subscriberLine = ({ ip, port }: Destination, more = '') =>
  `  - { ip: ${ip}, port: ${port}${more} }`;

/** All but those that come and go. */
const owedOf = ({ subscribers }: Sunk) => subscribers.filter(({ port }) => port < 20_000);

/** Nobody who is owed packets misses one, where it runs as its service does. */
async function reloadUnder(link: Link, under: Under): Promise<void> {
  const { rates, others } = under;
  // one that nobody touches, one whose module is swapped, one whose feeds and filter the file
  // changes; the last is the control channel's, of a feed that moves
  const subscribers = subscribersOf(4);
  const [still, swapped, changed, other] = subscribers;
  assert.ok(still && swapped && changed && other);
  const turns = new Turns(under, still, swapped, changed);
  const watched = Array.from({ length: RELOADS }, (_, i) => ({ ip, port: 20_000 + i }));
  const work = async (replicator: Replicator) => {
    const { ip: host, port } = other;
    await replicator.change({ op: 'add', ip: host, port, feeds: [others, 'b'] });
    // a feed beside it, whose address stays: to one who has it alone
    const route = { ...replicatedRoute(link), sourcePort: SECOND_PORT };
    const beside = { ...still, port: still.port + 100 };
    await replicator.change({ op: 'add', ip: beside.ip, port: beside.port, feeds: ['d'] });
    await replicator.subscribe([still, swapped, changed, other, beside]);
    const [fast, slow] =
      others === 'main'
        ? [{ subscribers, watched }, { subscribers: [beside] }]
        : [
            { subscribers: [swapped] },
            { subscribers: [beside, still, changed, other], extras: watched },
          ];
    for (const [index, rate] of rates.entries()) {
      const sink = await startSink(route, { ...slow, expect: SECOND_COUNT });
      const meanwhile = async () => {
        const fed = startFeed(replicatedRoute(link), SECOND);
        await turns.take(replicator);
        await fed.result();
      };
      const fed = { ...fast, rate, count: rate, meanwhile };
      const sunk = await atNice(INSTRUMENT_NICE, () => transfer(replicator, fed));
      const bySlow = await sink.stop();
      const second = faultsOf({ ...bySlow, subscribers: owedOf(bySlow) }, SECOND_COUNT);
      assert.ok(turns.applied > 3 * RELOADS, `${turns.applied} changes were applied`);
      const rows = await replicator.list();
      const row = rows.find((each) => each.ip === host && each.port === port);
      assert.equal([...(row?.feeds ?? [])].sort(), ['b', others], 'it keeps a feed that moves');
      const owed = owedOf(sunk);
      for (const { duplicated, corrupt, bad_header } of owed)
        assert.equal([duplicated, corrupt, bad_header], [0, 0, 0]);
      const lost = [...second, ...faultsOf({ ...sunk, subscribers: owed }, sunk.sent)];
      console.log(`     ${turns.applied} changes, ${sunk.sent} packets at ${rate}/s: ${lost}`);
      if (lost.length === 0) return;
      await replicator.check(); // what is missing is in the counters
      if (index < rates.length - 1) continue;
      // a machine that is loud may lose some at any rate, and none of them uncounted
      await assertLossless(replicator, { ...sunk, subscribers: owed });
      if (!sunk.isLoud) assert.equal(second, []);
    }
  };
  await withReplicator({ link, flags: ['--config', FILE] }, work, SERVICE_NICE);
}

for (const layout of LAYOUTS)
  networkTest(
    test,
    `nothing is lost over ${RELOADS} reloads in which feeds, filters, subscribers and limits change: ${layout}`,
    { queues: 1 },
    // four copies of each packet, which two cores have room for
    (link) => reloadUnder(link, { layout, rates: [20_000, 5000], others: 'main' }),
  );

networkTest(
  test,
  'nothing is lost over as many reloads under 100,000 packets a second: inline',
  { queues: 1 },
  // one copy of each; RX, a worker, a feed and a sink by themselves lose some on two cores
  (link) => reloadUnder(link, { layout: 'inline', rates: [100_000], others: 'd' }),
);

test.run();
