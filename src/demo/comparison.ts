/**
 * What plain UDP sockets give on the same link, before the demo proper: the same feed, subscribers
 * and worker, with `fantail up --mode socket`, which receives by recvmmsg and sends by sendmmsg.
 *
 * In turn and not beside each other: two workers that never sleep would take a core each, and on
 * two cores each other's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../domain/errors.js';
import type { Feed, Listener } from './helpers.js';
import type { TransitTimes } from './messages.js';
import { Serving, type ServingOptions, SUBSCRIBED_COUNT } from './serving.js';

/** Not counted: V8 compiles the worker's code, the caches fill. */
const WARM_UP_MS = 500;
export const COMPARED_MS = 2000;
/** Until what was sent last has arrived. */
const SETTLE_MS = 200;

export interface Comparison {
  /** By subscriber; null: nothing came. Empty where there is no comparison. */
  readonly latencies: readonly (TransitTimes | null)[];
  /** Packets that were lost of those sent, over all subscribers. */
  readonly lost: number;
  /** Why there is none, as a part of a sentence; null if there is one. */
  readonly lack: string | null;
}

export const notCompared = (lack: string): Comparison => ({ latencies: [], lost: 0, lack });

export interface Compared {
  /** Of the demo's own replicator; the mode is another. */
  readonly options: ServingOptions;
  readonly feed: Feed;
  readonly listeners: readonly Listener[];
  /** Resolves when the demo is to end. */
  readonly ending: Promise<unknown>;
}

/** Sends for a while and returns what each subscriber got; cut short if the demo is to end. */
async function measure({ feed, listeners, ending }: Compared): Promise<Comparison> {
  const subscribed = listeners.slice(0, SUBSCRIBED_COUNT);
  const wait = (ms: number) => Promise.race([sleep(ms, null, { ref: false }), ending]);
  feed.begin();
  await wait(WARM_UP_MS);
  for (const listener of subscribed) await listener.snapshot(0); // its latencies are taken
  await wait(COMPARED_MS);
  const last = await feed.stop();
  if (last === null) return notCompared('the feed did not answer');
  await wait(SETTLE_MS);
  const accounts = await Promise.all(subscribed.map((each) => each.snapshot(last.sent - 1)));
  const lost = accounts.reduce((sum, account) => sum + (account?.lost ?? 0), 0);
  const latencies = accounts.map((account) => account?.latency ?? null);
  const lack = latencies.every((each) => each === null) ? 'nothing came by them' : null;
  return { latencies, lost, lack };
}

/** Never throws: without it there is a demo all the same, and the view says what is missing. */
export async function comparePlainSockets(compared: Compared): Promise<Comparison> {
  let serving: Serving | null = null;
  try {
    serving = await Serving.start({ ...compared.options, mode: 'socket' });
    await serving.subscribe(compared.listeners);
    return await measure(compared);
  } catch (thrown) {
    return notCompared(messageOf(thrown));
  } finally {
    await serving?.close();
  }
}
