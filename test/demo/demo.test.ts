/**
 * time limit: 180 s
 *
 * The demo, from its parts (the account of a subscriber, the views, the scene) to the whole thing
 * as a stranger runs it: three subscribers with equal, lossless counts, and nothing left behind.
 *
 * needs: a link
 * takes: 60 s
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Account } from '../../src/demo/account.js';
import { type Cores, CoreWaits, decideBusyPoll, quotaOf } from '../../src/demo/cores.js';
import { Feed, Listener } from '../../src/demo/helpers.js';
import type { Snapshot } from '../../src/demo/messages.js';
import { openScene, removeLeftovers, type Scene } from '../../src/demo/scene.js';
import { hintLines, jsonLine, type View, viewLines } from '../../src/demo/table.js';
import { monotonicMs } from '../../src/domain/process/clock.js';
import { eventually, ROOT } from '../rig/program.js';
import { Tmux } from '../terminal/tmux.js';

const MAIN = join(ROOT, 'build', 'programs', 'main.js');
const isRoot = process.geteuid?.() === 0;
/** Of a terminal of 80 columns, the last of which stays free. */
const WIDTH = 79;

// ---- the account ----

const account = suite('account');

function accountOf(sequences: readonly number[], from: number | null = null): Account {
  const made = new Account(from);
  for (const sequence of sequences) made.record(sequence, sequence);
  return made;
}

account('a whole feed has nothing lost, twice or late', () => {
  const { received, lost, duplicated, reordered } = accountOf([0, 1, 2, 3]).snapshot(3);
  assert.equal([received, lost, duplicated, reordered], [4, 0, 0, 0]);
});

account('a gap is lost, until the packet comes late', () => {
  const made = accountOf([0, 1, 3]);
  assert.equal(made.snapshot(3).lost, 1);
  made.record(2, 1);
  const { received, lost, reordered } = made.snapshot(3);
  assert.equal([received, lost, reordered], [4, 0, 1]);
});

account('a packet that comes twice is received once', () => {
  const { received, lost, duplicated } = accountOf([0, 1, 1, 0, 2]).snapshot(2);
  assert.equal([received, lost, duplicated], [3, 0, 2]);
});

account('a snapshot counts no packet past the one it is asked about', () => {
  const made = accountOf([0, 1, 2, 4, 5]);
  assert.equal([made.snapshot(3).received, made.snapshot(3).lost], [3, 1]);
  assert.equal([made.snapshot(5).received, made.snapshot(5).lost], [5, 1]);
});

account(
  'what was sent before the first packet is owed only to who was there from the start',
  () => {
    assert.equal(accountOf([7, 8]).snapshot(8).lost, 0);
    assert.equal(accountOf([7, 8], 0).snapshot(8).lost, 7);
  },
);

account('one that has received nothing has lost nothing that it could know of', () => {
  for (const from of [null, 0]) {
    const { received, lost, latency } = new Account(from).snapshot(100);
    assert.equal([received, lost, latency], [0, 0, null]);
  }
});

account('latency is over the packets since the last snapshot', () => {
  const made = accountOf(Array.from({ length: 100 }, (_, index) => index));
  assert.equal(made.snapshot(99).latency, { p50: 50, p99: 99, max: 99 });
  made.record(100, 7);
  assert.equal(made.snapshot(100).latency, { p50: 7, p99: 7, max: 7 });
});
account.run();

// ---- views ----

const views = suite('views');

const scene: Scene = {
  kind: 'loopback',
  reason: 'a test',
  interfaceName: 'lo',
  nearNamespace: null,
  farNamespace: null,
  listen: { ip: '127.0.0.1', port: 5000 },
  feedIp: '127.0.0.1',
  listeners: [],
  close: () => undefined,
};

const view: View = {
  seconds: 3,
  isFinal: false,
  scene,
  control: 'ws://127.0.0.1:12345',
  busyPoll: { isOn: true, reason: 'a reason' },
  comparison: { latencies: [{ p50: 12.3, p99: 1, max: 1 }], lost: 0, lack: null },
  coreWait: null,
  stats: null,
  feed: { rate: 1000, sent: 3000, refused: 0 },
  subscribers: [
    {
      ip: '127.0.0.11',
      port: 9001,
      state: 'receiving',
      rate: 1000,
      account: {
        through: 2999,
        received: 2990,
        lost: 10,
        duplicated: 2,
        reordered: 1,
        latency: { p50: 8.25, p99: 120, max: 4567 },
      },
      sockets: { p50: 12.3, p99: 1, max: 1 },
    },
    { ip: '127.0.0.14', port: 9004, state: 'waiting', rate: 0, account: null, sockets: null },
  ],
};

