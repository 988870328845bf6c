/**
 * What the demo of a group and its helper at the hub say to each other, and the payload that is
 * sent.
 *
 * The helper (crowd-main.ts) is the feed and all subscribers, a Node process inside the hub's
 * namespace, driven over Node's own process channel; it ends when that closes, so that it does not
 * outlive a demo that was killed.
 */
import type { Endpoint } from '../../domain/endpoint.js';

/** Payload: u64 sequence, then filling. */
export const PAYLOAD_SIZE = 200;

export interface CrowdOptions {
  readonly feed: Endpoint;
  readonly sourceIp: string;
  /** Packets per second, open loop. */
  readonly rate: number;
  readonly subscribers: readonly Endpoint[];
}

export type CrowdAsk = { readonly ask: 'start' | 'stop' | 'look' };

/** What one subscriber has of the packets up to the last that can have come. */
export interface Received {
  readonly received: number;
  /** Since its first: sequences that came from nobody. */
  readonly missed: number;
  readonly twice: number;
  /** The address that its newest came from; null: nothing has come yet. */
  readonly sender: string | null;
  /** The longest time without a packet since its first, up to now; milliseconds. */
  readonly silenceMs: number;
  /** The time since its last. */
  readonly sinceMs: number;
}

export type CrowdTell =
  | { readonly tell: 'ready' }
  | { readonly tell: 'failed'; readonly reason: string }
  | {
      readonly tell: 'look';
      readonly atMs: number;
      readonly sent: number;
      readonly refused: number;
      readonly subscribers: readonly Received[];
    };
