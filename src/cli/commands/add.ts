/** `fantail add <dest_ip> <dest_port>`: one more subscriber. */
import type { Fantail } from '../../api/fantail.js';
import type { ClientFlags } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import type { FeedChoice } from '../../domain/feed.js';
import { withFantail } from '../client.js';

export interface AddFlags extends ClientFlags {
  readonly json?: boolean;
  readonly feed?: FeedChoice;
  readonly lease?: number | 'session';
}

/** With a lease on the session it stays until the signal, or the replicator ends it. */
export function add(subscriber: Endpoint, flags: AddFlags, signal: AbortSignal): Promise<void> {
  const { lease, feed } = flags;
  const how = {
    ...(feed === undefined ? {} : { feeds: feed }),
    ...(lease === undefined ? {} : { lease }),
  };
  return withFantail(flags, async (fantail) => {
    const { existing } = await fantail.add(subscriber, how);
    const where = endpointText(subscriber);
    if (!flags.json) console.log(existing ? `${where} was subscribed already` : `added ${where}`);
    if (lease === 'session') await stay(fantail, signal);
  });
}

function stay(fantail: Fantail, signal: AbortSignal): Promise<void> {
  console.error('it stays as long as this command: end it with Ctrl-C');
  return fantail.untilEnd(signal);
}
