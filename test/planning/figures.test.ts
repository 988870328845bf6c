/**
 * Goal: figures are those of the bench, unless they are given, and nothing is made up; the command
 * prints them with the plan. Method: a file with the rows of latest.json whose figures are worked
 * out by hand. That the bench writes such a file is shown in test/bench/bench-run.test.ts.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { figuresOf } from '../../src/planning/figures.js';
import { MAIN } from '../rig/program.js';
import { bench } from './bench-file.js';

const test = suite('figures');
const folder = mkdtempSync(join(tmpdir(), 'plan-'));
test.after(() => rmSync(folder, { recursive: true }));

const file = join(folder, 'latest.json');
writeFileSync(file, JSON.stringify(bench));
const of = { file, competitor: 'fantail inline' };

test('the bench says what a member takes, of the size that is nearest from the payload on', () => {
  const { figures, from, machine } = figuresOf({}, of, 100);
  assert.equal(figures, {
    first_copy_us: 4,
    copy_us: 2, // the slowest of the rows
    copies_per_second: 480_000, // and of the outputs, but for one subscriber
    jitter_ratio: 1.2, // the middle of 1.1, 1.2, 1.2
    hop_us: 0,
    link_gbps: null,
  });
  assert.equal([from.copy_us, from.hop_us], ['bench', 'not given']);
  assert.is(machine, 'EPYC, 2 cores, Linux 6.18, 2026-11-27, commit abc1234');
  for (const bytes of [201, 9000]) {
    const large = figuresOf({}, of, bytes).figures;
    assert.equal([large.copy_us, large.copies_per_second], [3, 300_000], `${bytes}`);
  }
});

test('what is given goes before the bench, and is enough without one', () => {
  const { figures, from } = figuresOf({ copyUs: 5, hopUs: 7, jitter: 3, linkGbps: 25 }, of, 200);
  assert.equal(
    [figures.copy_us, figures.hop_us, figures.jitter_ratio, figures.link_gbps],
    [5, 7, 3, 25],
  );
  assert.equal([from.copy_us, from.first_copy_us], ['--copy-us', 'bench']);
  const alone = figuresOf({ firstCopyUs: 3, copiesPerSecond: 500_000 }, null, 200);
  assert.equal(
    [alone.figures.copy_us, alone.figures.jitter_ratio, alone.from.jitter_ratio, alone.machine],
    [2, 1, 'not given', null],
  );
  assert.is(figuresOf({ firstCopyUs: 3, copyUs: 4 }, null, 1).figures.copies_per_second, 250_000);
});

function program(...words: string[]) {
  const asked = [MAIN, 'plan', '--subscribers', '2000', '--rate', '100', '--size', '200', ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, asked, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('without figures it says what to run or to give', () => {
  const { status, stderr } = program();
  assert.is(status, 2);
  assert.match(stderr, /what a member can do is not known: run npm run bench and give --bench/);
  assert.match(program('--copy-us', '1').stderr, /or give --first-copy-us and --copy-us or/);
  assert.match(
    program('--first-copy-us', '2', '--copy-us', '1', '--fan-out', '9', '--members', '9').stderr,
    /--fan-out and --members exclude each other/,
  );
});

test('a file that is none of the bench, and a row that is none of the file, are named', () => {
  const other = join(folder, 'other.json');
  writeFileSync(other, '{"machine": {}}');
  const none = program('--bench', join(folder, 'none'));
  assert.is(none.status, 1);
  assert.match(none.stderr, /none cannot be read \(ENOENT.*\); npm run bench writes it/);
  assert.match(program('--bench', other).stderr, /holds no results of npm run bench \(machine/);
  assert.match(
    program('--bench', file, '--row', 'fantail').stderr,
    /has no lossless row of 'fantail'; --row takes one of: fantail inline, tc clone$/m,
  );
});

test('the table and the object say levels, what to expect, and where each figure is from', () => {
  const { status, stdout } = program('--bench', file);
  assert.is(status, 0);
  assert.match(stdout, /^2,000 subscribers, 100 packets.s of 200 bytes: 1 member in 1 level$/m);
  assert.match(stdout, /^ +1 +1 +2,000 subscribers +200,000 +42 % +-$/m);
  assert.match(stdout, /^to the last subscriber +4,\d\d\d µs +[\d,]+ µs$/m);
  assert.match(stdout, /^each more +2 µs +bench$/m);
  assert.match(stdout, /^bench: EPYC, 2 cores/m);
  const plan = JSON.parse(program('--bench', file, '--fan-out', '1000', '--json').stdout);
  assert.equal(
    [plan.members, plan.levels.length, plan.levels[1].children, plan.figures.copy_us],
    [3, 2, 1000, 2],
  );
  assert.equal([plan.version, plan.feed.payload_bytes, plan.from.copy_us], [1, 200, 'bench']);
});

test.run();
