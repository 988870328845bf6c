/** `fantail add <dest_ip> <dest_port>`: one more subscriber. */

import { type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';

export async function add(
  subscriber: Endpoint,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const reply = await withClient(flags, (client) => client.ask({ op: 'add', ...subscriber }));
  if (flags.json) console.log(reply.text);
  const { existing } = orThrow(reply);
  if (!flags.json)
    console.log(
      existing
        ? `${endpointText(subscriber)} was subscribed already`
        : `added ${endpointText(subscriber)}`,
    );
}
