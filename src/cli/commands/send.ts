/**
 * `fantail send <target_ip> <target_port> [count] [message]`: paced test traffic from an ordinary
 * UDP socket.
 */

import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { Progress } from '../../terminal/progress.js';
import { grouped } from '../../terminal/tables.js';

/** UDP payload of the largest IPv4 packet. */
const PAYLOAD_SIZE_MAX = 65_507;
/** Sends that are not answered yet; more only wait in memory. */
const OUTSTANDING_MAX = 64;
const PROGRESS_PERIOD_MS = 200;

export interface Traffic {
  readonly to: Endpoint;
  readonly count: number;
  readonly message: string;
  readonly intervalMs: number;
}

export async function send(traffic: Traffic, asJson: boolean, signal: AbortSignal): Promise<void> {
  const size = payload(traffic, traffic.count).length;
  if (size > PAYLOAD_SIZE_MAX)
    throw new UsageError(
      `the message makes ${size} bytes; a UDP packet takes at most ${PAYLOAD_SIZE_MAX}`,
    );
  const socket = createSocket('udp4');
  const started = performance.now();
  const progress = new Progress({ total: traffic.count, asJson });
  const result = { sent: 0, bytes: 0 };
  const told = setInterval(() => {
    progress.update(result.sent, `sent ${grouped(result.sent)} of ${grouped(traffic.count)}`);
  }, PROGRESS_PERIOD_MS);
  try {
    await sendAll(socket, traffic, result, signal);
  } finally {
    clearInterval(told);
    progress.close();
    socket.close();
  }
  const elapsedMs = Math.round(performance.now() - started);
  const { to, count } = traffic;
  if (asJson) {
    console.log(JSON.stringify({ ok: true, ...to, count, ...result, elapsed_ms: elapsedMs }));
  } else {
    const what = `sent ${grouped(result.sent)} of ${grouped(count)} packets, ${grouped(result.bytes)} bytes`;
    console.log(`${what}, to ${endpointText(to)} in ${grouped(elapsedMs)} ms`);
  }
}

function payload({ message }: Traffic, number: number): Buffer {
  return Buffer.from(`${message} #${number}`);
}

/** Packet n leaves at start + n × interval, however late the one before it was. */
async function sendAll(
  socket: Socket,
  traffic: Traffic,
  result: { sent: number; bytes: number },
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const outstanding = new Set<Promise<void>>();
  for (let number = 1; number <= traffic.count && !signal.aborted; number++) {
    const wait = started + (number - 1) * traffic.intervalMs - performance.now();
    // timers have a grain of 1 ms: what is due within it goes now, so that the rate holds
    if (wait >= 1) await sleep(wait, undefined, { signal }).catch(() => {});
    if (signal.aborted) break;
    const bytes = payload(traffic, number);
    const one = sendOne(socket, traffic.to, bytes).then(() => {
      result.sent += 1;
      result.bytes += bytes.length;
      outstanding.delete(one);
    });
    outstanding.add(one);
    one.catch(() => {}); // told by the await that meets it
    if (outstanding.size >= OUTSTANDING_MAX) await Promise.race(outstanding);
  }
  await Promise.all(outstanding);
}

function sendOne(socket: Socket, to: Endpoint, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(bytes, to.port, to.ip, (error) => {
      if (error === null) resolve();
      else reject(new Failure(`cannot send to ${endpointText(to)}: ${cureOf(error)}`));
    });
  });
}

function cureOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENETUNREACH') return `no route to it; see: ip route get`;
  if (error.code === 'EMSGSIZE') return `the message is too long for the route; make it shorter`;
  if (error.code === 'EACCES') return 'a broadcast address, or forbidden by a firewall';
  return messageOf(error);
}
