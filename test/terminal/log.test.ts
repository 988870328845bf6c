/**
 * Goal: what `fantail up` tells can be read by people, by programs and in the systemd journal; of
 * each change there is one line that says who asked for it. Method: every operation that changes
 * something, by the real control channel; the lines as they come out, and a journald of the test's
 * own as the judge of entries.
 *
 * needs: a link
 * takes: 20 s
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { operations, type Question } from '../../src/control/operations.js';
import { addon } from '../../src/memory/addon.js';
import { stock } from '../filters/loading.js';
import { isLater } from '../rig/channel.js';
import { HOSTS, REPLICATOR_IP } from '../rig/link.js';
import { eventually, lackForNetwork, MAIN, Program } from '../rig/program.js';
import { fantail, Replicator, startUp } from '../rig/replicator.js';
import { copyMode, networkTest, socketMode, withReplicator } from '../rig/scenario.js';
import { LISTEN_PORT } from '../rig/wire.js';

const test = suite('log');

const [HOST = ''] = HOSTS;
const ONE = { ip: HOST, port: 9101 };
const SUBSCRIBER = `${HOST}:9101`;
const base64 = (bytes: Uint8Array) => `base64:${Buffer.from(bytes).toString('base64')}`;
const FEED = { name: 'b', ip: REPLICATOR_IP, port: 9200 };

interface Asked {
  readonly question: Question;
  /** As it is told: what, and how it was answered. */
  readonly text: string;
  /** Of the line, beside op and who. */
  readonly about: Readonly<Record<string, string>>;
}

const asked = (question: Question, text: string, about: Asked['about']): Asked => ({
  question,
  text,
  about: { code: 'ok', ...about },
});

/** Every operation that changes something, done and refused. */
const CHANGES: readonly Asked[] = [
  asked({ op: 'add', ...ONE }, `add ${HOST} 9101: ok`, { subscriber: SUBSCRIBER }),
  asked({ op: 'add', ip: '192.0.2.1', port: 9 }, 'add 192.0.2.1 9: NOT_ALLOWED', {
    subscriber: '192.0.2.1:9',
    code: 'NOT_ALLOWED',
  }),
  asked({ op: 'pause', ...ONE }, `pause ${HOST} 9101: ok`, { subscriber: SUBSCRIBER }),
  asked({ op: 'pause', ip: HOST, port: 1 }, `pause ${HOST} 1: NOT_FOUND`, {
    subscriber: `${HOST}:1`,
    code: 'NOT_FOUND',
  }),
  asked({ op: 'resume', ...ONE }, `resume ${HOST} 9101: ok`, { subscriber: SUBSCRIBER }),
  asked({ op: 'resume', ip: HOST, port: 1 }, `resume ${HOST} 1: NOT_FOUND`, {
    subscriber: `${HOST}:1`,
    code: 'NOT_FOUND',
  }),
  asked({ op: 'feed.add', ...FEED }, `feed.add b ${REPLICATOR_IP} 9200: ok`, { feed: 'b' }),
  asked({ op: 'feed.add', ...FEED, name: 'c' }, `feed.add c ${REPLICATOR_IP} 9200: BAD_REQUEST`, {
    feed: 'c',
    code: 'BAD_REQUEST',
  }),
  asked({ op: 'feed.remove', name: 'b' }, 'feed.remove b: ok', { feed: 'b' }),
  asked({ op: 'feed.remove', name: 'main' }, 'feed.remove main: BAD_REQUEST', {
    feed: 'main',
    code: 'BAD_REQUEST',
  }),
  asked(
    { op: 'filter.load', name: 'mine', module: base64(stock('sample')) },
    `filter.load mine (${stock('sample').length} bytes): ok`,
    { filter: 'mine' },
  ),
  asked(
    { op: 'filter.load', name: 'bad', module: base64(Buffer.from('no module')) },
    'filter.load bad (9 bytes): FILTER_REJECTED',
    { filter: 'bad', code: 'FILTER_REJECTED' },
  ),
  asked(
    { op: 'filter.use', name: 'mine', ...ONE, param: 'n=2' },
    `filter.use ${HOST} 9101 mine (3 bytes): ok`,
    { filter: 'mine', subscriber: SUBSCRIBER },
  ),
  asked({ op: 'filter.use', name: 'none' }, 'filter.use none: NOT_FOUND', {
    filter: 'none',
    code: 'NOT_FOUND',
  }),
  asked({ op: 'filter.unload', name: 'mine' }, 'filter.unload mine: BUSY', {
    filter: 'mine',
    code: 'BUSY',
  }),
  asked({ op: 'filter.use', name: 'rewrite', ...ONE }, `filter.use ${HOST} 9101 rewrite: ok`, {
    filter: 'rewrite',
    subscriber: SUBSCRIBER,
  }),
  asked({ op: 'filter.unload', name: 'mine' }, 'filter.unload mine: ok', { filter: 'mine' }),
  asked({ op: 'reload' }, 'reload: BAD_REQUEST', { code: 'BAD_REQUEST' }), // without a file
  asked({ op: 'remove', ...ONE }, `remove ${HOST} 9101: ok`, { subscriber: SUBSCRIBER }),
];

