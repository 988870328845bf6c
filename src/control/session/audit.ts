/**
 * What is told of each change that was asked for: who, what, and how it was answered. What a peer
 * wrote is clipped to a part of one line.
 */
import type { Change, Subject } from '../../domain/change.js';
import type { Decoded, Request } from '../codec.js';
import { clip } from '../parameters.js';

/** Null: it asks for no change, or cannot be told from one that does not. */
export function changeOf(who: string, asked: Decoded, answer: Change['answer']): Change | null {
  const { operation } = asked;
  if (operation === undefined || operation.reads === true || operation.beforeToken === true)
    return null;
  if ('error' in asked)
    return { op: asked.op ?? '', who, what: operation.typed, answer, about: {} };
  const { op } = asked.request;
  const words = Object.keys(operation.takes).flatMap((name) => shown(asked.request[name]));
  return { op, who, what: [op, ...words].join(' '), answer, about: subjectOf(asked.request) };
}

/** An operation on feeds or filters names its own; any other address is a subscriber's. */
function subjectOf({ op: whole, name, ip, port }: Request): Subject {
  const op = whole.replace(/^fleet\./, '');
  const named = name === undefined ? '' : clip(String(name));
  if (op.startsWith('feed.')) return { feed: named };
  const subscriber = ip === undefined ? {} : { subscriber: `${ip}:${port}` };
  return op.startsWith('filter.') ? { filter: named, ...subscriber } : subscriber;
}

function shown(value: unknown): string[] {
  if (value === undefined) return [];
  if (value instanceof Uint8Array) return value.length === 0 ? [] : [`(${value.length} bytes)`];
  return [clip(String(value))];
}
