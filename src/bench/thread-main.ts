/**
 * The measuring thread: a loop over two sockets and the clock that never returns to an event loop
 * until the run is over. The thread that started it shows progress and hears Ctrl-C.
 */
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../domain/errors.js';
import { addon } from '../memory/addon.js';
import { Loop, type World } from './loop.js';
import { Messages } from './message.js';
import { Tally } from './tally.js';
import type { ThreadOptions, ThreadResult, ThreadTell } from './thread-messages.js';
import { Times } from './times.js';

/**
 * Messages that pass through the code before the first is sent, so that V8 has compiled what is
 * measured with.
 */
const REHEARSED = 20_000;

const options = workerData as ThreadOptions; // written by measure.ts and by nobody else
const tell = (message: ThreadTell) => parentPort?.postMessage(message);

/** What a world is made of; the rehearsal has no sockets and no log. */
interface Parts {
  readonly send: World['send'];
  readonly receive: World['receive'];
  readonly isStopped: World['isStopped'];
  readonly intervalNs: number;
  readonly progress: Float64Array;
  readonly log: { readonly sent: Float64Array; readonly received: Float64Array } | null;
}

class Run implements World {
  readonly roundTrip = new Times();
  readonly lateness = new Times();
  readonly send: World['send'];
  readonly receive: World['receive'];
  readonly isStopped: World['isStopped'];

  constructor(private readonly parts: Parts) {
    this.send = parts.send;
    this.receive = parts.receive;
    this.isStopped = parts.isStopped;
  }

  now(): number {
    return performance.now() * 1e6;
  }

  sent(index: number, dueNs: number, atNs: number): void {
    const { progress, log, intervalNs } = this.parts;
    this.lateness.record(atNs - dueNs);
    progress[0] = (progress[0] ?? 0) + 1;
    if (log !== null) log.sent[index] = index * intervalNs + (atNs - dueNs);
  }

  received(index: number, dueNs: number, atNs: number): void {
    const { progress, log, intervalNs } = this.parts;
    this.roundTrip.record(atNs - dueNs);
    progress[1] = (progress[1] ?? 0) + 1;
    if (log !== null) log.received[index] = index * intervalNs + (atNs - dueNs);
  }
}

/** Runs everything but the sockets, on counts of its own. */
function rehearse(): void {
  const messages = new Messages(options.run, REHEARSED, Date.now());
  const queue: Buffer[] = [];
  const run = new Run({
    send: (message) => queue.push(Buffer.from(message)) > 0,
    receive: (into) => queue.shift()?.copy(into) ?? -1,
    isStopped: () => false,
    intervalNs: 1,
    progress: new Float64Array(2),
    log: null,
  });
  const schedule = { total: REHEARSED, warmUp: 0, intervalNs: 1 };
  new Loop(schedule, messages, new Tally(REHEARSED, 0), run).run();
}

let refused = 0;

/**
 * False: the socket is full, or its last packet was refused by the far end; either way this one has
 * not left.
 */
function send(message: Buffer): boolean {
  try {
    writeSync(options.sendFd, message);
    return true;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException; // writeSync throws errno errors
    if (code === 'ECONNREFUSED') refused += 1;
    else if (code !== 'EAGAIN' && code !== 'ENOBUFS') throw thrown;
    return false;
  }
}

function measure(): ThreadResult {
  const { schedule, receiveFd, shared, log } = options;
  const stop = new Int32Array(shared.stop);
  const times = (memory: SharedArrayBuffer) => new Float64Array(memory).fill(Number.NaN);
  const run = new Run({
    send,
    receive: (into, waitUs) => addon.receiveUdp(receiveFd, into, waitUs),
    isStopped: () => Atomics.load(stop, 0) !== 0,
    intervalNs: schedule.intervalNs,
    progress: new Float64Array(shared.progress),
    log: log === null ? null : { sent: times(log.sent), received: times(log.received) },
  });
  const { roundTrip, lateness } = run;
  tell({ tell: 'started', histogram: roundTrip.histogram });
  const tally = new Tally(schedule.total, schedule.warmUp);
  const messages = new Messages(options.run, schedule.total, Date.now());
  const sent = new Loop(schedule, messages, tally, run).run();
  const { received, duplicated, reordered, corrupt, foreign } = tally;
  const counts = { received, duplicated, reordered, corrupt, foreign, refused };
  const summaries = { roundTrip: roundTrip.summary(), lateness: lateness.summary() };
  return { ...sent, ...counts, ...summaries, roundTripCounts: roundTrip.counts };
}

try {
  rehearse();
  tell({ tell: 'done', ...measure() });
} catch (thrown) {
  tell({ tell: 'failed', reason: messageOf(thrown) });
}
