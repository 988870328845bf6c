/**
 * The feed of the demo, a process of its own: numbered, timed packets at a steady pace, whatever
 * becomes of them.
 */
import { writeSync } from 'node:fs';
import { monotonicMs } from '../domain/process/clock.js';
import { addon } from '../memory/addon.js';
import {
  type FeedAsk,
  type FeedOptions,
  type FeedTell,
  PAYLOAD_SIZE,
  SENT_NS_OFFSET,
  SEQUENCE_OFFSET,
} from './messages.js';

const TICK_MS = 1;
const REPORT_MS = 100;
/** Packets of one tick after a stall: what is due beyond comes with the next ticks. */
const TICK_PACKETS_MAX = 1000;
// written by helpers.ts and by nobody else
const options = JSON.parse(process.argv[2] ?? '{}') as FeedOptions;
const tell = (message: FeedTell) => process.send?.(message);
const payload = Buffer.alloc(PAYLOAD_SIZE, 0x2e);
const fd = addon.openUdp(null, { ip: options.sourceIp, port: 0 });
let sent = 0;
let refused = 0;
let timers: NodeJS.Timeout[] = [];

function sendOne(): void {
  payload.writeBigUInt64LE(BigInt(sent), SEQUENCE_OFFSET);
  sent++;
  payload.writeBigUInt64LE(process.hrtime.bigint(), SENT_NS_OFFSET);
  try {
    writeSync(fd, payload);
  } catch {
    refused++; // no room, or the far end has refused the one before (nobody listens there)
  }
}

function start(): void {
  const startMs = monotonicMs();
  sent = 0;
  refused = 0;
  const tick = () => {
    const due = Math.floor(((monotonicMs() - startMs) * options.rate) / 1000);
    for (let i = 0; sent < due && i < TICK_PACKETS_MAX; i++) sendOne();
  };
  const report = () => tell({ tell: 'sent', sent, refused, atMs: monotonicMs() });
  report();
  timers = [setInterval(tick, TICK_MS), setInterval(report, REPORT_MS)];
}

function stop(): void {
  for (const timer of timers) clearInterval(timer);
  tell({ tell: 'stopped', sent, refused, atMs: monotonicMs() });
}

process.on('message', (message: FeedAsk) => {
  if (message.ask === 'start') start();
  else stop();
});
process.on('disconnect', () => process.exit(0));
addon.connectUdp(fd, options.targetIp, options.targetPort);
tell({ tell: 'ready' });
