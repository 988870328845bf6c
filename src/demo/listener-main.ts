/**
 * A subscriber of the demo, a process of its own: receives, keeps an account, and answers when
 * asked for it.
 */
import { createSocket } from 'node:dgram';
import { Account } from './account.js';
import {
  type ListenerAsk,
  type ListenerOptions,
  type ListenerTell,
  PAYLOAD_SIZE,
  SENT_NS_OFFSET,
  SEQUENCE_OFFSET,
} from './messages.js';

/** The kernel grants what net.core.rmem_max allows. */
const RECEIVE_BUFFER_SIZE = 4 * 1024 * 1024;
const PORTS_TRIED_MAX = 20;

// written by helpers.ts and by nobody else
const options = JSON.parse(process.argv[2] ?? '{}') as ListenerOptions;
const tell = (message: ListenerTell) => process.send?.(message);
let account = new Account(null);

function listen(port: number, triesLeft: number): void {
  const socket = createSocket('udp4');
  socket.once('error', (error: NodeJS.ErrnoException) => {
    socket.close();
    if (error.code === 'EADDRINUSE' && triesLeft > 1) listen(port + 1, triesLeft - 1);
    else tell({ tell: 'failed', reason: error.message });
  });
  socket.on('message', (packet) => {
    const now = process.hrtime.bigint();
    // of somebody who tries another feed on the same link
    if (packet.length !== PAYLOAD_SIZE) return;
    const latencyNs = Number(now - packet.readBigUInt64LE(SENT_NS_OFFSET));
    account.record(Number(packet.readBigUInt64LE(SEQUENCE_OFFSET)), latencyNs / 1000);
  });
  socket.bind(port, options.ip, () => {
    try {
      socket.setRecvBufferSize(RECEIVE_BUFFER_SIZE);
    } catch {
      // The default has to do: it holds some hundred packets.
    }
    tell({ tell: 'ready', port });
  });
}

process.on('message', (message: ListenerAsk) => {
  if (message.ask === 'restart') account = new Account(message.from);
  else tell({ tell: 'snapshot', ...account.snapshot(message.through) });
});
process.on('disconnect', () => process.exit(0));
listen(options.port, PORTS_TRIED_MAX);
