/**
 * The thread of a TX worker that compiles filters, so that the packet loop does not: takes orders
 * from their socket, compiles what they load with the optimising compiler, and puts each into the
 * port that the loop looks at. Orders stay in order. Ends with the process; while there is no
 * supervisor no orders come, and the loop goes on.
 */
import { type MessagePort, workerData } from 'node:worker_threads';
import { messageOf } from '../domain/errors.js';
import { lowerThisThread } from '../filters/background.js';
import { addon } from '../memory/addon.js';
import { type FilterOrder, takeOrder } from './orders.js';

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
  /** The socket of the orders. */
  readonly orders: number;
}

const { port, orders } = workerData as LoaderStart; // from tx-worker.ts
lowerThisThread();
port.on('message', () => addon.dropPrivileges('worker')); // capabilities are a thread's own
port.unref();

/** The end of the last order: compiling takes time, and they stay in order. */
let last: Promise<void> = Promise.resolve();

function takeAll(): void {
  for (let next = takeOrder(orders); next !== null; next = takeOrder(orders)) {
    if (next === 'closed') {
      watch.close(); // nobody is left who could give any
      return;
    }
    const { order, module } = next;
    last = last.then(async () => {
      const compiled = order.kind === 'load' ? await WebAssembly.compile(module) : null;
      port.postMessage({ order, module: compiled } satisfies Loaded);
    });
    last.catch((error) => port.postMessage({ failure: messageOf(error) } satisfies Loaded));
  }
}

const watch = addon.watchFd(orders, takeAll);