/**
 * What is refused is refused, and told: it is what the test is about. Resolves with each change as
 * it was answered: on a machine that is busy a worker follows later, and then that is BUSY.
 */
async function carryOut(replicator: Replicator): Promise<Asked[]> {
  const answered: Asked[] = [];
  for (const change of CHANGES) {
    const { question, text, about } = change;
    if (about.code !== 'ok') {
      await replicator.ask(question).catch(() => {});
      answered.push(change);
      continue;
    }
    const code = await replicator.change(question);
    answered.push({ question, text: text.replace(/ok$/, code), about: { ...about, code } });
  }
  await replicator.ask({ op: 'list' });
  return answered;
}

const linesOf = (text: string) => text.split('\n').filter((line) => line !== '');
type Told = Readonly<Record<string, unknown>>;
/** Every line is one: nothing else may be there. */
const objectsOf = (text: string) => linesOf(text).map((line) => JSON.parse(line) as Told);

test('the changes that are tried here are all that the control channel has but those of a group', () => {
  const changing = Object.entries(operations)
    .filter(([, row]) => !('reads' in row) && !('beforeToken' in row))
    .map(([name]) => name)
    .filter((name) => !name.startsWith('fleet.')); // they take etcd: test/fleet/commands.test.ts
  const tried = new Set(CHANGES.map(({ question }) => question.op));
  assert.equal([...tried].sort(), changing.sort());
});

networkTest(
  test,
  'as text, each change is a line that says who asked, what, and how it was answered',
  { queues: 1 },
  (link) =>
    withReplicator({ link, flags: socketMode('inline') }, async (replicator) => {
      const changes = await carryOut(replicator);
      const lines = linesOf(replicator.program.stderr);
      const told = lines.flatMap(
        (line) => /^\[.*\] INFO: control: (127\.0\.0\.1:\d+) asked: (.*)$/.exec(line) ?? [],
      );
      for (const { text } of changes)
        assert.ok(told.includes(text), `${text}\n${lines.join('\n')}`);
      assert.is(new Set(told.filter((part) => /^127[\d.]+:\d+$/.test(part))).size, 1);
      assert.not.match(replicator.program.stderr, /asked: list/);
    }),
);

