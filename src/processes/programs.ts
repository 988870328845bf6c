/**
 * The programs of the data path: how each is started, and which descriptors it gets.
 *
 * Both take one JSON argument in which a descriptor is the number that it has in the child. They
 * run in sessions of their own, so that Ctrl-C at the terminal reaches the supervisor alone, which
 * ends them.
 */
import { spawn } from 'node:child_process';
import { nativeFile, programFile } from '../domain/installation.js';
import { addon } from '../memory/addon.js';
import type { WorkerStart } from '../worker/tx-worker.js';
import { type Running, spawned } from './running.js';
import type { RxStart } from './rx-protocol.js';

const RX_PROGRAM = nativeFile('fantail-rx');
const WORKER_PROGRAM = programFile('worker/tx-worker.js');

/** Numbers descriptors of ours as the child will have them: by their places in `stdio`. */
class Stdio {
  readonly list: ('ignore' | 'inherit' | number)[] = ['ignore', 'inherit', 'inherit'];

  place = (fd: number): number => this.list.push(fd) - 1;
}

/** Starts fantail-rx; every descriptor in `start` is one of ours. */
export function spawnRx(start: RxStart): Running {
  const { place, list } = new Stdio();
  const { open, adopt } = start;
  const join = open?.join ?? null;
  const argument: RxStart = {
    ...start,
    supervisor: place(start.supervisor),
    wake: place(start.wake),
    workerWakes: start.workerWakes.map(place),
    listener: place(start.listener),
    open: open && {
      ...open,
      join: join && {
        attach: join.attach,
        link: place(join.link),
        xsks: place(join.xsks),
        feeds: place(join.feeds),
        verdicts: place(join.verdicts),
      },
    },
    adopt: adopt && { arena: place(adopt.arena), rx: adopt.rx.map(place) },
  };
  // to open sockets and load the program; nothing else that we start is given any
  if (open !== null) addon.raiseAmbientCapabilities();
  try {
    return spawned(spawn(RX_PROGRAM, [JSON.stringify(argument)], { stdio: list, detached: true }));
  } finally {
    addon.clearAmbientCapabilities();
  }
}

/** Starts a TX worker; every descriptor in `start` is one of ours. */
export function spawnWorker({ descriptors, orders, cpu, ...rest }: WorkerStart): Running {
  const { place, list } = new Stdio();
  const argument: WorkerStart = {
    ...rest,
    cpu,
    orders: place(orders),
    descriptors: {
      arena: place(descriptors.arena),
      worker: descriptors.worker,
      rx: descriptors.rx.map(place),
      tx: place(descriptors.tx),
      wake: place(descriptors.wake),
      workerWakes: descriptors.workerWakes.map(place),
      kernelSockets: descriptors.kernelSockets.map(place),
    },
  };
  const args = [WORKER_PROGRAM, JSON.stringify(argument)];
  return spawned(spawn(process.execPath, args, { stdio: list, detached: true }));
}