views('the table shows every count, and who still waits', () => {
  const lines = viewLines(view, WIDTH);
  const row = lines.find((line) => line.startsWith('127.0.0.11:9001'));
  assert.equal(row?.split(/\s+/).slice(1), [
    '1,000',
    '2,990',
    '10',
    '2',
    '1',
    '8.3',
    '120',
    '4,567',
    '12',
  ]);
  assert.ok(lines.some((line) => /^127\.0\.0\.14:9004 +waiting$/.test(line)));
});

views('no line is wider than the terminal, and no number or sentence is cut', () => {
  const [first, waiting] = view.subscribers;
  assert.ok(first?.account && waiting);
  const latency = { p50: 12_345, p99: 12_345, max: 123_456 };
  const account = { ...first.account, received: 12_345_678, lost: 12_345, latency };
  const long: View = {
    ...view,
    busyPoll: { isOn: false, reason: '0.8 of 2 cores were free, 1.8 are wanted' },
    coreWait: 0.5,
    subscribers: [{ ...first, rate: 20_000, account }, { ...first, state: 'removed' }, waiting],
  };
  const text = (of: View, width: number) => [...viewLines(of, width), ...hintLines(of, width)];
  for (const width of [WIDTH, 59, 40])
    for (const of of [view, long]) {
      const lines = text(of, width).filter((line) => !line.includes('npx wscat'));
      assert.equal(
        lines.filter((line) => line.length > width),
        [],
      );
      const words = (shown: readonly string[]) => shown.join(' ').split(/\s+/);
      const all = new Set(words(text(of, 1000)));
      assert.equal(
        words(lines).filter((word) => !all.has(word)),
        [],
        'each word is a whole one',
      );
    }
  const whole = viewLines(view, WIDTH);
  assert.ok(
    whole.some((line) => /sockets$/.test(line)),
    'of figures as they are all columns fit',
  );
  assert.ok(viewLines(long, WIDTH).some((line) => /:9001.* removed$/.test(line)));
});

views('own p50 and that of plain sockets stand in one line, or why there is none', () => {
  const line = (of: View) => viewLines(of, WIDTH).find((each) => each.startsWith('p50 '));
  assert.match(line(view) ?? '', /8\.3 µs, 12 µs by plain UDP sockets/);
  const alone = { ...view, comparison: { latencies: [], lost: 0, lack: 'a lack' } };
  assert.match(line(alone) ?? '', /8\.3 µs; not compared with plain sockets: a lack/);
  const none = { ...view, subscribers: view.subscribers.slice(1) };
  assert.match(line(none) ?? '', /nothing has come/);
});

views('whether the worker sleeps, and why, is in a line and in the JSON', () => {
  const sleeping = { ...view, busyPoll: { isOn: false, reason: 'another reason' } };
  assert.ok(viewLines(view, 200).some((line) => /never sleeps \(a reason\)/.test(line)));
  assert.ok(
    viewLines(sleeping, 200).some((line) => /worker sleeps.*\(another reason\)/.test(line)),
  );
  const told = JSON.parse(jsonLine(sleeping));
  assert.equal([told.busy_poll, told.busy_poll_reason], [false, 'another reason']);
});

views('a worker that had to wait for a core is told of, one that had not is not', () => {
  const machine = (coreWait: number | null) =>
    viewLines({ ...view, coreWait }, WIDTH).filter((line) => line.startsWith('machine'));
  assert.equal([null, 0, 0.01].flatMap(machine), []);
  assert.match(machine(0.234).join(), /waited for a core 23 % of the time/);
});

views('the line to try names the control port and the last listener', () => {
  const line = `npx wscat -c ws://127.0.0.1:12345 -x 'add 127.0.0.14 9004'`;
  assert.ok(hintLines(view, WIDTH).some((hint) => hint.trim() === line));
  assert.is(JSON.parse(jsonLine(view)).wscat, line);
});
views.run();

