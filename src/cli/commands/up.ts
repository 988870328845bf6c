/**
 * `fantail up`: runs the replicator until Ctrl-C or SIGTERM, then leaves nothing behind. Prints one
 * line that starts with `ready ` on stdout once packets flow and control answers.
 *
 * Whatever escapes (an exception in a callback, a stdout that nobody reads) ends it in order, with
 * a sentence and status 1: the processes of the data path are not left without one that knows them.
 */

import { inspect } from 'node:util';
import { Failure } from '../../domain/errors.js';
import type { Config } from '../../replicator/config.js';
import { openSupervisor } from '../../replicator/supervisor.js';
import { log } from '../../terminal/log.js';
import { whenOutputIsLost } from '../program.js';

/** What closing may take before the process ends all the same. */
const CLOSE_MS_MAX = 10_000;

export async function up(config: Config): Promise<void> {
  let end: (failure: Failure | null) => void = () => {};
  const ended = new Promise<Failure | null>((resolve) => {
    end = resolve;
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => end(null));
  // also rejections that nobody handles
  process.on('uncaughtException', (error) =>
    end(new Failure(`stopped by a fault of its own: ${inspect(error)}`)),
  );
  whenOutputIsLost((error) =>
    end(new Failure(`cannot write to standard output (${error.code}), so it stops`)),
  );
  // A signal while starting lets the start finish (or fail), so that everything it opened is known
  // and closed.
  const supervisor = await openSupervisor(config, (failure) => end(failure));
  process.stdout.write(`${supervisor.readyLine}\n`);
  const failure = await ended;
  if (failure === null) log.info('stopping');
  setTimeout(() => {
    process.stderr.write('fantail up: stopping takes too long; see: fantail clean\n');
    process.exit(1);
  }, CLOSE_MS_MAX).unref();
  await supervisor.close();
  if (failure !== null) throw failure;
}
