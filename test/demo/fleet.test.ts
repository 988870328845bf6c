/**
 * takes: 45 s
 *
 * The demo of a group, from its parts (the ledger of a subscriber, the views) to the whole thing as
 * a stranger runs it: all served, one drained by a key without a loss, and nothing left behind.
 *
 * needs: a link
 */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Ledger } from '../../src/demo/group/ledger.js';
import { type FleetView, fleetHints, fleetJson, fleetLines } from '../../src/demo/group/table.js';
import { etcdProgram, lackForEtcd } from '../rig/fleet/etcd.js';
import {
  eventually,
  lackForNetwork,
  MAIN,
  Program,
  processesOf,
  processesWith,
} from '../rig/program.js';

// ---- the ledger ----

const ledger = suite('ledger');

/** One packet a millisecond. */
function ledgerOf(sequences: readonly number[]): Ledger {
  const made = new Ledger();
  for (const [atMs, sequence] of sequences.entries()) made.record(sequence, 'a', atMs);
  return made;
}

ledger('missed is what came from nobody, since its first, up to what can have come', () => {
  const { received, missed, twice } = ledgerOf([3, 4, 6, 7]).look(8, 4);
  assert.equal([received, missed, twice], [4, 2, 0]);
});

ledger('what was sent just now may still come, and is not missed', () => {
  assert.is(ledgerOf([0, 1, 2]).look(1, 3).missed, 0);
});

ledger('what comes twice is received once', () => {
  const { received, twice } = ledgerOf([0, 1, 1, 2, 0]).look(2, 5);
  assert.equal([received, twice], [3, 2]);
});

ledger('the longest silence is also one that lasts', () => {
  const made = new Ledger();
  made.record(0, 'a', 0);
  made.record(1, 'a', 10);
  assert.is(made.look(1, 12).silenceMs, 10);
  assert.equal([made.look(1, 50).silenceMs, made.look(1, 50).sinceMs], [40, 40]);
});

ledger('one who has received nothing has missed nothing that it could know of', () => {
  const { received, missed, sender, silenceMs } = new Ledger().look(100, 1000);
  assert.equal([received, missed, sender, silenceMs], [0, 0, null, 0]);
});
ledger.run();

// ---- views ----

const views = suite('views of a group');

/** Of a terminal of 80 columns, the last of which stays free. */
const WIDTH = 79;

const received = { received: 2990, missed: 10, twice: 2, silenceMs: 9500, sinceMs: 4 };
const view: FleetView = {
  seconds: 17,
  isFinal: false,
  fleet: 'http://127.0.0.1:4001/demo',
  isEtcdThere: true,
  feed: { rate: 200, sent: 3000, refused: 0 },
  members: [
    { name: 'm1', state: 'serving', control: 'ws://127.0.0.1:4003', shards: 128 },
    { name: 'm2', state: 'dead', control: 'ws://127.0.0.1:4004', shards: 0 },
  ],
  names: new Map([['10.77.8.21', 'm1']]),
  subscribers: [
    { ip: '10.77.8.101', port: 9001, rate: 200, ...received, sender: '10.77.8.21' },
    { ip: '10.77.8.102', port: 9002, rate: 0, ...received, sender: '10.77.8.22', sinceMs: 3210 },
  ],
};

views('the table says who serves whom, and what each missed and got twice', () => {
  const lines = fleetLines(view, WIDTH);
  const row = (start: string) => lines.find((line) => line.startsWith(start))?.split(/ {2,}/);
  assert.equal(row('10.77.8.101:9001'), [
    ...['10.77.8.101:9001', 'm1', '200', '2,990', '10', '2', '9,500 ms'],
  ]);
  assert.is(row('10.77.8.102:9002')?.[1], 'nobody for 3.2 s');
  assert.equal(row('m1'), ['m1', 'serving', '1 subscribers', '128 shards', 'ws://127.0.0.1:4003']);
});

views('no line is wider than the terminal, and no number or sentence is cut', () => {
  const text = (width: number) => [...fleetLines(view, width), ...fleetHints(view.fleet, width)];
  const words = (lines: readonly string[]) => lines.join(' ').split(/\s+/);
  const all = new Set(words(text(1000)));
  for (const width of [WIDTH, 59, 40]) {
    const lines = text(width).filter((line) => !line.includes('fantail fleet status'));
    assert.equal(
      lines.filter((line) => line.length > width),
      [],
    );
    assert.equal(
      words(lines).filter((word) => !all.has(word)),
      [],
    );
  }
  assert.ok(
    text(WIDTH).some((line) => /silence$/.test(line)),
    'all columns fit',
  );
});

views('of etcd that is away it says so, and the JSON has the same figures', () => {
  assert.ok(
    fleetLines({ ...view, isEtcdThere: false }, WIDTH).some((line) =>
      /etcd +taken away/.test(line),
    ),
  );
  const { etcd, subscribers, final } = JSON.parse(fleetJson(view));
  assert.equal([etcd, final], ['there', false]);
  assert.equal(
    subscribers.map((row: Record<string, unknown>) => [row.served_by, row.missed, row.twice]),
    [
      ['m1', 10, 2],
      [null, 10, 2],
    ],
  );
});
views.run();

