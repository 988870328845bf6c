/** The feed as the XDP program knows it, kept as the interface is. */
import { messageOf } from '../domain/errors.js';
import { addon, type Interface } from '../memory/addon.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import type { OpenedPlane } from './planes.js';

/**
 * Which of its frames are certain to be for us: by the MAC of the interface and the addresses of
 * the host. fantail-rx has said so at the start.
 */
export function tellProgram(
  { plane, deployment }: Pick<OpenedPlane, 'plane' | 'deployment'>,
  { netns, listenIp: ip, listenPort: port }: Config,
  { name }: Interface,
): void {
  const { xdp } = plane.opened;
  if (xdp === null) return;
  const { queues, mtu } = deployment;
  const generic = xdp.attach === 'generic';
  try {
    addon.feedSet(xdp.feeds, xdp.own, netns, name, { queues, ip, port, mtu, generic });
  } catch (error) {
    // frames that it does not know for ours any more go by the kernel until the next change
    log.warn(`the XDP program is not told of the change: ${messageOf(error)}`);
  }
}
