/**
 * What the supervisor and fantail-rx tell one another, each a JSON object over a SOCK_SEQPACKET
 * socket: its task, with the descriptors for it (native/rx/protocol.cpp reads it), and then its own
 * messages, with descriptors where it has opened something.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Endpoint } from '../domain/endpoint.js';
import { Failure } from '../domain/errors.js';
import type { Mode, Stats } from '../domain/statistics.js';
import { addon, type Message } from '../memory/addon.js';
import { type SharedXdp, sharedXdp } from './launchers.js';

/** What is to be opened. */
export interface RxOpening {
  readonly interface: string;
  readonly netns: string | null;
  /** In order of preference. */
  readonly modes: readonly Mode[];
  readonly queues: readonly number[];
  readonly layout: 'inline' | 'split';
  readonly workers: number;
  readonly listen: Endpoint;
  /** That may be another host's. */
  readonly promiscuous: boolean;
  /** Bytes of IP packet. */
  readonly mtu: number;
  readonly order: 'rotate' | 'fixed';
  readonly busyPoll: boolean;
  /** Processes share cores and hand them over with sched_yield. */
  readonly yields: boolean;
  readonly checksumFull: boolean;
  /** How workers are to send; both: bulk where it is possible. */
  readonly paths: { readonly ring: boolean; readonly bulk: boolean };
  /** The core that each worker's bulk transmit runs on; null: wherever the kernel puts it. */
  readonly bulkCpus: readonly (number | null)[];
}

/** The program of another launcher, as messages have it: `fds` without those for bulk. */
export interface JoinedXdp extends Pick<SharedXdp, 'attach' | 'bulk'> {
  readonly fds: readonly number[];
}

/** What it is to do; either `open` or `adopt` is null. */
export interface RxTask {
  /** Its eventfd, and that of each worker. */
  readonly wake: number;
  readonly workerWakes: readonly number[];
  /** The abstract socket on which the next supervisor asks (inheritance.ts). */
  readonly listener: number;
  /** The socket of the slow path, if there is one. */
  readonly slowPath: number | null;
  /** Where the UDP sockets of the feeds but the first come from. */
  readonly feedChannel: number;
  readonly cpu: number | null;
  /** `join`: the program of another launcher; null: load it. */
  readonly open: (RxOpening & { readonly join: JoinedXdp | null }) | null;
  /** What its predecessor opened. */
  readonly adopt: Pick<Opened, 'arena' | 'rx' | 'intakes'> | null;
}

type RxMessage =
  | {
      event: 'opened';
      mode: Mode;
      attach: SharedXdp['attach'];
      fallbacks: Stats['fallbacks'];
      ringBecause: string;
      /** Descriptors of each kind: one a worker, or none. */
      tx: number;
      pages: number;
      /** One of each UDP socket that receives. */
      intakes: number;
    }
  | { event: 'running' }
  | { event: 'failed'; message: string; tried?: Stats['fallbacks'] };

/** What fantail-rx has opened; the descriptors are ours to close, in this order. */
export interface Opened {
  readonly fds: readonly number[];
  readonly mode: Mode;
  /** Modes that were tried before. */
  readonly fallbacks: Stats['fallbacks'];
  readonly arena: number;
  /** By queue. */
  readonly rx: readonly number[];
  /** By worker: sockets, and the maps that are sent from in bulk; either may be none. */
  readonly tx: readonly number[];
  readonly pages: readonly number[];
  /** Of the UDP sockets that receive: by queue in socket mode, else of the slow path. */
  readonly intakes: readonly number[];
  /** Both ways were wanted, and this is in the way of bulk; empty: nothing is. */
  readonly ringBecause: string;
  /** Null in socket mode. */
  readonly xdp: SharedXdp | null;
}

/** None of several modes was possible; another kind of data path may be. */
export class NoMode extends Failure {
  constructor(readonly tried: Stats['fallbacks']) {
    super(tried.map(({ mode, reason }) => `${mode}: ${reason}`).join('; '));
    this.name = 'NoMode';
  }
}

const ANSWER_MS_MAX = 30_000; // a NIC that resets its link on attach takes seconds
const POLL_MS = 2;

/** Throws what it could not open, and why. */
export async function untilOpened(
  socket: number,
  { queues }: Pick<RxOpening, 'queues'>,
): Promise<Opened> {
  const { said, fds } = await messageOfEvent(socket, 'opened');
  const [arena, ...rest] = fds;
  if (arena === undefined) throw new Failure('fantail-rx opened nothing');
  const { mode, attach, fallbacks, ringBecause } = said;
  const [txFrom, pagesFrom] = [queues.length, queues.length + said.tx];
  const intakesFrom = pagesFrom + said.pages;
  const programFrom = intakesFrom + said.intakes;
  return {
    fds,
    mode,
    fallbacks,
    arena,
    rx: rest.slice(0, txFrom),
    tx: rest.slice(txFrom, pagesFrom),
    pages: rest.slice(pagesFrom, intakesFrom),
    intakes: rest.slice(intakesFrom, programFrom),
    ringBecause,
    xdp: sharedXdp(attach, rest.slice(programFrom)),
  };
}

/** `isCurrent`: false once that socket is closed, and its number may be another's. */
export async function untilRunning(socket: number, isCurrent = () => true): Promise<void> {
  await messageOfEvent(socket, 'running', isCurrent);
}

/** The next message, which must be that event. */
async function messageOfEvent<Event extends 'opened' | 'running'>(
  socket: number,
  event: Event,
  isCurrent = () => true,
) {
  const deadline = performance.now() + ANSWER_MS_MAX;
  for (;;) {
    if (!isCurrent()) throw new Failure('it ended while it was starting');
    const message: Message | 'closed' | null = addon.receiveMessage(socket);
    if (message === 'closed')
      throw new Failure('fantail-rx ended while it was starting; see the lines above');
    if (message !== null) {
      const said = JSON.parse(message.text) as RxMessage; // our own program, built with this one
      if (said.event === 'failed')
        throw said.tried === undefined ? new Failure(said.message) : new NoMode(said.tried);
      // the event tells them apart, which generics cannot see
      if (said.event === event)
        return { said: said as RxMessage & { event: Event }, fds: message.fds };
    } else if (performance.now() > deadline) {
      throw new Failure(`fantail-rx did not say '${event}' within ${ANSWER_MS_MAX / 1000} s`);
    } else {
      await sleep(POLL_MS);
    }
  }
}
