/**
 * The thread of a TX worker that compiles filters, so that the packet loop does not: reads orders
 * from standard input, compiles what they load with the optimising compiler, and puts each into the
 * port that the loop looks at. Orders stay in order. Ends with the process; when the supervisor is
 * gone no more orders come, and the loop goes on.
 */
import { Socket } from 'node:net';
import { type MessagePort, workerData } from 'node:worker_threads';
import { messageOf } from '../domain/errors.js';
import { addon } from '../memory/addon.js';
import { type FilterOrder, OrderReader } from './orders.js';

/** An order that is ready to be carried out: what it loads is compiled. */
export interface ReadyOrder {
  readonly order: FilterOrder;
  readonly module: WebAssembly.Module | null;
}

/** What the loop takes from the port. */
export type Loaded = ReadyOrder | { readonly failure: string };

/**
 * A socket of the supervisor's. Read by the event loop: a blocking read would keep the process from
 * ending.
 */
const STDIN = 0;

const { port } = workerData as { port: MessagePort }; // from tx-worker.ts
port.on('message', () => addon.dropPrivileges()); // capabilities are a thread's own
port.unref();

async function main(): Promise<void> {
  const reader = new OrderReader();
  // a socket without encoding gives bytes
  for await (const chunk of new Socket({ fd: STDIN, readable: true, writable: false }))
    for (const { order, module } of reader.push(chunk as Uint8Array))
      port.postMessage({
        order,
        module: order.kind === 'load' ? await WebAssembly.compile(module) : null,
      } satisfies Loaded);
}

main().catch((error) => port.postMessage({ failure: messageOf(error) } satisfies Loaded));