// ---- cores ----

const cores = suite('cores');

cores('a worker spins where a core is free beside one for the rest, or as was asked', () => {
  const at = (count: number, free: number): Cores => ({ count, free });
  for (const [layout, machine, isOn] of [
    ['inline', at(2, 1.9), true],
    ['inline', at(2, 1), false],
    ['inline', at(1, 1), false],
    ['split', at(4, 2.5), false],
    ['split', at(4, 3.5), true],
    ['auto', at(4, 2.5), false],
    ['auto', at(2, 1.9), true],
  ] as const) {
    const decided = decideBusyPoll(undefined, layout, machine);
    assert.is(decided.isOn, isOn, `${layout} ${JSON.stringify(machine)}`);
    assert.match(decided.reason, /^\d\.\d of \d cores were free, \d\.\d are wanted$/);
  }
  for (const asked of [true, false])
    assert.is(decideBusyPoll(asked, 'inline', at(2, asked ? 0 : 2)).isOn, asked);
});

cores('what waits for a core is seen, by the process that waits', async () => {
  const spin = ['-e', 'for (;;);'];
  const core = ['--cpu-list', '0', process.execPath, ...spin];
  const spinning = [0, 1].map(() => spawn('taskset', core, { stdio: 'ignore' }));
  try {
    const pids = spinning.map(({ pid }) => pid ?? 0);
    const waits = new CoreWaits();
    assert.is(waits.look(pids), null);
    // two that never sleep on one core: each waits for half of the time or more
    await eventually('a wait is seen', async () => {
      await sleep(100);
      return (waits.look(pids) ?? 0) >= 0.3;
    });
    assert.is(waits.look([]), null);
  } finally {
    for (const each of spinning) each.kill('SIGKILL');
  }
});

cores('the limit of a container counts as cores; no limit is none', () => {
  assert.is(quotaOf('150000 100000\n'), 1.5);
  for (const line of ['max 100000\n', '', 'max'])
    assert.is(quotaOf(line), Number.POSITIVE_INFINITY);
});
cores.run();

// ---- the scene ----

const stage = suite('scene');

stage('feed and listeners reach each other, whatever the scene', async () => {
  const opened = await openScene();
  const closers: (() => Promise<void> | void)[] = [() => opened.close()];
  try {
    const [place] = opened.listeners;
    assert.ok(place);
    const listener = await Listener.start(opened, place);
    closers.push(() => listener.close());
    // Past the replicator: the feed is pointed at the listener itself.
    const feed = await Feed.start({ ...opened, listen: listener.endpoint }, 1000);
    closers.push(() => feed.close());
    await listener.restart(0);
    const beganMs = monotonicMs();
    feed.begin();
    await eventually('it sends', () => feed.reports.length > 0);
    const [first] = feed.reports;
    assert.ok(first);
    // Open loop: a late timer is made up for, so it is in pace again however busy the machine is.
    await eventually('it is in pace after a second', () =>
      feed.reports.some(({ atMs, sent }) => {
        const due = atMs - first.atMs;
        return due >= 1000 && due - sent < 50;
      }),
    );
    const report = await feed.stop();
    assert.ok(report);
    assert.ok(report.sent <= report.atMs - beganMs, `${report.sent} packets: it was ahead`);
    const seen: (Snapshot | null)[] = [];
    await eventually('all of it has come', async () => {
      seen.push(await listener.snapshot(report.sent - 1));
      return seen.at(-1)?.received === report.sent;
    });
    assert.equal([seen.at(-1)?.lost, seen.at(-1)?.duplicated], [0, 0]);
  } finally {
    for (const close of closers.reverse()) await close();
  }
  if (opened.nearNamespace !== null)
    assert.not.ok(existsSync(`/run/netns/${opened.nearNamespace}`));
});

