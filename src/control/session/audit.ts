/**
 * What is told of each change that was asked for: who, what, and how it was answered. What a peer
 * wrote is clipped to a part of one line.
 */
import type { Code } from '../../domain/errors.js';
import type { Decoded } from '../codec.js';
import { clip } from '../parameters.js';

export interface Change {
  /** ip:port of the peer. */
  readonly who: string;
  /** The operation and the values of its parameters, in the order in which they are typed. */
  readonly what: string;
  readonly answer: 'ok' | Code;
}

/** Null: it asks for no change, or cannot be told from one that does not. */
export function changeOf(who: string, asked: Decoded, answer: Change['answer']): Change | null {
  const { operation } = asked;
  if (operation === undefined || operation.reads === true || operation.beforeToken === true)
    return null;
  if ('error' in asked) return { who, what: operation.typed, answer };
  const words = Object.keys(operation.takes).flatMap((name) => shown(asked.request[name]));
  return { who, what: [asked.request.op, ...words].join(' '), answer };
}

function shown(value: unknown): string[] {
  if (value === undefined) return [];
  if (value instanceof Uint8Array) return value.length === 0 ? [] : [`(${value.length} bytes)`];
  return [clip(String(value))];
}
