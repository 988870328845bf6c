/**
 * What a TX worker is told to do: one message, JSON with descriptors, over a socket that it has
 * from its start. Written by processes/programs.ts of the same build.
 */
import { addon, type Message, type WorkerDescriptors } from '../memory/addon.js';

/** The socket: a descriptor that it inherits. */
const TASK_SOCKET = 3;

/** Its descriptors are numbers of whoever has it; in the message, places among those sent along. */
export interface WorkerTask {
  readonly descriptors: WorkerDescriptors;
  /** The socket of the filter orders. */
  readonly orders: number;
  readonly cpu: number | null;
}

/** Waits for it; null: whoever could give one is gone. */
export async function awaitTask(): Promise<WorkerTask | null> {
  const message = await new Promise<Message | 'closed'>((resolve) => {
    const watch = addon.watchFd(TASK_SOCKET, () => {
      const received = addon.receiveMessage(TASK_SOCKET);
      if (received === null) return;
      watch.close();
      resolve(received);
    });
  });
  // it may have waited long, and whoever sent it be gone by now
  if (message === 'closed' || addon.receiveMessage(TASK_SOCKET) === 'closed') return null;
  return taskOf(message);
}

function taskOf({ text, fds }: Message): WorkerTask {
  const { descriptors, orders, cpu } = JSON.parse(text) as WorkerTask; // of the same build
  const at = (place: number) => fds[place] ?? -1;
  const atOrNull = (place: number | null) => (place === null ? null : at(place));
  return {
    cpu,
    orders: at(orders),
    descriptors: {
      arena: at(descriptors.arena),
      worker: descriptors.worker,
      rx: descriptors.rx.map(at),
      slowPath: atOrNull(descriptors.slowPath),
      feedChannel: at(descriptors.feedChannel),
      intakes: descriptors.intakes.map(at),
      tx: atOrNull(descriptors.tx),
      pages: atOrNull(descriptors.pages),
      program: atOrNull(descriptors.program),
      pump: descriptors.pump,
      wake: at(descriptors.wake),
      workerWakes: descriptors.workerWakes.map(at),
      kernelSockets: descriptors.kernelSockets.map(at),
    },
  };
}
