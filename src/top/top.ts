/**
 * `fantail top`: a live view of a replicator on a terminal, by its control channel as every other
 * client command.
 */
import { connect } from '../api/fantail.js';
import type { ClientFlags } from '../control/client.js';
import { Failure } from '../domain/errors.js';
import { intervalOf } from '../domain/reading.js';
import { type Known, Poller, read } from './poller.js';
import { Screen } from './screen.js';

export interface TopFlags extends ClientFlags {
  /** Seconds between two looks. */
  interval: number;
}

/** Where nobody else listens, libraries of Ink end the process before the screen is left. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** A terminal that is closed, and Ctrl-\: both end it, with the screen as it was. */
const ENDS = ['SIGHUP', 'SIGQUIT'] as const;
const listens = () => {};

export async function top(flags: TopFlags, signal: AbortSignal): Promise<void> {
  if (!process.stdin.isTTY || !process.stdout.isTTY || process.env.TERM === 'dumb')
    throw new Failure(
      'it draws on a terminal, and this is none; for a pipe or a file use: fantail stats --watch, with --json one object a line',
    );
  const fantail = await connect(flags);
  const first = await read(fantail).catch((error) => {
    fantail.close();
    throw error;
  });
  // what is set in CI jobs would keep Ink from drawing, though a terminal is there
  delete process.env.CI;
  delete process.env.CONTINUOUS_INTEGRATION;
  const { drawOn } = await import('./terminal.js');
  const ending = new AbortController();
  const screen = new Screen(process.stdout);
  screen.open();
  for (const name of SIGNALS) process.on(name, listens);
  try {
    const known: Known = { interval: intervalOf(first, null), stale: null };
    const drawing = drawOn(screen, known);
    const end = () => drawing.end();
    signal.addEventListener('abort', end, { once: true });
    for (const name of ENDS) process.once(name, end);
    const poller = new Poller(fantail, first, {
      flags,
      intervalMs: flags.interval * 1000,
      onNews: (news) => drawing.draw(news),
    });
    const polling = poller.run(ending.signal);
    await Promise.race([drawing.ended, polling]);
  } finally {
    ending.abort();
    fantail.close();
    screen.close();
    for (const name of SIGNALS) process.off(name, listens);
  }
}
