/**
 * Log lines on stderr: pino for levels and structure, pino-pretty for people (both well kept, off
 * the packet path).
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
