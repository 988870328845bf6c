/** `fantail remove <dest_ip> <dest_port>`: one subscriber less. */

import { type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';

export async function remove(
  subscriber: Endpoint,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const reply = await withClient(flags, (client) => client.ask({ op: 'remove', ...subscriber }));
  if (flags.json) console.log(reply.text);
  const { removed } = orThrow(reply);
  if (!flags.json)
    console.log(
      removed
        ? `removed ${endpointText(subscriber)}`
        : `${endpointText(subscriber)} was not subscribed`,
    );
}
