/**
 * `npm run bench` as a program: every turn of it runs, at sizes that say nothing of speed, and a
 * run that was cut short goes on.
 *
 * needs: a link
 * takes: 150 s
 */
// time limit: 1800 s

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { figuresOf } from '../../src/planning/figures.js';
import type { Summary } from '../../tools/bench/report/summary.js';
import { competitors } from '../../tools/bench/runs/competitors.js';
import type { Run } from '../../tools/bench/runs/journal.js';
import { specials } from '../../tools/bench/specials/specials.js';
import { lackForNetwork, Program, ROOT } from '../rig/program.js';

const test = suite('bench run');
/** For hangs only. */
const RUN_MS = 900_000;

function bench(...args: string[]): Program {
  const main = join(ROOT, 'dist', 'tools', 'bench', 'main.js');
  return new Program(process.execPath, [main, ...args], { group: true });
}

async function finished(program: Program): Promise<Program> {
  const end = await program.wait(RUN_MS);
  assert.equal(end, { status: 0, signal: null }, program.told());
  return program;
}

test('every turn of the benchmark runs, and the results say what was measured, where and how', async () => {
  const lack = lackForNetwork();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const folder = mkdtempSync(join(tmpdir(), 'fantail-bench-'));
  try {
    const { stdout } = await finished(bench('--tiny', '--seed', '7', '--output', folder));
    const result = JSON.parse(readFileSync(join(folder, 'latest.json'), 'utf8')) as Run & {
      summary: Summary;
    }; // written by main.ts
    assert.equal([result.head.plan, result.head.seed], ['tiny', 7]);
    assert.ok(result.head.machine.kernel !== '' && result.head.machine.cpu !== '');
    for (const { name } of competitors) {
      const turn = result.turns.find(({ competitor }) => competitor === name);
      assert.ok(turn !== undefined && turn.command !== '' && turn.mode !== '', name);
      assert.ok(stdout.includes(name), name);
    }
    for (const row of result.summary.latency)
      assert.equal([row.corrupt, row.duplicated], [0, 0], JSON.stringify(row));
    for (const { id } of specials)
      assert.ok(
        result.specials.some(({ special }) => special === id),
        id,
      );
    const source = { file: join(folder, 'latest.json'), competitor: 'fantail inline' };
    const { figures, from } = figuresOf({}, source, 200); // as fantail plan reads it
    assert.ok(figures.first_copy_us > 0 && figures.copy_us > 0, JSON.stringify(figures));
    assert.equal([from.first_copy_us, from.copy_us], ['bench', 'bench']);
    const page = readFileSync(join(folder, 'latest.html'), 'utf8');
    const markdown = readFileSync(join(folder, 'latest.md'), 'utf8');
    for (const { name } of competitors)
      assert.ok(markdown.includes(`\n| ${name} | `), `${name} in latest.md`);
    for (const { name } of result.summary.targets)
      assert.ok(markdown.includes(`\n| ${name} | `), name);
    assert.ok(page.includes('<svg ') && page.includes('</html>') && !page.includes('NaN'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a run that was cut short goes on where it stopped', async () => {
  const lack = lackForNetwork();
  if (lack !== null) return console.log(`skip: ${lack}`);
  const folder = mkdtempSync(join(tmpdir(), 'fantail-bench-'));
  try {
    const some = ['--tiny', '--output', folder];
    await finished(bench(...some, '--only', '^filter$'));
    const second = await finished(bench(...some, '--only', '^filter$|s1-b200 raw AF_XDP transmit'));
    assert.match(second.stderr, /goes on with the run/);
    assert.match(second.stderr, /\[1\/1,/);
    const fresh = await finished(bench(...some, '--only', '^filter$', '--fresh'));
    assert.not.match(fresh.stderr, /goes on/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a name that no turn has is a usage error', async () => {
  const program = bench('--only', 'nothing-like-this');
  assert.is((await program.wait()).status, 2, program.told());
});

test.run();
