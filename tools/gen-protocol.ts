/**
 * src/control/operations.ts → docs/protocol.schema.json, for clients that others write.
 *
 * `node dist/tools/gen-protocol.js` writes it; with `--check` it writes nothing and exits 1 where
 * it is stale.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { operations } from '../src/control/operations.js';
import { protocolSchema } from '../src/control/schema.js';

const FILE = 'docs/protocol.schema.json';

const text = `${JSON.stringify(protocolSchema(operations), null, 2)}\n`;
const isFresh = existsSync(FILE) && readFileSync(FILE, 'utf8') === text;
if (!isFresh && process.argv.includes('--check')) {
  process.stderr.write(`gen-protocol: ${FILE} is stale; run npm run gen\n`);
  process.exitCode = 1;
} else if (!isFresh) writeFileSync(FILE, text);
