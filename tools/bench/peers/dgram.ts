/**
 * The relay that one writes in an afternoon: Node's `dgram`, one socket, one `send` a subscriber.
 * No queue of its own, no per-send name look-up (the option `lookup`), 8 MiB of receive buffer
 * where the kernel gives it.
 *
 * dgram.js listen_ip listen_port subscriber_port address…        prints `ready`, runs until SIGTERM
 */
import { createSocket } from 'node:dgram';

const BUFFER_SIZE = 8 << 20;

const [listenIp = '', listenPort = '', subscriberPort = '', ...addresses] = process.argv.slice(2);
const port = Number(subscriberPort);

const socket = createSocket({
  type: 'udp4',
  recvBufferSize: BUFFER_SIZE,
  sendBufferSize: BUFFER_SIZE,
  // All names are addresses: nothing is looked up.
  lookup: (name, _options, done) => done(null, name, 4),
});
socket.on('message', (message) => {
  for (const address of addresses) socket.send(message, port, address);
});
socket.bind(Number(listenPort), listenIp, () => process.stdout.write('ready\n'));
process.on('SIGTERM', () => process.exit(0));
