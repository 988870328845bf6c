/** `fantail add <dest_ip> <dest_port>`: one more subscriber. */

import { type Client, type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import type { FeedChoice } from '../../domain/feed.js';

export interface AddFlags extends ClientFlags {
  readonly json?: boolean;
  readonly feed?: FeedChoice;
  readonly lease?: number | 'session';
}

/** With a lease on the session it stays until the signal, or the replicator ends it. */
export function add(subscriber: Endpoint, flags: AddFlags, signal: AbortSignal): Promise<void> {
  const { lease, feed } = flags;
  return withClient(flags, async (client) => {
    const reply = await client.ask({
      op: 'add',
      ...subscriber,
      ...(feed === undefined ? {} : { feeds: [...feed] }),
      ...(lease === undefined ? {} : { lease }),
    });
    if (flags.json) console.log(reply.text);
    const { existing } = orThrow(reply);
    if (!flags.json)
      console.log(
        existing
          ? `${endpointText(subscriber)} was subscribed already`
          : `added ${endpointText(subscriber)}`,
      );
    if (lease === 'session') await stay(client, signal);
  });
}

function stay(client: Client, signal: AbortSignal): Promise<void> {
  console.error('it stays as long as this command: end it with Ctrl-C');
  return client.untilEnd(signal);
}
