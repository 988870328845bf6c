/**
 * Keeps feeds from being silent: a small datagram to each in turn, all of them once a second.
 * `trickle.js ip port…`; prints `ready` and runs until SIGTERM.
 */
import { createSocket } from 'node:dgram';

const PERIOD_MS = 1000;

const [ip = '', ...ports] = process.argv.slice(2);
const payload = Buffer.from('neither measured nor counted');

// all names are addresses: nothing is looked up
const socket = createSocket({
  type: 'udp4',
  lookup: (name, _options, done) => done(null, name, 4),
});
let next = 0;
setInterval(() => {
  socket.send(payload, Number(ports[next++ % ports.length]), ip);
}, PERIOD_MS / ports.length);
process.on('SIGTERM', () => process.exit(0));
process.stdout.write('ready\n');
