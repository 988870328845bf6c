/**
 * time limit: 180 s
 *
 * The demo, from its parts (the account of a subscriber, the views, the scene) to the whole thing
 * as a stranger runs it: three subscribers with equal, lossless counts, and nothing left behind.
 *
 * needs: a link
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Account } from '../../src/demo/account.js';
import { Feed, Listener } from '../../src/demo/helpers.js';
import { openScene, removeLeftovers, type Scene } from '../../src/demo/scene.js';
import { hintLines, jsonLine, type View, viewLines } from '../../src/demo/table.js';
import { monotonicMs } from '../../src/domain/process/clock.js';
import { ROOT } from '../rig/program.js';

const MAIN = join(ROOT, 'build', 'programs', 'main.js');
const isRoot = process.geteuid?.() === 0;

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
    },
    { ip: '127.0.0.14', port: 9004, state: 'waiting', rate: 0, account: null },
  ],
};

views('the table shows every count, and who still waits', () => {
  const lines = viewLines(view);
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
  ]);
  assert.ok(lines.some((line) => /^127\.0\.0\.14:9004 +waiting$/.test(line)));
  assert.ok(lines.every((line) => line.length <= 100));
});

views('the line to try names the control port and the last listener', () => {
  const line = `npx wscat -c ws://127.0.0.1:12345 -x 'add 127.0.0.14 9004'`;
  assert.ok(hintLines(view).some((hint) => hint.trim() === line));
  assert.is(JSON.parse(jsonLine(view)).wscat, line);
});
views.run();

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
    listener.restart(0);
    const startMs = monotonicMs();
    feed.begin();
    await sleep(1000);
    const report = await feed.stop();
    const seconds = (monotonicMs() - startMs) / 1000;
    assert.ok(report);
    await sleep(100);
    const snapshot = await listener.snapshot(report.sent - 1);
    assert.equal([snapshot?.received, snapshot?.lost, snapshot?.duplicated], [report.sent, 0, 0]);
    // Open loop: a late timer is made up for, so the pace holds on a busy machine too.
    assert.ok(
      Math.abs(report.sent - seconds * 1000) < 200,
      `${report.sent} packets in ${seconds} s`,
    );
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
  feed: { sent: number };
  subscribers: {
    received: number;
    lost: number;
    duplicated: number;
    reordered: number;
    state: string;
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
 * its first view.
 */
async function runDemo(
  flags: string[],
  during: (pid: number) => void,
  prefix: string[] = [],
): Promise<Run> {
  const command = [...prefix, process.execPath, MAIN, 'demo', '--json', ...flags];
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    if (output === '') during(child.pid ?? 0);
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
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

function assertEqualAndLossless({ status, lines, said, pid }: Run): Line {
  assert.is(status, 0, said);
  const last = lines.at(-1);
  assert.ok(last?.final, said);
  for (const subscriber of last.subscribers.slice(0, 3)) {
    const { received, lost, duplicated, reordered } = subscriber;
    assert.equal([received, lost, duplicated, reordered], [last.feed.sent, 0, 0, 0]);
  }
  assert.not.ok(existsSync(`/run/netns/fantail-demo-${pid}-near`));
  assert.not.ok(existsSync(`/run/netns/fantail-demo-${pid}-far`));
  return last;
}

for (const layout of ['inline', 'split']) {
  whole(`three subscribers receive all of the feed, layout ${layout}`, async () => {
    const last = assertEqualAndLossless(
      await runDemo(['--layout', layout, '--seconds', '2'], () => undefined),
    );
    assert.ok(last.feed.sent > 1500, `${last.feed.sent} packets in 2 s`);
    assert.is(last.layout, layout);
    assert.is(last.scene, isRoot ? 'link' : 'loopback');
    if (isRoot) assert.is.not(last.mode, 'socket');
  });
}

whole('without privileges it says so and does the same over loopback', async () => {
  // All capabilities dropped, but not the user: a clone in a folder of root's alone must stay
  // readable.
  const bare = isRoot
    ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all']
    : [];
  const run = await runDemo(['--seconds', '2'], () => undefined, bare);
  const last = assertEqualAndLossless(run);
  assert.equal([last.scene, last.mode], ['loopback', 'socket']);
  assert.match(run.said, /loopback/);
});

whole('a signal ends it with status 0, everything sent accounted for, nothing left', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const run = await runDemo([], (pid) => {
      process.kill(pid, signal);
      process.kill(pid, signal); // npm and the terminal both send it
    });
    assertEqualAndLossless(run);
  }
});

whole('a replicator that cannot start ends it with status 1 and the reason', async () => {
  // A veth pair has no zero copy, loopback no AF_XDP at all: this mode is refused in either scene.
  const run = await runDemo(['--mode', 'zerocopy', '--seconds', '2'], () => undefined);
  assert.is(run.status, 1);
  assert.match(
    run.said,
    /^fantail demo: the replicator ended \(status 1\) before it was ready: .*zerocopy/m,
    run.said,
  );
  assert.not.ok(existsSync(`/run/netns/fantail-demo-${run.pid}-near`));
});
whole.run();
