/**
 * The thread of a TX worker that compiles filters, so that the packet loop does not: takes orders
 * from their socket, compiles what they load with the optimising compiler, and puts each into the
 * port that the loop looks at. Orders stay in order. Ends with the process; while there is no
 * supervisor no orders come, and the loop goes on.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../domain/errors.js';
import { lowerThisThread } from '../filters/background.js';
import { addon } from '../memory/addon.js';
import { type FilterOrder, takeOrder, type WrittenOrder } from './orders.js';

/** An order that is ready to be carried out: what it loads is compiled. */
export interface ReadyOrder {
  readonly order: FilterOrder;
  readonly module: WebAssembly.Module | null;
}

/** What the loop takes from the port. */
export type Loaded = ReadyOrder | { readonly failure: string };

/** What tx-worker.ts gives it. */
export interface LoaderStart {
  readonly port: MessagePort;
}

/** What it is told then, by the port. */
export type LoaderTold =
  /** Capabilities are a thread's own. */
  | 'drop privileges'
  /** The socket of the orders. */
  | { readonly orders: number };

const { port } = workerData as LoaderStart; // from tx-worker.ts
lowerThisThread();
port.on('message', (told: LoaderTold) => {
  if (told === 'drop privileges') addon.dropPrivileges('worker');
  else follow(told.orders);
});

/** The end of the last order: compiling takes time, and they stay in order. */
let last: Promise<void> = Promise.resolve();

function follow(orders: number): void {
  const watch = addon.watchFd(orders, () => {
    for (let next = takeOrder(orders); next !== null; next = takeOrder(orders)) {
      if (next === 'closed') {
        watch.close(); // nobody is left who could give any
        return;
      }
      prepare(next);
    }
  });
}

function prepare({ order, module }: WrittenOrder): void {
  last = last.then(async () => {
    const compiled = order.kind === 'load' ? await WebAssembly.compile(module) : null;
    port.postMessage({ order, module: compiled } satisfies Loaded);
  });
  last.catch((error) => port.postMessage({ failure: messageOf(error) } satisfies Loaded));
}

parentPort?.postMessage('loaded');
