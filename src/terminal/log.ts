/**
 * Log lines on stderr: pino for levels and structure, pino-pretty for the text (both well kept, off
 * the packet path). Also where stderr is no terminal, without colours: a pipe, a file or the
 * journal is read by people and matched by their tools as `[time] LEVEL: sentence`, and pino by
 * itself writes nothing but JSON.
 *
 * A log that cannot be written (a full disk, a reader that is gone) costs log lines and nothing
 * else: what waits is bounded, and written when there is room again.
 */
import { pino } from 'pino';
import pretty from 'pino-pretty';

const STDERR = 2;
/** Of lines that wait for room, bytes. */
const WAITING_MAX = 1 << 20;

const sink = pino.destination({ dest: STDERR, sync: true, maxLength: WAITING_MAX });
// without a listener it would be an exception that nobody catches
sink.on('error', () => {});

export const log = pino(
  { base: null, level: process.env.FANTAIL_LOG ?? 'info' },
  pretty({
    colorize: process.stderr.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    destination: sink,
  }),
);
