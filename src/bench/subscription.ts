/**
 * A measurement's own subscription: made before the first message, taken back after the last. One
 * that was there before stays: it is somebody else's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Fantail } from '../api/fantail.js';
import { whenFollowed } from '../api/patience.js';
import type { ClientFlags } from '../control/client.js';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import type { SubscriberState } from '../domain/statistics.js';
import type { LegacyClient } from '../legacy/client.js';

/**
 * Until copies go straight to us, rather than through the kernel while our MAC address is asked
 * for.
 */
const LIVE_MS_MAX = 1000;
const ASK_AGAIN_MS = 20;
/** Legacy control tells no state: time to be found in. */
const LEGACY_SETTLE_MS = 200;

export interface Subscription {
  /** What the user should know about it, or null. */
  readonly note: string | null;
  end(): Promise<void>;
}

export type Subscribe = (local: Endpoint) => Promise<Subscription>;

const STAYS = 'was subscribed before, and stays so';

/**
 * By the control channel, on a session that lasts as long as the measurement: where it is killed,
 * the replicator takes the subscription back.
 */
export async function subscribe(flags: ClientFlags, local: Endpoint): Promise<Subscription> {
  const fantail = await connect(flags);
  try {
    const before = await stateOf(fantail, local);
    // somebody else's is left as it is
    if (before === null) await whenFollowed(() => fantail.add(local, { lease: 'session' }));
    const deadline = performance.now() + LIVE_MS_MAX;
    let state = before;
    while (state !== 'live' && performance.now() < deadline) {
      state = await stateOf(fantail, local);
      if (state !== 'live') await sleep(ASK_AGAIN_MS);
    }
    const notes = [
      ...(before === null ? [] : [`${endpointText(local)} ${STAYS}`]),
      ...(state === 'live'
        ? []
        : [`${endpointText(local)} is ${state ?? 'gone'}, not live: copies may take the slow way`]),
    ];
    const end = async () => {
      try {
        if (before === null) await fantail.remove(local);
      } finally {
        fantail.close();
      }
    };
    return { note: notes.length === 0 ? null : notes.join('; '), end };
  } catch (error) {
    fantail.close();
    throw error;
  }
}

/** Null: it is not subscribed. */
async function stateOf(fantail: Fantail, { ip, port }: Endpoint): Promise<SubscriberState | null> {
  const subscribers = await fantail.list();
  return subscribers.find((row) => row.ip === ip && row.port === port)?.state ?? null;
}

/**
 * By legacy control, which does not tell whether somebody was there already: its list does, up to
 * 255.
 */
export async function subscribeLegacy(
  client: LegacyClient,
  local: Endpoint,
): Promise<Subscription> {
  const before = await client.list();
  const isThere = before.some(({ ip, port }) => ip === local.ip && port === local.port);
  await client.add(local);
  await sleep(LEGACY_SETTLE_MS);
  const end = async () => {
    if (!isThere) await client.remove(local);
  };
  return { note: isThere ? `${endpointText(local)} ${STAYS}` : null, end };
}
