/**
 * `npm start`: builds what is missing, then shows fantail at work.
 *
 *   npm start                                → fantail demo
 *   npm start -- --layout split              → fantail demo --layout split
 *   npm start -- <interface> <ip> <port> …   → fantail up <interface> <ip> <port> …
 *   npm run demo:fleet                       → fantail fleet demo
 *
 * Which of the first two is meant is decided by the first argument: `up` begins with an interface,
 * `demo` with a flag.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildOrExit } from './build.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

await buildOrExit();

const given = process.argv.slice(2);
const isUp = given.length > 0 && !given[0].startsWith('-');
const command = given[0] === 'fleet' ? [] : isUp ? ['up'] : ['demo'];
const main = join(ROOT, 'build/programs/main.js');
const child = spawn(process.execPath, [main, ...command, ...given], { stdio: 'inherit' });

// A terminal sends Ctrl-C to the child as well. Our part is to stay until it has cleaned up; other
// senders (`timeout`, a service manager) signal this process alone, so it hands on what it gets.
// Twice does no harm.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));

child.on('exit', (status, signal) => {
  process.exitCode = signal === null ? (status ?? 1) : 128 + (constants.signals[signal] ?? 0);
});
