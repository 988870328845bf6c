/**
 * Goal: of two lines that each lose packets, subscribers get every sequence that came on either,
 * once; in order where both were; and the ledger of it is exact. Method: a sender that writes down
 * what it has sent on each line, subscribers that write down what they get, and an oracle that
 * compares the two with sets. `FANTAIL_SEED=n` repeats the losses.
 *
 * What the kernel loses on the way is not written down: where that has happened, on a machine that
 * is loud, the same is done again, more slowly.
 *
 * needs: a link
 * takes: 60 s
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import type { Stats } from '../../src/domain/statistics.js';
import { received } from '../rig/channel.js';
import type { Link } from '../rig/link.js';
import { REPLICATOR_IP } from '../rig/link.js';
import { atEnd, eventually } from '../rig/program.js';
import { random } from '../rig/random.js';
import type { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, replaceWorker, withReplicator } from '../rig/scenario.js';
import { LISTEN_PORT, startLines, startSubscribers } from '../rig/wire.js';

const test = suite('two lines');
const B_PORT = 9100;
const RATE = 50_000;
const SECONDS = 2;
const TRIES_MAX = 6;
/** Addresses of the far side, where the kernel delivers copies to sockets. */
const SUBSCRIBERS = [
  { ip: '10.77.0.2', port: 9301, param: 'proto=moldudp64' },
  { ip: '10.77.0.2', port: 9302, param: 'proto=moldudp64' },
  { ip: '10.77.0.2', port: 9303, param: 'seq=10,8' },
];

interface Packet {
  readonly index: number;
  readonly sequence: number;
}

function packetsIn(file: string): Packet[] {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line) => {
      const [index = -1, sequence = -1] = line.split(' ').map(Number);
      return { index, sequence };
    });
}

/** What was sent, in order, on both lines. */
class Lines {
  readonly a: Set<number>;
  readonly b: Set<number>;
  readonly either: Set<number>;

  constructor(packets: readonly Packet[]) {
    const of = (line: number) =>
      new Set(packets.filter(({ index }) => index === line).map(({ sequence }) => sequence));
    this.a = of(0);
    this.b = of(1);
    this.either = new Set([...this.a, ...this.b]);
    assert.is(this.a.size + this.b.size, packets.length, 'each once on a line');
  }

  /** Between the first that came and the last, what came on neither. */
  lost(): number[] {
    const all = [...this.either].sort((x, y) => x - y);
    const [first = 0] = all;
    const lost: number[] = [];
    for (let sequence = first; sequence < (all.at(-1) ?? 0); sequence++)
      if (!this.either.has(sequence)) lost.push(sequence);
    return lost;
  }
}

/** What one subscriber got wrong, as sentences. */
function faultsOf(got: readonly number[], lines: Lines, isWhole: boolean): string[] {
  const faults: string[] = [];
  const seen = new Set<number>();
  for (const sequence of got) {
    if (seen.has(sequence)) faults.push(`${sequence} came twice`);
    if (!lines.either.has(sequence)) faults.push(`${sequence} was never sent`);
    seen.add(sequence);
  }
  if (!isWhole) return faults;
  for (const sequence of lines.either)
    if (!seen.has(sequence)) faults.push(`${sequence} did not come`);
  // those that both lines have brought must come in order: both had them in order
  let highest = 0;
  for (const sequence of got.filter((each) => lines.a.has(each) && lines.b.has(each))) {
    if (sequence < highest) faults.push(`${sequence} came behind ${highest}`);
    highest = Math.max(highest, sequence);
  }
  return faults.slice(0, 10);
}

/** Numbers that were told as missing, by gap events that a session gets, and gaps that were not. */
interface Listening {
  readonly told: number[];
  suppressed: number;
  readonly close: () => void;
}

async function listen(control: string): Promise<Listening> {
  const socket = new WebSocket(`ws://${control}`);
  await new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('message', resolve);
    socket.once('open', () => socket.send('{"op":"watch","seconds":3600}'));
  });
  const heard: Listening = { told: [], suppressed: 0, close: () => socket.terminate() };
  socket.on('message', (data) => {
    const { event, from, to, suppressed = 0 } = JSON.parse(String(data));
    if (event !== 'gap') return;
    heard.suppressed += suppressed;
    for (let number = from; number <= to; number++) heard.told.push(number);
  });
  return heard;
}

