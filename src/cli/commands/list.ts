/** `fantail list`: all subscribers and how each is reached. */

import type { ClientFlags } from '../../control/client.js';
import type { SubscriberRow } from '../../domain/statistics.js';
import { tableLines } from '../../terminal/tables.js';
import { withFantail } from '../client.js';

export async function list(flags: ClientFlags & { json?: boolean }): Promise<void> {
  const subscribers = await withFantail(flags, (fantail) => fantail.list());
  if (!flags.json) console.log(listText(subscribers));
}

function listText(subscribers: readonly SubscriberRow[]): string {
  if (subscribers.length === 0)
    return 'no subscribers; add one with: fantail add <dest_ip> <dest_port>';
  const rows = subscribers.map((row) => {
    const { ip, port, state, mac, worker, filter, feeds } = row;
    return [ip, String(port), state, mac ?? '-', String(worker), filter, feeds.join(',') || '-'];
  });
  return tableLines(['ip', 'port', 'state', 'mac', 'worker', 'filter', 'feeds'], rows).join('\n');
}
