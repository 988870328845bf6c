/**
 * Goal: what takes long shows on a terminal how far it is and when it ends, leaves the line clean
 * however it ends, and shows nothing elsewhere. Method: the programs on a pseudo-terminal, what
 * they write there put on a screen.
 *
 * needs: a link
 * takes: 50 s
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { clockText, progressLine } from '../../src/terminal/progress.js';
import { samplePackets } from '../../src/workbench/trial.js';
import { eventually, lackForNetwork, MAIN, type Program, ROOT } from '../rig/program.js';
import { fantail } from '../rig/replicator.js';
import { onTerminal, quoted, screenOf, shownBars, visible } from './screen.js';

const test = suite('progress');

const open: Program[] = [];
/** Ended with its test, also one that has failed. */
function started(line: string): Program {
  const program = onTerminal(line);
  open.push(program);
  return program;
}
test.after.each(() => {
  for (const program of open.splice(0)) program.close();
});

const CTRL_C = '\x03';
/** Of a terminal, to what runs on it. */
const node = (...words: string[]) => `exec ${[process.execPath, ...words].map(quoted).join(' ')}`;
const here = (...words: string[]) => node(MAIN, ...words);
/** Nobody listens there, and nobody needs to. */
const SEND = ['send', '127.0.0.1', '9'];

/** It has risen to the end or nearly, and an estimate was there. */
function assertRises(program: Program, note: RegExp): void {
  const bars = shownBars(program.stdout);
  const percents = bars.map(({ percent }) => percent);
  assert.ok(bars.length >= 2, program.told());
  assert.equal(
    percents,
    [...percents].sort((a, b) => a - b),
  );
  assert.ok(
    bars.some(({ left }) => left !== null),
    program.told(),
  );
  for (const bar of bars) assert.match(bar.note, note);
}

async function ended(program: Program, status: number): Promise<string[]> {
  const end = await program.wait();
  assert.is(end.status, status, program.told());
  return screenOf(program.stdout).filter((line) => line !== '');
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fantail-progress-'));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a line says how much is done, how long it still takes, and what it is at', () => {
  const half = '========--------';
  const line = (share: number, left_ms: number | null, note: string) =>
    progressLine({ share, left_ms, note });
  assert.is(line(0.5, 65_400, 'sent 1'), `[${half}] 50 %, 1:05 left, sent 1`);
  assert.is(line(0.999, null, ''), `[${'='.repeat(15)}-] 99 %`);
  assert.is(line(1.5, 0, 'x'), `[${'='.repeat(16)}] 100 %, 0:00 left, x`);
  assert.is(clockText(59_499), '0:59');
  assert.is(clockText(3_600_000), '1:00:00');
  assert.is(clockText(36_061_000), '10:01:01');
});

test('send shows a bar with an estimate, and only its result in the end', async () => {
  const program = started(here(...SEND, '500', 'x', '--rate', '100'));
  const screen = await ended(program, 0);
  assertRises(program, /^sent \d+ of 500$/);
  assert.is(screen.length, 1, program.told());
  assert.match(screen[0] ?? '', /^sent 500 of 500 packets, /);
});

test('Ctrl-C leaves the line clean: send', async () => {
  const program = started(here(...SEND, '1000000', 'x', '--rate', '100'));
  await eventually('it shows', () => shownBars(program.stdout).length > 1);
  program.type(CTRL_C);
  const screen = await ended(program, 0);
  assert.match(screen.join('|'), /^sent \d+ of 1,000,000 packets, [^|]*$/);
});

test('a terminal that is not asked for shows nothing: --json, a pipe, a file', async () => {
  const words = [...SEND, '120', 'x', '--rate', '100'];
  const json = started(here(...words, '--json'));
  const [line = '', ...more] = await ended(json, 0);
  assert.is(JSON.parse(line).sent, 120);
  assert.equal([more, json.stdout.trim()], [[], line]);
  const piped = await fantail(words);
  assert.equal([piped.stderr, piped.stdout.split('\n').length], ['', 2]);
  await inFolder(async (folder) => {
    const file = join(folder, 'told');
    await ended(started(`${here(...words)} 2> ${quoted(file)}`), 0);
    assert.is(readFileSync(file, 'utf8'), '');
  });
});

