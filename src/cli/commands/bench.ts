/**
 * `fantail bench <replicator_ip> <port> <local_ip> <local_port> <count> <rate>`: the round trip of
 * market data, as a client sees it: out to the replicator as a feed, back as a subscriber.
 */
import type { Plan } from '../../bench/plan.js';
import { runMeasurement } from '../../bench/run.js';
import { subscribe } from '../../bench/subscription.js';
import type { ClientFlags } from '../../control/client.js';

export async function bench(plan: Plan, flags: ClientFlags, signal: AbortSignal): Promise<void> {
  await runMeasurement(plan, (local) => subscribe(flags, local), signal);
}