// ---- the whole ----

const whole = suite('demo of a group');

interface Line {
  readonly seconds: number;
  readonly final: boolean;
  readonly members: { readonly name: string; readonly state: string }[];
  readonly subscribers: {
    readonly served_by: string | null;
    readonly received: number;
    readonly missed: number;
  }[];
}

interface Run {
  readonly status: number | null;
  readonly lines: readonly Line[];
  readonly said: string;
  readonly pid: number;
}

const DEMO = [process.execPath, MAIN, 'fleet', 'demo', '--json'];
const isDemo = ({ command }: { readonly command: string }) =>
  command.includes(`${MAIN} fleet demo`);

/** Until it serves, and again until it has ended: for hangs only. */
const DEMO_MS = 180_000;
let demos = 0;

/** Runs it until it ends; `onLine` may press keys, or send it Ctrl-C. */
async function runDemo(
  [program = '', ...args]: readonly string[],
  path: string,
  onLine: (line: Line, demo: Program) => void,
): Promise<Run> {
  const mark = `${process.pid}d${++demos}`;
  const environment = { PATH: path, FANTAIL_TEST: mark };
  const demo = new Program(program, args, { group: true, environment });
  const processes = () => processesOf(demo.pid, `FANTAIL_TEST=${mark}`);
  let pid = 0;
  const lines: Line[] = [];
  demo.onLine((text) => {
    const line = JSON.parse(text) as Line;
    lines.push(line);
    pid ||= processes().find(isDemo)?.pid ?? 0;
    onLine(line, demo);
  });
  try {
    const { status } = await demo.wait(DEMO_MS);
    // npm goes before what it has started
    await eventually('all of it has ended', () => processes().length === 0);
    return { status, lines, said: demo.stderr, pid };
  } finally {
    demo.close();
  }
}

/** Namespaces, folders and processes of a demo that has ended. */
const residueOf = (pid: number): string[] => [
  ...[...readdirSync('/run/netns'), ...readdirSync(tmpdir())].filter((name) =>
    name.startsWith(`fantail-demo-${pid}-`),
  ),
  ...processesWith(`FANTAIL_DEMO=${pid}-`).map(({ command }) => command),
];

const withEtcd = () => `${dirname(etcdProgram('etcd'))}:${process.env.PATH}`;

whole(
  'a key drains a member: its subscribers miss nothing, and Ctrl-C leaves nothing',
  async () => {
    const lack = lackForNetwork() ?? lackForEtcd();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    let isDrained = false;
    const run = await runDemo(DEMO, withEtcd(), (line, demo) => {
      const [first] = line.members;
      if (!isDrained && line.subscribers.every((row) => row.served_by !== null)) {
        isDrained = true;
        demo.type('4');
      } else if (first?.state === 'dead' && !line.final) demo.signal('SIGINT');
    });
    assert.is(run.status, 0, run.said);
    const last = run.lines.at(-1);
    assert.ok(last?.final, run.said);
    assert.equal(
      last.subscribers.map(({ missed }) => missed),
      last.subscribers.map(() => 0),
      run.said,
    );
    const owners = new Set(last.subscribers.map((row) => row.served_by));
    assert.not.ok(owners.has('m1') || owners.has(null), run.said);
    assert.equal(residueOf(run.pid), []);
  },
);

whole('npm run demo:fleet is that demo: a key kills a member, and others take over', async () => {
  const lack = lackForNetwork() ?? lackForEtcd();
  if (lack !== null) {
    console.log(`skip: ${lack}`);
    return;
  }
  const command = ['npm', 'run', '--silent', 'demo:fleet', '--', '--json'];
  let isKilled = false;
  const run = await runDemo(command, withEtcd(), (line, demo) => {
    const isServed = line.subscribers.every((row) => row.served_by !== null);
    const others = line.subscribers.every((row) => row.served_by !== 'm1');
    if (!isKilled && isServed) {
      isKilled = true;
      demo.type('1');
    } else if (line.members[0]?.state === 'dead' && isServed && others && !line.final)
      demo.signal('SIGINT');
  });
  // npm's own end is by the signal; the demo's is its last line, and what it leaves
  const last = run.lines.at(-1);
  assert.ok(last?.final, run.said);
  const owners = last.subscribers.map((row) => row.served_by);
  assert.ok(
    owners.every((owner) => owner === 'm2' || owner === 'm3'),
    String(owners),
  );
  assert.is.not(run.pid, 0);
  assert.equal(residueOf(run.pid), []);
});

whole('without etcd it ends with the line that installs it', async () => {
  if (process.geteuid?.() !== 0) {
    console.log('skip: without root it says that first');
    return;
  }
  const { status, said } = await runDemo(DEMO, '/nowhere', () => {});
  assert.is(status, 1);
  assert.match(said, /apt-get install etcd-server/);
});
whole.run();
