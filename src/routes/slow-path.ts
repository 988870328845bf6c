/**
 * The slow path: what the kernel delivers of the feed to a UDP socket, since the XDP program has
 * passed it (options, fragments, tags of priority). The receiver takes it from there
 * (native/path/rx_stage.cpp). The socket holds the listen port, too, so that nothing which passes
 * draws an ICMP error.
 */
import type { Endpoint } from '../domain/endpoint.js';
import { Failure } from '../domain/errors.js';
import { addon } from '../memory/addon.js';

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

/** What a UDP port could not be bound for, with the line that shows who has it. */
function portInUse(error: unknown, { ip, port }: Endpoint): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return error;
  return new Failure(
    `UDP port ${port} of ${ip} is in use by another program; see: ss -lunp 'sport = :${port}'`,
  );
}