interface Done {
  readonly lines: Lines;
  /** By subscriber, in order. */
  readonly got: readonly number[][];
  readonly told: readonly number[];
  readonly stats: Stats;
  /** Why it is not known what came; null: what was sent came, and what went out was received. */
  readonly loss: string | null;
}

/** The replicator that is given serves nobody and has one feed. */
async function run(
  replicator: Replicator,
  options: { readonly rate: number; readonly seed: number; readonly folder: string },
  meanwhile: () => Promise<void> = async () => {},
): Promise<Done> {
  const { link } = replicator;
  const { rate, seed, folder } = options;
  const [sentLog, gotLog] = [join(folder, 'sent'), join(folder, 'got')];
  await replicator.cli('filter', 'load', 'dedupe', 'build/filters/dedupe.wasm');
  await replicator.cli('feed', 'add', 'b', `${REPLICATOR_IP}:${B_PORT}`);
  for (const { ip, port, param } of SUBSCRIBERS) {
    await replicator.cli('add', ip, String(port), '--feed', 'main,b');
    await replicator.cli('filter', 'use', 'dedupe', ip, String(port), '--param', param);
  }
  const gaps = await listen(replicator.control);
  const subscribers = await startSubscribers(link, SUBSCRIBERS, gotLog);
  const line = { ports: [LISTEN_PORT, B_PORT], lose: 100, behindUs: 100, seed, log: sentLog };
  const sending = startLines(link, { ...line, rate, count: rate * SECONDS });
  const [{ sent }] = await Promise.all([sending.result(120_000), meanwhile()]);
  const { last: stats } = await replicator.settled((now) => received(now) >= sent);
  const lines = new Lines(packetsIn(sentLog));
  const lost = lines.lost();
  const isWhole = received(stats) === sent;
  if (isWhole)
    await eventually(
      'all that both lines have lost is told',
      () => gaps.suppressed > 0 || lost.every((each) => gaps.told.includes(each)),
    );
  const sunk = await subscribers.stop();
  gaps.close();
  const got = SUBSCRIBERS.map(() => [] as number[]);
  for (const { index, sequence } of packetsIn(gotLog)) got[index]?.push(sequence);
  const out = stats.subscribers.reduce((sum, row) => sum + row.sent, 0);
  const losses = [
    ...(gaps.suppressed === 0 ? [] : [`${gaps.suppressed} gaps were too many to tell each`]),
    ...(isWhole ? [] : [`${sent} were sent, ${received(stats)} received`]),
    ...(sunk.received === out ? [] : [`${out} copies, ${sunk.received} came, ${sunk.lost} lost`]),
    ...stats.subscribers.flatMap(({ drops }) =>
      Object.entries(drops)
        .filter(([name, count]) => count > 0 && name !== 'filter_drop')
        .map(([name, count]) => `${count} ${name}`),
    ),
  ];
  return { lines, got, told: gaps.told, stats, loss: losses.length === 0 ? null : losses.join() };
}

/** What must hold however loud the machine is. */
function assertLawful({ lines, got, stats, told }: Done, what: string): void {
  for (const each of got) assert.equal(faultsOf(each, lines, false), [], what);
  for (const { received, sent, drops, in_flight } of stats.subscribers) {
    const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
    assert.is(received, sent + dropped + in_flight, what);
  }
  for (const set of setsOf(stats)) {
    const won = set.lines.reduce((sum, line) => sum + line.won, 0);
    const late = set.lines.reduce((sum, line) => sum + line.late, 0);
    assert.ok(won <= lines.either.size, `${what}: ${won} have won`);
    assert.ok(won + late <= lines.a.size + lines.b.size, what);
  }
  assert.is(new Set(told).size, told.length, `${what}: told once`);
}

const setsOf = ({ filters }: Stats) =>
  filters.loaded.find(({ name }) => name === 'dedupe')?.report?.sets ?? [];

