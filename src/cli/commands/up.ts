/**
 * `fantail up`: runs the replicator until Ctrl-C or SIGTERM, then leaves nothing behind. Prints one
 * line that starts with `ready ` on stdout once packets flow and control answers.
 */

import type { Failure } from '../../domain/errors.js';
import type { Config } from '../../replicator/config.js';
import { openSupervisor } from '../../replicator/supervisor.js';
import { log } from '../../terminal/log.js';

export async function up(config: Config): Promise<void> {
  let end: (failure: Failure | null) => void = () => {};
  const ended = new Promise<Failure | null>((resolve) => {
    end = resolve;
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => end(null));
  // A signal while starting lets the start finish (or fail), so that everything it opened is known
  // and closed.
  const supervisor = await openSupervisor(config, (failure) => end(failure));
  process.stdout.write(`${supervisor.readyLine}\n`);
  const failure = await ended;
  if (failure === null) log.info('stopping');
  await supervisor.close();
  if (failure !== null) throw failure;
}
