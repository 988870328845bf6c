/** As many feeds and subscribers as a desk has, for what must not depend on how many there are. */
import { HOSTS, REPLICATOR_IP } from '../rig/link.js';
import type { Replicator } from '../rig/replicator.js';
import { LISTEN_PORT } from '../rig/wire.js';

export const SUBSCRIBERS = 1000;
const FEEDS = 10;
export const FIRST_PORT = 10_000;

/** All on one host, each with all feeds. */
export async function crowd(replicator: Replicator): Promise<void> {
  const [ip = ''] = HOSTS;
  for (let index = 1; index < FEEDS; index++)
    await replicator.change({
      op: 'feed.add',
      ...{ name: `feed${index}`, ip: REPLICATOR_IP, port: LISTEN_PORT + index },
    });
  const adding = Array.from({ length: SUBSCRIBERS }, (_, index) =>
    replicator.change({ op: 'add', ip, port: FIRST_PORT + index, feeds: ['all'] }),
  );
  await Promise.all(adding);
}
