/**
 * The hub of the demo of a group, a process of its own: the feed, numbered packets at a steady pace
 * whatever becomes of them, and every subscriber.
 */
import { createSocket, type Socket } from 'node:dgram';
import { monotonicMs } from '../../domain/process/clock.js';
import { Ledger } from './ledger.js';
import { type CrowdAsk, type CrowdOptions, type CrowdTell, PAYLOAD_SIZE } from './messages.js';

const TICK_MS = 1;
/** Packets of one tick after a stall: what is due beyond comes with the next ticks. */
const TICK_PACKETS_MAX = 100;
/** A payload may wait in libuv's queue while the next ones are written. */
const PAYLOADS = Array.from({ length: 4 * TICK_PACKETS_MAX }, () =>
  Buffer.alloc(PAYLOAD_SIZE, 0x2e),
);
/** A packet that was sent this long ago has arrived, or will not. */
const SETTLE_MS = 200;

// written by processes.ts and by nobody else
const options = JSON.parse(process.argv[2] ?? '{}') as CrowdOptions;
const tell = (message: CrowdTell) => process.send?.(message);
const ledgers = options.subscribers.map(() => new Ledger());
const feed = createSocket('udp4');
/** How many had been sent when; of the last SETTLE_MS. */
const sentAt: { readonly atMs: number; readonly sent: number }[] = [];
let sent = 0;
let refused = 0;
let timer: NodeJS.Timeout | undefined;

function sendOne(): void {
  const payload = PAYLOADS[sent % PAYLOADS.length] ?? Buffer.alloc(PAYLOAD_SIZE);
  payload.writeBigUInt64LE(BigInt(sent), 0);
  sent++;
  feed.send(payload, (error) => {
    if (error) refused++;
  });
}

function start(): void {
  const startMs = monotonicMs();
  timer = setInterval(() => {
    const due = Math.floor(((monotonicMs() - startMs) * options.rate) / 1000);
    for (let i = 0; sent < due && i < TICK_PACKETS_MAX; i++) sendOne();
    sentAt.push({ atMs: monotonicMs(), sent });
    while ((sentAt[1]?.atMs ?? Number.POSITIVE_INFINITY) < monotonicMs() - SETTLE_MS)
      sentAt.shift();
  }, TICK_MS);
}

function look(): void {
  const atMs = monotonicMs();
  const settled = timer === undefined ? sent : (sentAt[0]?.sent ?? 0);
  const subscribers = ledgers.map((ledger) => ledger.look(settled - 1, atMs));
  tell({ tell: 'look', atMs, sent, refused, subscribers });
}

function bind(socket: Socket, port: number, ip: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, ip, () => {
      socket.off('error', reject);
      resolve();
    });
  });
}

async function open(): Promise<void> {
  for (const [index, { ip, port }] of options.subscribers.entries()) {
    const socket = createSocket('udp4');
    await bind(socket, port, ip);
    socket.on('message', (packet, { address }) => {
      if (packet.length !== PAYLOAD_SIZE) return; // of somebody who tries another feed
      ledgers[index]?.record(Number(packet.readBigUInt64LE(0)), address, monotonicMs());
    });
  }
  await bind(feed, 0, options.sourceIp);
  feed.on('error', () => undefined); // told to the packet that met it, too
  await new Promise<void>((resolve) =>
    feed.connect(options.feed.port, options.feed.ip, () => resolve()),
  );
}

process.on('message', ({ ask }: CrowdAsk) => {
  if (ask === 'start') start();
  else if (ask === 'look') look();
  else {
    clearInterval(timer);
    timer = undefined;
  }
});
process.on('disconnect', () => process.exit(0));
open().then(
  () => tell({ tell: 'ready' }),
  (error: Error) => tell({ tell: 'failed', reason: error.message }),
);
