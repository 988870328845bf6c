/**
 * `npm run test:package`: the package on a bare machine (bare.ts) and in the image that the
 * Dockerfile makes (image.ts), each with a Debian made for it. What fails is shown whole, figures
 * in any case, and the last line is `P passed, F failed, S skipped`.
 *
 *   npm run test:package -- --only image
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { oneOf } from '../../src/cli/arguments.js';
import { command, runProgram } from '../../src/cli/program.js';
import { ROOT } from '../rig/program.js';
import { countUvu } from '../runner/counts.js';
import { figuresIn } from './figures.js';

const PARTS = ['bare', 'image'] as const;
type Part = (typeof PARTS)[number];

function run(part: Part) {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, 'dist', 'test', 'package', `${part}.js`)],
    { encoding: 'utf8', cwd: ROOT, maxBuffer: 1 << 28, env: { ...process.env, NO_COLOR: '1' } },
  );
  const seconds = (performance.now() - start) / 1000;
  const output = stdout + stderr;
  const counts = countUvu({ output, fault: status === 0 ? null : `status ${status}` });
  const { skips } = counts;
  // a part that skips as a whole has run no test, and says why
  const failed = skips.length > 0 && status === 0 && !output.includes('Total:') ? 0 : counts.failed;
  console.log(`${part}: ${counts.passed} passed, ${failed} failed (${seconds.toFixed(0)} s)`);
  for (const skip of skips) console.log(`  skip: ${skip}`);
  for (const said of figuresIn(output)) console.log(`  ${said}`);
  if (failed > 0) console.log(output.replace(/^/gm, '  | '));
  return { passed: counts.passed, failed, skipped: skips.length };
}

function testAll({ only }: { only?: Part }): void {
  const all = (only === undefined ? PARTS : [only]).map(run);
  const sum = (name: 'passed' | 'failed' | 'skipped') =>
    all.reduce((total, counts) => total + counts[name], 0);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  if (sum('failed') > 0) process.exitCode = 1;
}

const testPackage = command('test:package', 'Test the package on a bare machine and as an image.')
  .option('--only <part>', PARTS.join(' or '), oneOf('--only', PARTS))
  .action(testAll);

await runProgram(testPackage, process.argv.slice(2));
