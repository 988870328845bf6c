/**
 * A subscriber of the demo, a process of its own: receives, keeps an account, and answers when
 * asked for it.
 *
 * When a packet arrived is what the kernel has noted of it. So nobody has to be woken for each, and
 * what one that sleeps takes to wake is in no figure: it looks a hundred times a second.
 */
import { addon } from '../memory/addon.js';
import { Account } from './account.js';
import {
  type ListenerAsk,
  type ListenerOptions,
  type ListenerTell,
  PAYLOAD_SIZE,
  SENT_NS_OFFSET,
  SEQUENCE_OFFSET,
} from './messages.js';

/** Some 5000 packets; where there is no root the kernel grants what net.core.rmem_max allows. */
const RECEIVE_BUFFER_SIZE = 4 * 1024 * 1024;
/** Between two looks, as long as that many packets need, or where the buffer is smaller. */
const [LOOK_MS, SHORT_LOOK_MS] = [10, 1];
const PORTS_TRIED_MAX = 20;

// written by helpers.ts and by nobody else
const options = JSON.parse(process.argv[2] ?? '{}') as ListenerOptions;
const tell = (message: ListenerTell) => process.send?.(message);
const packet = Buffer.alloc(PAYLOAD_SIZE);
let account = new Account(null);

/** The socket and its port: the first that is free. */
function open(): { readonly fd: number; readonly port: number } {
  for (let port = options.port; ; port++) {
    try {
      return { fd: addon.openUdp(null, { ip: options.ip, port }), port };
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException; // as the addon throws them
      if (code !== 'EADDRINUSE' || port + 1 === options.port + PORTS_TRIED_MAX) throw thrown;
    }
  }
}

/** Takes what has come. */
function look(fd: number): void {
  for (;;) {
    const arrival = addon.receiveStamped(fd, packet);
    if (arrival === null) return;
    // another size is of somebody who tries another feed on the same link
    if (arrival.size !== PAYLOAD_SIZE) continue;
    const latencyNs = arrival.at_ns - Number(packet.readBigUInt64LE(SENT_NS_OFFSET));
    account.record(Number(packet.readBigUInt64LE(SEQUENCE_OFFSET)), latencyNs / 1000);
  }
}

function listen(): void {
  const { fd, port } = open();
  addon.stampArrivals(fd);
  const granted = addon.setReceiveBuffer(fd, RECEIVE_BUFFER_SIZE);
  setInterval(() => look(fd), granted < RECEIVE_BUFFER_SIZE ? SHORT_LOOK_MS : LOOK_MS);
  process.on('message', (message: ListenerAsk) => {
    look(fd);
    if (message.ask === 'snapshot')
      return tell({ tell: 'snapshot', ...account.snapshot(message.through) });
    account = new Account(message.from);
    return tell({ tell: 'restarted' });
  });
  tell({ tell: 'ready', port });
}

process.on('disconnect', () => process.exit(0));
try {
  listen();
} catch (thrown) {
  tell({ tell: 'failed', reason: thrown instanceof Error ? thrown.message : String(thrown) });
}
