/**
 * Filter orders: what the supervisor tells a TX worker about filters, through the worker's standard
 * input: which module goes into which filter slot. Written by processes/filter-orders.ts, read by
 * loader.ts; both are of the same build.
 *
 *     ┌ 4 bytes ─────┬ that many bytes ┬ `size` bytes ─┐
 *     │ length (LE)  │ the order, JSON │ the module    │   a frame; `size` is 0 but for `load`
 *     └──────────────┴─────────────────┴───────────────┘
 */
import type { Placed } from '../domain/filter.js';

/** `number`: the supervisor's count of orders, told back by the worker (filter_orders_done). */
export type FilterOrder =
  | ({ readonly kind: 'load'; readonly number: number; readonly size: number } & Placed)
  | { readonly kind: 'drop'; readonly number: number; readonly slot: number }
  /** All that there is at this moment has been told; the worker may attach. */
  | { readonly kind: 'begin'; readonly number: number };

const LENGTH_SIZE = 4;

export function encodeOrder(order: FilterOrder, module: Uint8Array = new Uint8Array()): Buffer {
  const text = Buffer.from(JSON.stringify(order));
  const length = Buffer.alloc(LENGTH_SIZE);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text, module]);
}

/** An order as it was written. */
export interface WrittenOrder {
  readonly order: FilterOrder;
  readonly module: Uint8Array;
}

/** Takes whole orders out of a stream of bytes. */
export class OrderReader {
  private held: Buffer = Buffer.alloc(0);

  push(bytes: Uint8Array): WrittenOrder[] {
    this.held = Buffer.concat([this.held, bytes]);
    const whole = [];
    for (let next = this.take(); next !== null; next = this.take()) whole.push(next);
    return whole;
  }

  private take(): WrittenOrder | null {
    if (this.held.length < LENGTH_SIZE) return null;
    const start = LENGTH_SIZE + this.held.readUInt32LE();
    if (this.held.length < start) return null;
    // see the file comment
    const order = JSON.parse(this.held.toString('utf8', LENGTH_SIZE, start)) as FilterOrder;
    const end = start + (order.kind === 'load' ? order.size : 0);
    if (this.held.length < end) return null;
    const module = Uint8Array.from(this.held.subarray(start, end));
    this.held = this.held.subarray(end);
    return { order, module };
  }
}
