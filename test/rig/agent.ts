/**
 * A control client inside a network namespace, for tests that run outside it: run as a program of
 * its own there, it reads one request a line and writes one reply a line, both JSON. A process
 * cannot enter a namespace and come back.
 *
 *   ip netns exec NAME node dist/test/rig/agent.js ws://127.0.0.1:12345 [TOKEN-FILE]
 */

import { createInterface } from 'node:readline';
import { connectClient } from '../../src/control/client.js';

const [control = '', tokenFile] = process.argv.slice(2);
const client = await connectClient({ control, ...(tokenFile === undefined ? {} : { tokenFile }) });
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { text } = await client.ask(JSON.parse(line)); // the test's own request
  process.stdout.write(`${text}\n`);
}
client.close();
