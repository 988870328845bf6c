/**
 * Compiles filters to WebAssembly: `compile-filters.mjs <source> <target of asconfig.json> <output
 * without ending> …`, three words for each. One process for all of them, since to load asc takes as
 * long as to use it; a process of its own, since asc ends its own when it crashes.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);

for (let i = 0; i < words.length; i += 3) {
  const [source, target, output] = words.slice(i, i + 3);
  const outputs = ['--outFile', `${output}.wasm`, '--textFile', `${output}.wat`];
  const options = ['--baseDir', ROOT, '--config', 'asconfig.json', '--target', target];
  const { error, stderr } = await asc.main([source, ...options, ...outputs]);
  if (error === null) continue;
  process.stderr.write(`${stderr.toString()}${source}: ${error.message}\n`);
  process.exit(1);
}
