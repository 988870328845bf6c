/** The interface of a replicator: what is observed of it, and what that means. */
import { existsSync } from 'node:fs';
import { networkInterfaces, release } from 'node:os';
import { join } from 'node:path';
import type { Counts } from '../domain/counts.js';
import { Failure, messageOf } from '../domain/errors.js';
import { addon, type Interface } from '../memory/addon.js';
import type { Source } from '../subscribers/table.js';
import type { Config } from './config.js';
import { Destinations, defaultAllow, defaultAllowOf } from './destinations.js';
import type { Observed } from './plan/deployment.js';
import { observeProcess } from './plan/process.js';

/** What the deployment is decided from. */
export function observe(config: Config): Observed {
  const { interfaceName } = config;
  const link = describe(config);
  if (link === null && interfaceName !== '-')
    throw new Failure(`there is no interface ${interfaceName}; see: ip link`);
  return observedOf(link, link !== null && addon.takesRules(config.netns, interfaceName));
}

/** `takesRules`: of its card. */
export function observedOf(link: Interface | null, takesRules: boolean): Observed {
  return {
    link,
    takesRules,
    kernel: release(),
    isModule: link !== null && isModule(link.driver),
    ...observeProcess(),
  };
}

/**
 * Whether a driver was loaded as a module: only those have a state
 * (Documentation/ABI/stable/sysfs-module).
 */
function isModule(driver: string): boolean {
  return existsSync(join('/sys/module', driver.replaceAll('-', '_'), 'initstate'));
}

/** As the kernel has it now; null if there is none of that name, such as `-`. */
export function describe({ interfaceName, netns }: Config): Interface | null {
  if (interfaceName === '-') return null;
  try {
    return addon.describeInterface(netns, interfaceName);
  } catch (error) {
    // the addon throws Errors with codes
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return null;
    throw new Failure(messageOf(error));
  }
}

/** What drivers call their figures of XDP and of AF_XDP, such as mlx5's rx0_xsk_xdp_redirect. */
const XDP_FIGURE = /xdp|xsk/i;

/** Those, as the driver has them now; none where there is no interface, or nothing to tell. */
export function xdpFigures({ interfaceName, netns }: Config): Counts {
  if (interfaceName === '-') return {};
  try {
    const all = addon.driverFigures(netns, interfaceName);
    return Object.fromEntries(all.filter(([name]) => XDP_FIGURE.test(name)));
  } catch (error) {
    // the addon throws Errors with codes: it has gone, which is told by who watches it
    if ((error as NodeJS.ErrnoException).code === 'ENODEV') return {};
    throw new Failure(messageOf(error));
  }
}

/** Where copies come from: the listen address if it is the interface's, else its first. */
export function sourceIpOf({ listenIp }: Pick<Config, 'listenIp'>, link: Interface | null): string {
  const own = link?.addresses ?? [];
  return own.find((each) => each.ip === listenIp)?.ip ?? own[0]?.ip ?? listenIp;
}

/** Our side of every frame. */
export function sourceOf(
  config: Pick<Config, 'listenIp' | 'listenPort' | 'multicastTtl'>,
  link: Interface | null,
): Source {
  const { listenPort: port, multicastTtl } = config;
  const mac = Uint8Array.from(
    (link?.mac || '00:00:00:00:00:00').split(':').map((byte) => Number.parseInt(byte, 16)),
  );
  return { ip: sourceIpOf(config, link), port, mac, multicastTtl };
}

/** Where copies may be sent: what was configured, or the subnets of the interface. */
export function destinationsOf(config: Config, link: Interface | null): Destinations {
  const { listenIp } = config;
  const local = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const allow =
    config.allow ?? (link === null ? defaultAllowOf(listenIp, local) : defaultAllow(link));
  // of a loopback every address is our own and every host a local one, and `-` is no interface
  const rules = { allow, isExplicit: config.allow !== null };
  if (link === null || link.loopback) return new Destinations({ ...rules, own: [], others: [] });
  return new Destinations({ ...rules, own: link.addresses, others: link.others });
}