networkTest(
  test,
  'as JSON, each is an object with the time, the level, who asked, what it is about and the answer',
  { queues: 1 },
  (link) =>
    withReplicator(
      { link, flags: [...socketMode('inline'), '--log-format', 'json'] },
      async (replicator) => {
        const changes = await carryOut(replicator);
        await replicator.change({ op: 'add', ...ONE, lease: 1 });
        await eventually('the lease has ended', async () => (await replicator.list()).length === 0);
        const told = objectsOf(replicator.program.stderr);
        for (const { question, text, about } of changes) {
          const { time, who, ...rest } =
            told.find(({ message }) => String(message).endsWith(` asked: ${text}`)) ?? {};
          const message = `control: ${who} asked: ${text}`;
          assert.equal(rest, { level: 'info', op: question.op, ...about, message });
          assert.match(String(who), /^127\.0\.0\.1:\d+$/);
          assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
          assert.ok(Math.abs(Date.now() - Date.parse(String(time))) < 300_000);
        }
        const ended = told.find(({ who }) => who === 'lease');
        assert.equal([ended?.op, ended?.subscriber], ['remove', SUBSCRIBER]);
        assert.match(replicator.program.stdout, /^ready rep0 /, 'that line is what it ever was');
      },
    ),
);

networkTest(
  test,
  'what the command line and the state file ask for is told with who asked; what is refused, too',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'fantail-log-'));
    const state = ['--state', join(folder, 'state'), '--log-format', 'json'];
    const filter = join(folder, 'mine.wasm');
    writeFileSync(filter, stock('sample'));
    const line = ['--filter', filter, '--feed', `b=${REPLICATOR_IP}:9200`];
    const subjects = (replicator: Replicator, by: string) =>
      objectsOf(replicator.program.stderr)
        .filter(({ who }) => who === by)
        .map(({ op, code, filter, feed, subscriber }) => [op, code, subscriber ?? feed ?? filter]);
    try {
      await withReplicator(
        { link, flags: [...socketMode('inline'), ...state, ...line] },
        async (replicator) => {
          assert.equal(subjects(replicator, 'command line'), [
            ['filter.use', 'ok', 'mine'],
            ['feed.add', 'ok', 'b'],
          ]);
          await replicator.change({ op: 'add', ...ONE });
          await replicator.change({ op: 'add', ip: HOST, port: 9102, feeds: ['b'] });
        },
      );
      // of a smaller subnet, which holds neither
      await withReplicator(
        { link, flags: [...socketMode('inline'), ...state, '--allow', '10.77.0.0/29'] },
        async (replicator) => {
          assert.equal(subjects(replicator, 'command line'), []);
          assert.equal(subjects(replicator, 'state file'), [
            ['filter.load', 'ok', 'mine'],
            ['filter.use', 'ok', 'mine'],
            ['feed.add', 'ok', 'b'],
            ['add', 'NOT_ALLOWED', SUBSCRIBER],
            ['add', 'NOT_ALLOWED', `${HOST}:9102`],
          ]);
        },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

networkTest(test, '--log-level names the least that is told', { queues: 1 }, async (link) => {
  const levelsOf = async (level: string) => {
    const flags = [...socketMode('inline'), '--log-format', 'json', '--log-level', level];
    const legacy = ['--legacy-control', REPLICATOR_IP]; // which is warned of
    let levels: string[] = [];
    await withReplicator({ link, flags: [...flags, ...legacy] }, async (replicator) => {
      await replicator.change({ op: 'feed.add', ...FEED });
      await replicator.change({ op: 'add', ...ONE });
      levels = objectsOf(replicator.program.stderr).map(({ level }) => String(level));
    });
    return [...new Set(levels)].sort();
  };
  assert.equal(await levelsOf('error'), []);
  assert.equal(await levelsOf('warn'), ['warn']);
  assert.equal(await levelsOf('info'), ['info', 'warn']);
  assert.equal(await levelsOf('debug'), ['debug', 'info', 'warn']);
});

/** Loaded by every Node before its program: a worker then says two lines for no reason. */
const TALKS = `if (/tx-worker/.test(process.argv[1])) process.stderr.write('one {"a"}\\ntwo\\n');`;

networkTest(
  test,
  'as JSON, what a process of the data path says by itself is a line like the others; as text, too',
  { queues: 1 },
  async (link) => {
    const folder = mkdtempSync(join(tmpdir(), 'fantail-log-'));
    const file = join(folder, 'talks.cjs');
    writeFileSync(file, TALKS);
    const environment = { NODE_OPTIONS: `--require ${file}` };
    const saidBy = (told: readonly Told[], pid: number) =>
      told
        .filter((line) => line.pid === pid)
        .map(({ level, process: name, message }) => [level, name, message]);
    try {
      const flags = [...socketMode('inline'), '--log-format', 'json'];
      await withReplicator({ link, environment, flags }, async (replicator) => {
        const worker = replicator.processes().find(({ command }) => /^fantail-tx/.test(command));
        assert.ok(worker);
        const said = () => saidBy(objectsOf(replicator.program.stderr), worker.pid);
        await eventually('it has said so', () => said().length === 2);
        assert.equal(said(), [
          ['warn', 'tx worker', 'one {"a"}'],
          ['warn', 'tx worker', 'two'],
        ]);
      });
      await withReplicator(
        { link, environment, flags: socketMode('inline') },
        async ({ program }) => {
          await eventually('it has said so', () => /^one \{"a"\}\ntwo$/m.test(program.stderr));
        },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

networkTest(
  test,
  'as JSON, a path whose supervisor was killed goes on till the next one adopts it, and tells of it',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: [...copyMode('split'), '--log-format', 'json'] };
    const first = await Replicator.start(options);
    try {
      await first.change({ op: 'add', ...ONE });
      process.kill(first.program.pid, 'SIGKILL');
      await first.program.wait();
      await withReplicator(options, async (second) => {
        assert.match(second.program.stdout, / adopted=\d+$/m);
        assert.equal((await second.list()).length, 1);
        const [before] = (await second.stats()).workers;
        process.kill(before?.pid ?? 0, 'SIGKILL');
        const isTold = ({ process: name, pid }: Told) =>
          name === 'tx worker 0' && pid === before?.pid;
        await eventually('it is told', () => objectsOf(second.program.stderr).some(isTold));
        await eventually('another works', async () => {
          const [row] = (await second.stats()).workers;
          return row !== undefined && row.pid !== before?.pid;
        });
      });
    } finally {
      first.close();
    }
  },
);

networkTest(
  test,
  'as JSON, the sentence that a failed start ends with is an object, too',
  { queues: 1 },
  async (link) => {
    for (const [flags, status, pattern] of [
      [['--log-format', 'json', '--token-file', '/nowhere'], 1, /cannot read .*\/nowhere/],
      [['--log-format', 'json', '--mode', 'skb'], 1, /there is no interface none0/],
    ] as const) {
      const { program } = await startUp({ link, flags, interface: 'none0' });
      const end = await program.wait();
      program.close();
      assert.is(end.status, status, program.told());
      const told = objectsOf(program.stderr);
      assert.equal(
        told.map(({ level }) => level),
        ['error'],
      );
      assert.match(String(told[0]?.message), pattern);
    }
    const wrong = await fantail(['up', 'lo', '127.0.0.1', '1', '--log-level', 'loud']);
    assert.is(wrong.end?.status, 2);
    assert.match(wrong.stderr, /--log-level must be one of error, warn, info, debug, not 'loud'/);
  },
);

/**
 * As a service: in namespaces of its own a journald, then `fantail up` on the loopback, whose
 * stderr leads there as systemd.exec(5) says, asked twice and ended; at last all that the journal
 * has of it. $1: Node, $2: the program, $3: flags of up.
 */
const SERVICE = `set -e
mount --make-rprivate /
for place in /run /var/log; do mount -t tmpfs none "$place"; done
mkdir -p /run/systemd/journal /run/log/journal
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\nForwardToSyslog=no\\n' > /run/journald.conf
mount --bind /run/journald.conf /etc/systemd/journald.conf
ip link set lo up
/lib/systemd/systemd-journald &
until test -S /run/systemd/journal/stdout; do sleep 0.05; done
systemd-cat sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"' sh \
  "$1" "$2" up lo 127.0.0.1 ${LISTEN_PORT} --mode socket $3 &
up=$!
until journalctl -o cat | grep -q '^ready '; do kill -0 $up; sleep 0.05; done
"$1" "$2" add 127.0.0.9 9001 >&2 || true
"$1" "$2" add 192.0.2.1 9001 >&2 || true
kill -TERM $up
wait $up
journalctl --sync
exec journalctl -o json --all _COMM=node`;

/** `added`: how its first change was answered, as who asked was told. */
async function journalOf(flags: string): Promise<{ entries: Told[]; added: 'ok' | 'BUSY' }> {
  const words = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh'];
  const rest = ['-c', SERVICE, 'sh', process.execPath, MAIN, flags];
  const environment = { SYSTEMD_COLORS: '0' };
  const program = new Program('unshare', [...words, ...rest], { group: true, environment });
  try {
    assert.is((await program.wait()).status, 0, program.told());
    const added = isLater(program.stderr) ? 'BUSY' : 'ok';
    return { entries: objectsOf(program.stdout), added };
  } finally {
    program.close();
  }
}

function journalTest(name: string, work: () => Promise<void>): void {
  test(name, async () => {
    const { status } = spawnSync('journalctl', ['--version']);
    const lack = lackForNetwork() ?? (status === 0 ? null : 'needs systemd, for its journald');
    if (lack !== null) console.log(`skip: ${lack}`);
    else await work();
  });
}

journalTest(
  'in the systemd journal each change is an entry with fields, and a priority',
  async () => {
    const { entries: all, added } = await journalOf('--legacy-control 127.0.0.1');
    const entries = all.filter((entry) => entry._TRANSPORT === 'journal');
    const changes = entries.filter(({ FANTAIL_OP }) => FANTAIL_OP !== undefined);
    assert.equal(
      changes.map((entry) => [
        entry.SYSLOG_IDENTIFIER,
        entry.PRIORITY,
        entry.FANTAIL_OP,
        entry.FANTAIL_SUBSCRIBER,
        entry.FANTAIL_CODE,
      ]),
      [
        ['fantail', '6', 'add', '127.0.0.9:9001', added],
        ['fantail', '6', 'add', '192.0.2.1:9001', 'NOT_ALLOWED'],
      ],
    );
    for (const { MESSAGE, FANTAIL_WHO } of changes) {
      assert.match(String(FANTAIL_WHO), /^127\.0\.0\.1:\d+$/);
      assert.match(String(MESSAGE), new RegExp(`^control: ${FANTAIL_WHO} asked: add `));
    }
    const warning = entries.find(({ MESSAGE }) => /^legacy control on UDP/.test(String(MESSAGE)));
    assert.is(warning?.PRIORITY, '4');
  },
);

journalTest('with --log-format json the journal gets those lines as they are', async () => {
  const { entries, added } = await journalOf('--log-format json');
  assert.ok(entries.every((entry) => entry._TRANSPORT === 'stdout'));
  const changes = entries
    .map(({ MESSAGE }) => String(MESSAGE))
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Told)
    .filter(({ op }) => op === 'add');
  assert.equal(
    changes.map(({ code }) => code),
    [added, 'NOT_ALLOWED'],
  );
});

test('who reads datagrams at a path is connected to; nobody there, or no address, is an error', () => {
  const codeOf = (path: string) => {
    try {
      addon.connectDatagrams(path);
      return null;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code; // every error of the addon's has one
    }
  };
  assert.is(codeOf('/nowhere/socket'), 'ENOENT');
  assert.is(codeOf(''), 'EINVAL');
  assert.is(codeOf(`/${'x'.repeat(107)}`), 'EINVAL');
  assert.is(codeOf('@'), 'EINVAL');
  assert.is(codeOf(`@${'x'.repeat(108)}`), 'EINVAL');
  assert.is(codeOf(`@fantail-nobody-${process.pid}`), 'ECONNREFUSED');
  assert.is(codeOf(MAIN), 'ECONNREFUSED');
});

test.run();
