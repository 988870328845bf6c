/**
 * `npm run nodes`: all tests of filters on each Node that users have. The last line is that of
 * `npm test`, of all of them together.
 */
import { spawnSync } from 'node:child_process';
import { ROOT } from '../rig/program.js';
import { MAJORS, NODES, nodeOf } from './nodes.js';

const STEPS = ['checker', 'containment', 'stock-filters', 'swap', 'fuzz'];

const totals = [0, 0, 0];
for (const major of MAJORS) {
  console.log(`Node ${NODES[major]}:`);
  const words = ['dist/test/run.js', ...STEPS];
  const { stdout } = spawnSync(nodeOf(major), words, {
    cwd: ROOT,
    encoding: 'utf8',
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