/** What must hold where all that was sent has come. */
function assertExact({ lines, got, stats, told }: Done, rate: number, what: string): void {
  for (const each of got) assert.equal(faultsOf(each, lines, true), [], what);
  const sent = lines.a.size + lines.b.size;
  for (const row of stats.subscribers) {
    const { received, drops } = row;
    const counts = [received, row.sent, drops.filter_drop];
    assert.equal(counts, [sent, lines.either.size, sent - lines.either.size], what);
  }
  const sets = setsOf(stats);
  assert.equal(
    sets.map(({ param, subscribers, feeds }) => [param, subscribers, feeds.join()]).sort(),
    [
      ['proto=moldudp64', 2, 'main,b'],
      ['seq=10,8', 1, 'main,b'],
    ],
  );
  const lost = lines.lost();
  const last = [...lines.either].reduce((highest, each) => Math.max(highest, each), 0);
  // the filter itself tells of those in the last 0.1 s when a packet comes again
  const settled = lost.filter((each) => each < last - rate / 5).length;
  for (const set of sets) {
    const of = (name: string) => set.lines.find(({ feed }) => feed === name);
    const [a, b] = [of('main'), of('b')];
    assert.is((a?.won ?? 0) + (a?.late ?? 0), lines.a.size, `${what}: of line A`);
    assert.is((b?.won ?? 0) + (b?.late ?? 0), lines.b.size, `${what}: of line B`);
    assert.is((a?.won ?? 0) + (b?.won ?? 0), lines.either.size, what);
    // what A has lost B has won, at least
    const ofB = [...lines.b].filter((sequence) => !lines.a.has(sequence)).length;
    assert.ok((b?.won ?? 0) >= ofB, `${what}: B has won ${b?.won}, alone it had ${ofB}`);
    assert.ok(set.missing >= settled, `${what}: ${set.missing} of ${settled} missing`);
  }
  // one that came on one line only may have been 100 ms behind on a machine that is loud
  const toldToo = told.filter((each) => !lost.includes(each));
  assert.equal(
    toldToo.filter((each) => lines.a.has(each) && lines.b.has(each)),
    [],
    `${what}: told as missing, and came on both`,
  );
  if (toldToo.length > 0) console.log(`     ${toldToo.length} came over 100 ms late`);
}

/** Until a try whose every packet has come, each half as fast as the one before. */
async function compare(
  link: Link,
  flags: readonly string[],
  fastest = RATE,
  meanwhile?: (replicator: Replicator) => Promise<void>,
): Promise<void> {
  const { seed } = random('losses');
  const folder = mkdtempSync(join(tmpdir(), 'fantail-lines-'));
  const remove = atEnd(() => rmSync(folder, { recursive: true, force: true }));
  for (let tries = 0; ; tries++) {
    const rate = Math.ceil(fastest / 2 ** tries);
    const what = `seed ${seed}, ${rate}/s`;
    let loss: string | null = null;
    await withReplicator({ link, flags }, async (replicator) => {
      const done = await run(replicator, { rate, seed, folder }, () =>
        meanwhile === undefined ? Promise.resolve() : meanwhile(replicator),
      );
      assertLawful(done, what);
      loss = done.loss;
      if (loss === null) assertExact(done, rate, what);
    });
    if (loss === null) break;
    console.log(`     ${what}: ${loss}`);
    assert.ok(tries + 1 < TRIES_MAX, `${what}: still ${loss}`);
  }
  remove();
}

for (const layout of ['inline', 'split'] as const)
  networkTest(
    test,
    `of two lines of 50k/s that each lose 1 %, one 0.1 ms behind, every sequence that came on either goes out once, in order where both were, and the ledger is exact: ${layout}`,
    { queues: 1 },
    (link) => compare(link, copyMode(layout)),
  );

networkTest(
  test,
  'so it is when the worker is killed meanwhile, twice: the filter goes on with what it knew',
  { queues: 1 },
  (link) =>
    // the rings have room for 8192 packets
    compare(link, copyMode('inline'), RATE / 4, async (replicator) => {
      await replaceWorker(replicator);
      await replaceWorker(replicator);
    }),
);

test.run();
