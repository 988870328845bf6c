/**
 * Goal: whoever starts `fantail up` and listens as sd_notify(3) says is told when it serves, how it
 * stands, that it lives, reloads and stops; nobody else is. Method: a socket of the test's own,
 * read by a few lines of Python, and every datagram that arrives at it.
 *
 * needs: a link
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { takeTold } from '../../src/cli/service/manager.js';
import { eventually, lackForProgram, Program } from '../rig/program.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';

const test = suite('service manager');
const base = mkdtempSync(join(tmpdir(), 'manager-'));
test.after(() => rmSync(base, { recursive: true }));

const PYTHON = '/usr/bin/python3';
const lack = lackForProgram('python3', () => existsSync(PYTHON), 'python3');

/** Binds the address and prints a JSON string for each datagram. */
const LISTEN = `import json, socket, sys
at = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
at.bind(sys.argv[1].replace('@', '\\0', 1))
print('bound', flush=True)
while True:
    print(json.dumps(at.recv(65536).decode()), flush=True)`;

/** A service manager's ear. */
class Ear {
  private constructor(private readonly program: Program) {}

  static async at(address: string): Promise<Ear> {
    const program = new Program(PYTHON, ['-c', LISTEN, address]);
    await program.line(/^bound$/m);
    return new Ear(program);
  }

  /** What has come so far: the lines of each datagram. */
  datagrams(): string[][] {
    const whole = this.program.stdout.split('\n').slice(1, -1);
    return whole.map((line) => (JSON.parse(line) as string).split('\n')); // LISTEN's own format
  }

  lines(): string[] {
    return this.datagrams().flat();
  }

  /** In their order, without times, beats and the standing. */
  phases(): string[] {
    return this.lines().filter((line) => /^(READY|RELOADING|STOPPING)=/.test(line));
  }

  close(): void {
    this.program.close();
  }
}

function listenTest(name: string, work: Parameters<typeof networkTest>[3]): void {
  networkTest(test, name, { queues: 1 }, async (link) => {
    if (lack !== null) console.log(`skip: ${lack}`);
    else await work(link);
  });
}

const environmentOf = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
const isForManager = (line: string) => /^(NOTIFY_SOCKET|WATCHDOG_USEC|WATCHDOG_PID)=/.test(line);

listenTest(
  'it tells READY=1 once, how it stands, that it lives, and each reload; the path inherits nothing of it',
  async (link) => {
    const socket = join(base, 'notify');
    const ear = await Ear.at(socket);
    const environment = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '400000' };
    const options = { link, flags: copyMode('split'), environment };
    await withReplicator(options, async (replicator) => {
      await eventually('it is ready', () => ear.datagrams().length > 0);
      assert.equal(ear.datagrams()[0], [
        'READY=1',
        'STATUS=1 feed, 0 subscribers, copy mode',
        'WATCHDOG=1',
      ]);
      await replicator.subscribe(subscribersOf(3));
      const standing = 'STATUS=1 feed, 3 subscribers, copy mode';
      await eventually('the change is told', () => ear.lines().includes(standing));
      const beats = () => ear.lines().filter((line) => line === 'WATCHDOG=1').length;
      const before = beats();
      await eventually('it goes on', () => beats() > before + 3);
      assert.is(ear.lines().filter((line) => line === standing).length, 1, 'told where it changes');
      assert.equal(ear.phases(), ['READY=1']);
      process.kill(replicator.program.pid, 'SIGHUP'); // there is no file: it fails, and is over
      await eventually('that is told', () => ear.phases().length === 3);
      const refused = await replicator.ask({ op: 'reload' }).catch((error) => error);
      assert.match(String(refused), /there is no file to read again/);
      await eventually('that, too', () => ear.phases().length === 5);
      const path = replicator.processes().filter(({ pid }) => pid !== replicator.program.pid);
      assert.ok(path.length >= 2, 'fantail-rx and a worker at least');
      for (const { pid } of [...path, ...replicator.standbys()])
        assert.equal(environmentOf(pid).filter(isForManager), []);
    }).finally(() => ear.close());
    const reload = ['RELOADING=1', 'READY=1'];
    assert.equal(ear.phases(), ['READY=1', ...reload, ...reload, 'STOPPING=1']);
    assert.is(
      ear.lines().findLast((line) => line.startsWith('STATUS=')),
      'STATUS=stopping',
    );
    const times = ear.lines().filter((line) => /^MONOTONIC_USEC=\d+$/.test(line));
    assert.is(times.length, 2, 'of each reload');
  },
);

listenTest('a socket may have an abstract name; nobody waits for beats then', async (link) => {
  const socket = `@fantail-ear-${process.pid}`;
  const ear = await Ear.at(socket);
  const options = { link, flags: copyMode('inline'), environment: { NOTIFY_SOCKET: socket } };
  await withReplicator(options, async () => {
    await eventually('it is ready', () => ear.phases().length > 0);
  }).finally(() => ear.close());
  assert.equal(ear.phases(), ['READY=1', 'STOPPING=1']);
  assert.not.ok(ear.lines().includes('WATCHDOG=1'));
});

networkTest(
  test,
  'a socket at which nobody reads is one warning, and it serves',
  { queues: 1 },
  async (link) => {
    const environment = { NOTIFY_SOCKET: join(base, 'nobody'), WATCHDOG_USEC: '20000' };
    await withReplicator({ link, flags: copyMode('inline'), environment }, async (replicator) => {
      await replicator.subscribe(subscribersOf(2));
      const warnings = () => replicator.program.stderr.match(/NOTIFY_SOCKET/g)?.length ?? 0;
      await eventually('it is told', () => warnings() === 1);
      assert.is((await replicator.list()).length, 2);
      assert.is(warnings(), 1);
    });
  },
);

test('what is meant for another process, or is no time, is no watchdog of ours', () => {
  const socket = '/run/systemd/notify';
  const given = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '10000000' };
  for (const [environment, told] of [
    [{}, null],
    [{ WATCHDOG_USEC: '10000000', WATCHDOG_PID: String(process.pid) }, null],
    [{ ...given, NOTIFY_SOCKET: '' }, null],
    [{ NOTIFY_SOCKET: socket }, { socket, watchdogMs: null }],
    [given, { socket, watchdogMs: 10_000 }],
    [
      { ...given, WATCHDOG_PID: String(process.pid) },
      { socket, watchdogMs: 10_000 },
    ],
    [
      { ...given, WATCHDOG_PID: String(process.ppid) },
      { socket, watchdogMs: null },
    ],
    [
      { ...given, WATCHDOG_USEC: '0' },
      { socket, watchdogMs: null },
    ],
    [
      { ...given, WATCHDOG_USEC: '-1' },
      { socket, watchdogMs: null },
    ],
    [
      { ...given, WATCHDOG_USEC: '10s' },
      { socket, watchdogMs: null },
    ],
  ] as const) {
    const left: NodeJS.ProcessEnv = { ...environment, PATH: '/bin' };
    assert.equal(takeTold(left), told, JSON.stringify(environment));
    assert.equal(left, { PATH: '/bin' });
  }
});

test.run();
