/** A change that was asked for by the control channel: who, what, and how it was answered. */
import type { Code } from './errors.js';

export interface Change {
  /** Of the operation. */
  readonly op: string;
  /** ip:port of the peer. */
  readonly who: string;
  /** The operation and the values of its parameters, in the order in which they are typed. */
  readonly what: string;
  readonly answer: 'ok' | Code;
  /** What it is of; none where the request could not be read. */
  readonly about: Subject;
}

export interface Subject {
  /** ip:port. */
  readonly subscriber?: string;
  readonly feed?: string;
  readonly filter?: string;
}

/** As `changes` tells it. */
export interface ToldChange extends Change {
  /** When it was answered, milliseconds since 1970. */
  readonly at_ms: number;
  /**
   * Where the same host has asked again for what was so already: how often in all, and when last.
   */
  readonly times?: number;
  readonly last_ms?: number;
}
