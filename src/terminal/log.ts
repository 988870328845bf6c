/**
 * Log lines on stderr: pino for levels and structure, pino-pretty for the text (both well kept, off
 * the packet path). Also where stderr is no terminal, without colours: a pipe, a file or the
 * journal is read by people and matched by their tools as `[time] LEVEL: sentence`, and pino by
 * itself writes nothing but JSON.
 */
import { pino } from 'pino';
import pretty from 'pino-pretty';

export const log = pino(
  { base: null, level: process.env.FANTAIL_LOG ?? 'info' },
  pretty({
    colorize: process.stderr.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    destination: 2,
    sync: true,
  }),
);
