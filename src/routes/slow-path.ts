/**
 * The slow path: what the kernel delivers of the feed to a UDP socket, since the XDP program has
 * passed it (options, fragments, tags of priority). The receiver takes it from there
 * (native/path/rx_stage.cpp). The socket holds the listen port, too, so that nothing which passes
 * draws an ICMP error.
 */
import type { Endpoint } from '../domain/endpoint.js';
import { addon } from '../memory/addon.js';
import { portInUse } from './kernel-sockets.js';

export interface SlowPathOptions {
  readonly netns: string | null;
  readonly interfaceName: string;
  readonly listen: Endpoint;
}

/** Its socket. */
export function openSlowPath({ netns, interfaceName, listen }: SlowPathOptions): number {
  try {
    return addon.openListener(netns, { ...listen, device: interfaceName });
  } catch (error) {
    throw portInUse(error, listen);
  }
}
