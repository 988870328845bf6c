/** `fantail remove <dest_ip> <dest_port>`: one subscriber less. */

import type { ClientFlags } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { withFantail } from '../client.js';

export async function remove(
  subscriber: Endpoint,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const { removed } = await withFantail(flags, (fantail) => fantail.remove(subscriber));
  if (!flags.json)
    console.log(
      removed
        ? `removed ${endpointText(subscriber)}`
        : `${endpointText(subscriber)} was not subscribed`,
    );
}
