/**
 * `npm run nodes`: the tests of what depends on V8, on each Node that users have. The last line is
 * that of `npm test`, of all of them together.
 */
import { spawnSync } from 'node:child_process';
import { ROOT } from '../rig/program.js';
import { MAJORS, NODES, nodeOf } from './nodes.js';

const STEPS = ['checker', 'containment', 'stock-filters', 'filters/filters', 'swap', 'fuzz'];
/** Of what a run prints. */
const OUTPUT_SIZE_MAX = 64 * 1024 * 1024;

const totals = [0, 0, 0];
for (const major of MAJORS) {
  console.log(`Node ${NODES[major]}:`);
  const words = ['dist/test/run.js', ...STEPS];
  const { stdout } = spawnSync(nodeOf(major), words, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: OUTPUT_SIZE_MAX,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  console.log(stdout.trimEnd());
  const counts = /(\d+) passed, (\d+) failed, (\d+) skipped\n$/.exec(stdout)?.slice(1);
  // one that does not come to its last line has failed
  for (const [index, count] of (counts ?? ['0', '1', '0']).entries())
    totals[index] = (totals[index] ?? 0) + Number(count);
}
const [passed, failed, skipped] = totals;
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