stage('what a dead demo left is removed, what lives is not', async () => {
  if (!isRoot) {
    console.log('skip: making network namespaces needs root');
    return;
  }
  const { pid: deadPid } = spawnSync('true');
  const dead = `fantail-demo-${deadPid}-near`;
  const foreign = `fantail-demon-${deadPid}-near`;
  for (const name of [dead, foreign]) execFileSync('ip', ['netns', 'add', name]);
  // This very process is a demo by its command line (demo.test.js).
  const living = await openScene();
  try {
    removeLeftovers();
    assert.not.ok(existsSync(`/run/netns/${dead}`));
    assert.ok(existsSync(`/run/netns/${foreign}`));
    assert.ok(existsSync(`/run/netns/${living.farNamespace}`));
  } finally {
    living.close();
    living.close();
    execFileSync('ip', ['netns', 'del', foreign]);
  }
});
stage.run();

// ---- the whole ----

const whole = suite('demo');

interface Line {
  final: boolean;
  scene: string;
  mode: string;
  layout: string;
  wscat: string;
  busy_poll: boolean;
  busy_poll_reason: string;
  not_compared: string | null;
  feed: { sent: number };
  subscribers: {
    received: number;
    lost: number;
    duplicated: number;
    reordered: number;
    state: string;
    latency_us: { p50: number; p99: number; max: number } | null;
    sockets_latency_us: { p50: number; p99: number; max: number } | null;
  }[];
}

interface Run {
  readonly status: number | null;
  readonly lines: Line[];
  readonly said: string;
  readonly pid: number | undefined;
}

/**
 * Runs `fantail demo --json` with those flags until it ends; `during` is called when it has shown
 * its first view, or said its first word.
 */
const runDemo = (
  flags: readonly string[],
  during: (pid: number) => void,
  prefix: readonly string[] = [],
  at: 'view' | 'word' = 'view',
): Promise<Run> =>
  runCommand([...prefix, process.execPath, MAIN, 'demo', '--json', ...flags], during, at);

async function runCommand(
  [program = '', ...words]: readonly string[],
  during: (pid: number) => void,
  at: 'view' | 'word',
): Promise<Run> {
  const child = spawn(program, words, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    if (output === '' && at === 'view') during(child.pid ?? 0);
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    if (said === '' && at === 'word') during(child.pid ?? 0);
    said += chunk.toString();
  });
  const ended = once(child, 'close');
  const [status] = (await ended) as [number | null];
  const lines = output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
  return { status, lines, said, pid: child.pid };
}

function assertEqualAndLossless({ status, lines, said }: Run): Line {
  assert.is(status, 0, said);
  const last = lines.at(-1);
  assert.ok(last?.final, said);
  for (const subscriber of last.subscribers.slice(0, 3)) {
    const { received, lost, duplicated, reordered } = subscriber;
    assert.equal([received, lost, duplicated, reordered], [last.feed.sent, 0, 0, 0]);
  }
  assert.equal(leftNamespaces(), []);
  return last;
}

/** Of demos that have ended. */
function leftNamespaces(): string[] {
  if (!existsSync('/run/netns')) return [];
  return readdirSync('/run/netns').filter((name) => {
    const pid = /^fantail-demo-(\d+)-/.exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  });
}

for (const layout of ['inline', 'split']) {
  whole(`three subscribers receive all of the feed, layout ${layout}`, async () => {
    const last = assertEqualAndLossless(
      await runDemo(['--no-compare', '--layout', layout, '--seconds', '2'], () => undefined),
    );
    assert.is(last.not_compared, '--no-compare');
    assert.ok(last.feed.sent > 0, 'the feed flows');
    assert.is(last.layout, layout);
    assert.is(last.scene, isRoot ? 'link' : 'loopback');
    if (isRoot) assert.is.not(last.mode, 'socket');
  });
}

whole('plain sockets are measured first on the same link, or it is said why not', async () => {
  const run = await runDemo(['--busy-poll', '--seconds', '2'], () => undefined);
  const last = assertEqualAndLossless(run);
  assert.equal([last.busy_poll, last.busy_poll_reason], [true, '--busy-poll']);
  if (!isRoot) {
    assert.match(last.not_compared ?? '', /plain sockets/);
    return;
  }
  assert.is(last.not_compared, null, run.said);
  // of what was measured last: a figure each, in order, and none before its packet was sent
  for (const subscriber of last.subscribers.slice(0, 3))
    for (const times of [subscriber.latency_us, subscriber.sockets_latency_us]) {
      assert.ok(times !== null && times.p50 > 0, JSON.stringify(last));
      assert.ok(times.p50 <= times.p99 && times.p99 <= times.max, JSON.stringify(times));
    }
  assert.equal(last.subscribers[3]?.sockets_latency_us, null);
});

