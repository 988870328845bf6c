/**
 * Filter orders: what the supervisor tells a TX worker about filters: which module goes into which
 * filter slot. Each is one message over a SOCK_SEQPACKET socket, JSON, with the module as a file in
 * memory; so an order is there whole or not at all, whoever is killed. Written by
 * processes/filter-orders.ts, read by loader.ts; both are of the same build.
 */
import { closeSync } from 'node:fs';
import type { Placed } from '../domain/filter.js';
import { addon, type Message } from '../memory/addon.js';
import { contentOf } from '../memory/memory-file.js';

/** `number`: the supervisor's count of orders, told back by the worker (filter_orders_done). */
export type FilterOrder =
  | ({ readonly kind: 'load'; readonly number: number } & Placed)
  | { readonly kind: 'drop'; readonly number: number; readonly slot: number }
  /** All that there is at this moment has been told; the worker may attach. */
  | { readonly kind: 'begin'; readonly number: number };

/** `module`: the file of what is to be loaded; it stays the caller's. Throws EAGAIN, EPIPE. */
export function sendOrder(socket: number, order: FilterOrder, module: number | null = null): void {
  addon.sendMessage(socket, JSON.stringify(order), module === null ? [] : [module]);
}

/** An order as it was written. */
export interface WrittenOrder {
  readonly order: FilterOrder;
  readonly module: Uint8Array<ArrayBuffer>;
}

/** Takes the next message; null if there is none yet, `closed` when no more will come. */
export function takeOrder(socket: number): WrittenOrder | 'closed' | null {
  const message: Message | 'closed' | null = addon.receiveMessage(socket);
  if (message === null || message === 'closed') return message;
  try {
    const order = JSON.parse(message.text) as FilterOrder; // of the same build
    const [file] = message.fds;
    return { order, module: file === undefined ? new Uint8Array() : contentOf(file) };
  } finally {
    for (const fd of message.fds) closeSync(fd);
  }
}
