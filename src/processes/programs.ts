/**
 * The programs of the data path: how each is started, waits for what it is to do, and is told.
 *
 * Each has a SOCK_SEQPACKET socket to us as descriptor 3, and waits there for its task: JSON in
 * which a descriptor is its place among those that come along. It ends if we do before it runs, but
 * for a fantail-rx that was given all that the next supervisor needs before its task. They run in
 * sessions of their own, so that Ctrl-C at the terminal reaches the supervisor alone, which ends
 * them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Failure } from '../domain/errors.js';
import { nativeFile, programFile } from '../domain/installation.js';
import { environmentWithoutTls } from '../domain/process/environment.js';
import { addon } from '../memory/addon.js';
import { log, logForm } from '../terminal/log.js';
import type { WorkerTask } from '../worker/task.js';
import { Descriptors } from './descriptors.js';
import { passNiceness } from './niceness.js';
import { type Running, spawned } from './running.js';
import type { RxTask } from './rx-protocol.js';

const RX_PROGRAM = nativeFile('fantail-rx');
const WORKER_PROGRAM = programFile('worker/tx-worker.js');
/** Word of the command line: one that opens nothing, and so gives up its privileges at once. */
const STANDBY = 'standby';
/** Of a line on a process's stderr, characters: V8 says at length why it ends. */
const WORDS_LENGTH_MAX = 2000;

/** A process that waits for its task. */
export interface Waiting {
  readonly running: Running;
  readonly socket: number;
}

/** fantail-rx for a data plane that is still to be opened. */
export function startRx(interfaceName: string): Waiting {
  // to open sockets and load the program; nothing else that we start is given any
  addon.raiseAmbientCapabilities();
  try {
    return start(RX_PROGRAM, [interfaceName]);
  } finally {
    addon.clearAmbientCapabilities();
  }
}

/** fantail-rx for one that is open. */
export const startRxAgain = (interfaceName: string): Waiting =>
  start(RX_PROGRAM, [interfaceName, STANDBY]);

export const startWorker = (interfaceName: string): Waiting =>
  start(process.execPath, [WORKER_PROGRAM, interfaceName]);

/** Every descriptor in `task` is one of ours. The socket is the caller's from then on. */
export function beginRx(waiting: Waiting, task: RxTask): Running {
  const { open, adopt } = task;
  const join = open?.join ?? null;
  return begin<RxTask>(waiting, (place) => ({
    ...task,
    wake: place(task.wake),
    workerWakes: task.workerWakes.map(place),
    listener: place(task.listener),
    slowPath: placeOrNull(place, task.slowPath),
    feedChannel: place(task.feedChannel),
    open: open && {
      ...open,
      join: join && {
        attach: join.attach,
        fds: join.fds.map(place),
        bulk: join.bulk.map(place),
      },
    },
    adopt: adopt && {
      arena: place(adopt.arena),
      rx: adopt.rx.map(place),
      intakes: adopt.intakes.map(place),
    },
  }));
}

/**
 * Every descriptor in `task` is one of ours. The socket stays open as long as the worker lives: one
 * that finds it closed when it takes its task has no supervisor, and another may have its place.
 */
export function beginWorker(waiting: Waiting, { descriptors, orders, cpu }: WorkerTask): Running {
  const running = begin<WorkerTask>(waiting, (place) => ({
    cpu,
    orders: place(orders),
    descriptors: {
      arena: place(descriptors.arena),
      worker: descriptors.worker,
      rx: descriptors.rx.map(place),
      slowPath: placeOrNull(place, descriptors.slowPath),
      feedChannel: place(descriptors.feedChannel),
      intakes: descriptors.intakes.map(place),
      tx: placeOrNull(place, descriptors.tx),
      pages: placeOrNull(place, descriptors.pages),
      program: placeOrNull(place, descriptors.program),
      pump: descriptors.pump,
      wake: place(descriptors.wake),
      workerWakes: descriptors.workerWakes.map(place),
      kernelSockets: descriptors.kernelSockets.map(place),
    },
  }));
  running.onEnd(() => closeSync(waiting.socket));
  return running;
}

const placeOrNull = (place: (fd: number) => number, fd: number | null) =>
  fd === null ? null : place(fd);

function start(program: string, args: readonly string[]): Waiting {
  const [ours, theirs] = Descriptors.pair();
  try {
    const stderr = logForm() === 'json' ? 'pipe' : 'inherit';
    const stdio = ['ignore', 'inherit', stderr, theirs] as const;
    addon.forbidIoUring();
    const child = spawn(program, args, {
      stdio: [...stdio],
      detached: true,
      env: environmentWithoutTls(),
    });
    if (child.pid === undefined) throw new Failure(`${program} cannot be started`);
    passNiceness(child.pid);
    tellWordsOf(child, program === RX_PROGRAM ? 'fantail-rx' : 'tx worker');
    return { running: spawned(child), socket: ours };
  } catch (error) {
    closeSync(ours);
    throw error;
  } finally {
    closeSync(theirs);
  }
}

/**
 * What it writes to stderr is among our lines as one of them each. After the death of the
 * supervisor that reads there such words are lost (a write is EPIPE), as with any pipe.
 */
function tellWordsOf({ stderr, pid = 0 }: ChildProcess, name: string): void {
  if (stderr === null) return;
  createInterface({ input: stderr })
    .on('line', (words) => log.warn({ process: name, pid }, words.slice(0, WORDS_LENGTH_MAX)))
    .on('error', () => {}); // an error of the pipe, which is its end to us
}

/** `make`: the task, in which `place` puts the place of a descriptor. */
function begin<Task>({ running, socket }: Waiting, make: (place: Place) => Task): Running {
  const fds: number[] = [];
  const task = make((fd) => fds.push(fd) - 1);
  try {
    addon.sendMessage(socket, JSON.stringify(task), fds);
    return running;
  } catch (error) {
    closeSync(socket);
    running.kill();
    throw error;
  }
}

type Place = (fd: number) => number;
