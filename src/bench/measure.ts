/**
 * A measurement from its sockets to its result: opens them, starts the measuring thread, tells
 * about progress, and passes on the wish to stop.
 */
import { closeSync } from 'node:fs';
import type { Histogram } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { Failure, messageOf } from '../domain/errors.js';
import { programFile } from '../domain/installation.js';
import { addon } from '../memory/addon.js';
import { randomRun } from './message.js';
import type { Plan } from './plan.js';
import type {
  MessageLog,
  Shared,
  ThreadOptions,
  ThreadResult,
  ThreadTell,
} from './thread-messages.js';

/** Over a second of copies at 20k a second, where the kernel grants it. */
const RECEIVE_BUFFER_SIZE = 16 * 1024 * 1024;
const PROGRESS_MS = 1000;

/** How far it is. */
export interface Reached {
  readonly sent: number;
  readonly received: number;
  readonly roundTrip: Histogram;
}

export interface Measured extends ThreadResult {
  readonly log: MessageLog | null;
  readonly isInterrupted: boolean;
  /** Bytes of unread copies that the kernel keeps. */
  readonly receiveBuffer: number;
}

export interface MeasureOptions {
  readonly plan: Plan;
  readonly signal: AbortSignal;
  readonly onProgress: (reached: Reached) => void;
}

/**
 * The sockets of a measurement: copies come to one; the other is connected, so that a refusal is
 * told.
 */
export class Sockets {
  readonly receiveFd: number;
  readonly sendFd: number;
  readonly receiveBuffer: number;

  constructor({ local, replicator, netns }: Plan) {
    const open = (port: number) => addon.openUdp(netns, { ip: local.ip, port });
    try {
      this.receiveFd = open(local.port);
      this.receiveBuffer = addon.setReceiveBuffer(this.receiveFd, RECEIVE_BUFFER_SIZE);
      this.sendFd = open(0);
      addon.connectUdp(this.sendFd, replicator.ip, replicator.port);
    } catch (thrown) {
      throw new Failure(messageOf(thrown));
    }
  }

  close(): void {
    closeSync(this.sendFd);
    closeSync(this.receiveFd);
  }
}

export async function measure(sockets: Sockets, options: MeasureOptions): Promise<Measured> {
  const { plan, signal, onProgress } = options;
  const shared: Shared = { stop: new SharedArrayBuffer(4), progress: new SharedArrayBuffer(16) };
  const times = () => new SharedArrayBuffer(plan.count * Float64Array.BYTES_PER_ELEMENT);
  const log = plan.csv === null ? null : { sent: times(), received: times() };
  const schedule = {
    total: plan.warmUp + plan.count,
    warmUp: plan.warmUp,
    intervalNs: 1e9 / plan.rate,
  };
  const { sendFd, receiveFd } = sockets;
  const workerData: ThreadOptions = { schedule, run: randomRun(), sendFd, receiveFd, shared, log };
  const worker = new Worker(programFile('bench/thread-main.js'), { workerData });
  const stop = () => Atomics.store(new Int32Array(shared.stop), 0, 1);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const progress = new Float64Array(shared.progress);
  let roundTrip: Histogram | null = null;
  const timer = setInterval(() => {
    if (roundTrip === null) return;
    onProgress({ sent: progress[0] ?? 0, received: progress[1] ?? 0, roundTrip });
  }, PROGRESS_MS);
  try {
    const result = await new Promise<ThreadResult>((resolve, reject) => {
      worker.on('message', (message: ThreadTell) => {
        if (message.tell === 'started') roundTrip = message.histogram;
        else if (message.tell === 'done') resolve(message);
        else reject(new Failure(`cannot go on: ${message.reason}`));
      });
      worker.once('error', reject);
      worker.once('exit', (status) =>
        reject(new Failure(`the measuring thread has ended (status ${status})`)),
      );
    });
    const { receiveBuffer } = sockets;
    return { ...result, log, isInterrupted: signal.aborted, receiveBuffer };
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', stop);
  }
}
