/**
 * The feed of the demo, a process of its own: numbered, timed packets at a steady pace, whatever
 * becomes of them.
 */
import { createSocket } from 'node:dgram';
import { monotonicMs } from '../domain/process/clock.js';
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
/** A payload may wait in libuv's queue while the next ones are written. */
const PAYLOADS = Array.from({ length: 4 * TICK_PACKETS_MAX }, () =>
  Buffer.alloc(PAYLOAD_SIZE, 0x2e),
);

// written by helpers.ts and by nobody else
const options = JSON.parse(process.argv[2] ?? '{}') as FeedOptions;
const tell = (message: FeedTell) => process.send?.(message);
const socket = createSocket('udp4');
let sent = 0;
let refused = 0;
let timers: NodeJS.Timeout[] = [];

function sendOne(): void {
  const payload = PAYLOADS[sent % PAYLOADS.length] ?? Buffer.alloc(PAYLOAD_SIZE);
  payload.writeBigUInt64LE(BigInt(sent), SEQUENCE_OFFSET);
  payload.writeBigUInt64LE(process.hrtime.bigint(), SENT_NS_OFFSET);
  sent++;
  socket.send(payload, (error) => {
    if (error) refused++;
  });
}

function start(): void {
  const startMs = monotonicMs();
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
// A refusal by the far end (nobody listens there) arrives here as well as at the packet that met
// it.
socket.on('error', () => undefined);
socket.bind(0, options.sourceIp, () => {
  socket.connect(options.targetPort, options.targetIp, () => tell({ tell: 'ready' }));
});