whole('without privileges it says so and does the same over loopback', async () => {
  // All capabilities dropped, but not the user: a clone in a folder of root's alone must stay
  // readable.
  const bare = isRoot
    ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all']
    : [];
  const run = await runDemo(['--seconds', '2'], () => undefined, bare);
  const last = assertEqualAndLossless(run);
  assert.equal([last.scene, last.mode], ['loopback', 'socket']);
  assert.is(last.not_compared, 'what is shown are plain sockets');
  assert.match(run.said, /loopback/);
});

whole('npm start is that demo, and hands its flags on', async () => {
  const words = ['start', '--silent', '--', '--json', '--no-compare', '--seconds', '2'];
  const run = await runCommand(['npm', ...words], () => undefined, 'view');
  const last = assertEqualAndLossless(run);
  assert.is(last.not_compared, '--no-compare');
  assert.ok(last.feed.sent > 0, 'the feed flows');
});

whole('a signal ends it with status 0, everything sent accounted for, nothing left', async () => {
  const run = await runDemo(['--no-compare'], (pid) => {
    process.kill(pid, 'SIGTERM');
    process.kill(pid, 'SIGTERM'); // whoever started it may send it as well
  });
  assertEqualAndLossless(run);
});

/** What was drawn last, each line whole; `sent` of it. */
function lastView(tmux: Tmux): { readonly lines: string[]; readonly sent: string } {
  const all = tmux.history();
  const lines = all.slice(all.findLastIndex((line) => line.startsWith('fantail demo: ')));
  return { lines, sent: /, ([\d,]+) sent/.exec(lines.join('\n'))?.[1] ?? '' };
}

whole('on a terminal no line is wider than it; Ctrl-C ends it as a signal does', async () => {
  const tmux = await Tmux.open(80, 50);
  try {
    tmux.enter(`clear; '${process.execPath}' '${MAIN}' demo --no-compare; echo status $?`);
    for (const columns of [80, 60]) {
      tmux.resize(columns, 50);
      const before = lastView(tmux).sent;
      await eventually('it is drawn anew', () => ![before, ''].includes(lastView(tmux).sent));
      const { lines } = lastView(tmux);
      assert.ok(
        lines.some((line) => /:9001 +[\d,]+ +[\d,]+/.test(line)),
        lines.join('\n'),
      );
      const wide = lines.filter((line) => line.length >= columns && !line.includes('npx wscat'));
      assert.equal(wide, []);
    }
    tmux.keys('C-c');
    await tmux.shows(/^status 0$/m);
    const { lines, sent } = lastView(tmux);
    const rows = lines.flatMap((line) => line.match(/:900[1-3] +.*$/)?.[0].split(/ +/) ?? []);
    const counts = rows.length / 3;
    for (let row = 0; row < 3; row++)
      assert.equal(rows.slice(row * counts + 2, row * counts + 5), [sent, '0', '0']);
    assert.equal(leftNamespaces(), []);
  } finally {
    tmux.close();
  }
});

whole('a signal before its first view ends it with status 0 and leaves nothing', async () => {
  const end = (pid: number) => process.kill(pid, 'SIGINT');
  // plain sockets are measured then, or, without root, loopback is announced
  const { status, lines, said } = await runDemo([], end, [], 'word');
  assert.equal([status, lines.length], [0, 0], said);
  assert.match(said, isRoot ? /^first plain UDP sockets/ : /loopback/);
  assert.equal(leftNamespaces(), []);
});

whole('a replicator that cannot start ends it with status 1 and the reason', async () => {
  // A veth pair has no zero copy, loopback no AF_XDP at all: this mode is refused in either scene.
  const flags = ['--no-compare', '--mode', 'zerocopy', '--seconds', '2'];
  const run = await runDemo(flags, () => undefined);
  assert.is(run.status, 1);
  assert.match(
    run.said,
    /^fantail demo: the replicator ended \(status 1\) before it was ready: .*zerocopy/m,
    run.said,
  );
  assert.equal(leftNamespaces(), []);
});
whole.run();
