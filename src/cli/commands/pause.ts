/** `fantail pause|resume <dest_ip> <dest_port>`: nothing for a subscriber, or all of it again. */

import type { ClientFlags } from '../../control/client.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { withFantail } from '../client.js';

const SAYS = {
  pause: { done: 'paused', already: 'was paused already' },
  resume: { done: 'resumed', already: 'was not paused' },
} as const;

export async function pause(
  op: keyof typeof SAYS,
  subscriber: Endpoint,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const { changed } = await withFantail(flags, (fantail) => fantail[op](subscriber));
  const { done, already } = SAYS[op];
  if (!flags.json) console.log(`${endpointText(subscriber)} ${changed ? done : already}`);
}
