/**
 * A process that handles a stranger's module and is thrown away: it reads the module from its
 * standard input, gives up what it may do (giveUp), and says what it found on its standard output.
 * What goes wrong in it ends it, and nobody else.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { environmentWithoutTls } from '../../domain/process/environment.js';
import { addon } from '../../memory/addon.js';
import { lowerOtherThreads, lowerThisThread } from '../background.js';

/** Of one process: a module of 1 MiB is compiled in 100 MiB. */
const MEMORY_MAX = 1 << 30;
export const CPU_S_MAX = 30;
/** Of what it writes, on either output: a verdict is a sentence. */
const OUTPUT_SIZE_MAX = 8192;

/** For its outputs once it has ended: what it has started may hold them open for ever. */
const DRAIN_MS_MAX = 1000;

/** How it ended: 0, another status, or the name of a signal; `late`: it was killed for its time. */
export interface Ending {
  readonly how: number | string;
  readonly late: boolean;
  readonly output: string;
  readonly error: string;
}

/** Runs that script of ours, with the flags of Node, for at most `ms`. */
export function throwAway(
  script: string,
  flags: readonly string[],
  { input, ms }: { readonly input: Uint8Array; readonly ms: number },
): Promise<Ending> {
  addon.forbidIoUring();
  const child = spawn(process.execPath, [...flags, script], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environmentWithoutTls(),
  });
  let late = false;
  const timer = setTimeout(() => {
    late = child.kill('SIGKILL');
  }, ms);
  const texts = { output: '', error: '' };
  const keep = (name: 'output' | 'error') => (chunk: Buffer) => {
    texts[name] = (texts[name] + chunk.toString()).slice(0, OUTPUT_SIZE_MAX);
  };
  child.stdout.on('data', keep('output'));
  child.stderr.on('data', keep('error'));
  child.stdin.on('error', () => {}); // it died before it had read all: its end says so
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    let drained: NodeJS.Timeout | undefined;
    child.once('exit', () => {
      drained = setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, DRAIN_MS_MAX);
    });
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      clearTimeout(drained);
      resolve({ how: signal ?? status ?? 0, late, ...texts });
    });
  });
}

/**
 * In such a process, when all that it runs is loaded: the module, after which it has no user that
 * anybody else has, no capabilities, little memory and time, and the priority of what may wait.
 */
export function moduleAndGiveUp(): Uint8Array {
  const bytes = new Uint8Array(readFileSync(0));
  lowerThisThread();
  lowerOtherThreads();
  addon.limitResources(CPU_S_MAX, MEMORY_MAX);
  addon.dropPrivileges('checker');
  addon.forbidWaysOut('checker');
  return bytes;
}
