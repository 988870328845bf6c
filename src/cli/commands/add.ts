/** `fantail add <dest_ip> <dest_port>`: one more subscriber. */

import { type ClientFlags, orThrow, withClient } from '../../control/client.js';
import { destinationOf } from '../arguments.js';

export async function add(
  ip: string,
  port: string,
  flags: ClientFlags & { json?: boolean },
): Promise<void> {
  const destination = destinationOf(ip, port);
  const reply = await withClient(flags, (client) => client.ask({ op: 'add', ...destination }));
  if (flags.json) console.log(reply.text);
  const { existing } = orThrow(reply);
  if (!flags.json)
    console.log(existing ? `${ip}:${port} was subscribed already` : `added ${ip}:${port}`);
}
