/**
 * `fantail send <target_ip> <target_port> [count] [message]`: paced test traffic from an ordinary
 * UDP socket.
 */

import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { grouped } from '../../terminal/tables.js';
import { addressOf, integerOf, numberOf, portOf } from '../arguments.js';

export const COUNT_DEFAULT = 10;
export const COUNT_MAX = 1_000_000_000;
export const MESSAGE_DEFAULT = 'fantail test';
/** Packets a second; an ordinary socket from Node goes little higher than the maximum. */
export const RATE_DEFAULT = 1000;
export const RATE_MAX = 1_000_000;
export const INTERVAL_MS_MAX = 3_600_000;
/** UDP payload of the largest IPv4 packet. */
const PAYLOAD_SIZE_MAX = 65_507;
/** Sends that are not answered yet; more only wait in memory. */
const OUTSTANDING_MAX = 64;
const PROGRESS_PERIOD_MS = 1000;

export interface SendFlags {
  rate?: string;
  intervalMs?: string;
  json?: boolean;
}

interface Plan {
  ip: string;
  port: number;
  count: number;
  message: string;
  intervalMs: number;
}

interface Words {
  ip: string;
  port: string;
  count: string | undefined;
  message: string | undefined;
}

export async function send(words: Words, flags: SendFlags, signal: AbortSignal): Promise<void> {
  const plan = planOf(words, flags);
  const socket = createSocket('udp4');
  const started = performance.now();
  const progress = setInterval(() => {
    process.stderr.write(`sent ${grouped(result.sent)} of ${grouped(plan.count)}\n`);
  }, PROGRESS_PERIOD_MS);
  const result = { sent: 0, bytes: 0 };
  try {
    await sendAll(socket, plan, result, signal);
  } finally {
    clearInterval(progress);
    socket.close();
  }
  const elapsedMs = Math.round(performance.now() - started);
  if (flags.json) {
    const { ip, port } = plan;
    console.log(
      JSON.stringify({ ok: true, ip, port, count: plan.count, ...result, elapsed_ms: elapsedMs }),
    );
  } else {
    const what = `sent ${grouped(result.sent)} of ${grouped(plan.count)} packets, ${grouped(result.bytes)} bytes`;
    console.log(`${what}, to ${plan.ip}:${plan.port} in ${grouped(elapsedMs)} ms`);
  }
}

function planOf({ ip, port, count, message }: Words, { rate, intervalMs }: SendFlags): Plan {
  if (rate !== undefined && intervalMs !== undefined) {
    throw new UsageError('--rate and --interval-ms exclude each other');
  }
  const perSecond = numberOf('--rate', rate ?? String(RATE_DEFAULT), { min: 0.001, max: RATE_MAX });
  const plan = {
    ip: addressOf('target_ip', ip),
    port: portOf('target_port', port),
    count: integerOf('count', count ?? String(COUNT_DEFAULT), { min: 1, max: COUNT_MAX }),
    message: message ?? MESSAGE_DEFAULT,
    intervalMs:
      intervalMs === undefined
        ? 1000 / perSecond
        : numberOf('--interval-ms', intervalMs, { min: 0, max: INTERVAL_MS_MAX }),
  };
  const size = payload(plan, plan.count).length;
  if (size > PAYLOAD_SIZE_MAX) {
    throw new UsageError(
      `the message makes ${size} bytes; a UDP packet takes at most ${PAYLOAD_SIZE_MAX}`,
    );
  }
  return plan;
}

function payload({ message }: Plan, number: number): Buffer {
  return Buffer.from(`${message} #${number}`);
}

/** Packet n leaves at start + n × interval, however late the one before it was. */
async function sendAll(
  socket: Socket,
  plan: Plan,
  result: { sent: number; bytes: number },
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const outstanding = new Set<Promise<void>>();
  for (let number = 1; number <= plan.count && !signal.aborted; number++) {
    const wait = started + (number - 1) * plan.intervalMs - performance.now();
    // timers have a grain of 1 ms: what is due within it goes now, so that the rate holds
    if (wait >= 1) await sleep(wait, undefined, { signal }).catch(() => {});
    if (signal.aborted) break;
    const bytes = payload(plan, number);
    const one = sendOne(socket, plan, bytes).then(() => {
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

function sendOne(socket: Socket, { ip, port }: Plan, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(bytes, port, ip, (error) => {
      if (error === null) resolve();
      else reject(new Failure(`cannot send to ${ip}:${port}: ${cureOf(error)}`));
    });
  });
}

function cureOf(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENETUNREACH') return `no route to it; see: ip route get`;
  if (error.code === 'EMSGSIZE') return `the message is too long for the route; make it shorter`;
  if (error.code === 'EACCES') return 'a broadcast address, or forbidden by a firewall';
  return messageOf(error);
}