test('filter build shows what it is at, and filter test how many packets it has tried', () =>
  inFolder(async (folder) => {
    const project = join(folder, 'mine');
    assert.is(
      (await ended(started(`cd ${quoted(folder)} && ${here('filter', 'new', 'mine')}`), 0)).length,
      1,
    );
    const build = started(here('filter', 'build', project));
    const built = await ended(build, 0);
    assert.equal(
      [...new Set(shownBars(build.stdout).map(({ note }) => note))],
      ['compiling', 'checking'],
    );
    assert.ok(shownBars(build.stdout).every(({ left }) => left !== null));
    assert.match(built.join(''), /^built .* which keeps the rules$/);

    const capture = join(folder, 'many.pcap');
    writeFileSync(capture, pcapOf(5000));
    const module = join(ROOT, 'build', 'filters', 'rewrite.wasm');
    const told = join(folder, 'told');
    const tried = here('filter', 'test', module, capture);
    const quiet = started(`${tried} > ${quoted(told)}`);
    assert.equal(await ended(quiet, 0), []);
    assertRises(quiet, /^packet [\d,]+ of 5,000$/);
    assert.is(readFileSync(told, 'utf8').match(/^packet \d+ /gm)?.length, 5000);

    const loud = started(tried);
    await loud.wait();
    const shown = visible(loud.stdout)
      .replaceAll(/\r␛\[K(\[[=-]+\][^\r]*)?/g, '')
      .replaceAll('\r\n', '\n');
    assert.is(shown, readFileSync(told, 'utf8'), 'packets and bar are not mixed up');

    writeFileSync(capture, pcapOf(200_000));
    const stopped = started(`${tried} > /dev/null`);
    await eventually('it shows', () => shownBars(stopped.stdout).length > 1);
    stopped.type(CTRL_C);
    assert.equal(await ended(stopped, 0), []);
  }));

/** A classic pcap (microseconds, little-endian) of a sample over and over. */
function pcapOf(count: number): Buffer {
  const [sample] = samplePackets();
  assert.ok(sample);
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65_535, 16);
  head.writeUInt32LE(1, 20); // Ethernet
  const record = Buffer.alloc(16);
  record.writeUInt32LE(sample.bytes.length, 8);
  record.writeUInt32LE(sample.bytes.length, 12);
  const one = Buffer.concat([record, sample.bytes]);
  return Buffer.concat([head, ...Array.from({ length: count }, () => one)]);
}

const networkProgress = (name: string, work: () => Promise<void>) =>
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) console.log(`skip: ${lack}`);
    else await work();
  });

networkProgress('soak shows how much of its time is over, and ends with its ledger', async () => {
  const words = ['--minutes', '0.1', '--seed', '1', '--rate', '1000', '--subscribers', '2'];
  const program = started(node('dist/test/soak/main.js', ...words));
  const screen = await ended(program, 0);
  assertRises(program, /^\d+ kills, \d+ in a commit or call$/);
  assert.equal(shownBars(screen.join('\n')), []);
});

networkProgress('Ctrl-C leaves the line clean: soak', async () => {
  const program = started(node('dist/test/soak/main.js', '--seed', '1', '--rate', '1000'));
  await eventually('it shows', () => shownBars(program.stdout).length > 1);
  program.type(CTRL_C);
  assert.equal(shownBars((await ended(program, 130)).join('\n')), []);
});

networkProgress('npm run bench names the turn that runs, below those that are done', () =>
  inFolder(async (folder) => {
    const words = ['--tiny', '--only', '^(filter|s1-b200 tc clone)$', '--output', folder];
    const program = started(node('dist/tools/bench/main.js', ...words));
    const screen = await ended(program, 0);
    const notes = [...new Set(shownBars(program.stdout).map(({ note }) => note))];
    assert.equal(notes, ['s1-b200 tc clone, round 1', 'filter, round 1']);
    assert.match(screen[0] ?? '', /^\[1\/2, \d+:\d\d left\] s1-b200 tc clone, round 1: /);
    assert.match(screen[1] ?? '', /^\[2\/2, 0:00 left\] filter, round 1: /);
    assert.equal(shownBars(screen.join('\n')), []);
  }),
);

test.run();
