/** `fantail remove <dest_ip> <dest_port>`: one subscriber less. */

import { type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { destinationOf } from '../arguments.js';

export async function remove(
  ip: string,
  port: string,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const destination = destinationOf(ip, port);
  const reply = await withClient(flags, (client) => client.ask({ op: 'remove', ...destination }));
  if (flags.json) console.log(reply.text);
  const { removed } = orThrow(reply);
  if (!flags.json)
    console.log(removed ? `removed ${ip}:${port}` : `${ip}:${port} was not subscribed`);
}
