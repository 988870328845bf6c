/** The way to each subscriber of a fantail that runs, and its membership in groups. */
import { counted } from '../../domain/counts.js';
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import type { NetworkSubject } from '../subject.js';

/** That have no way; the rest is counted. */
export const SUBSCRIBERS_SHOWN = 20;

export const SUBSCRIBERS_KINDS = {
  subscriber_route: {
    level: 'must',
    why: 'its copies end as no_route; where a gateway leads there, name that in the line: via GATEWAY',
    cure: 'ip route add {ip}/32 dev {interface}',
    isOfNetwork: true,
  },
  subscriber_neighbour: {
    level: 'must',
    why: 'its copies end as no_neighbour; if it is to be there, look at that host and the wire to it',
    cure: '{program} remove {ip} {port} {access}',
  },
  group_left: {
    level: 'must',
    why: 'no switch sends the group here any more',
    instead: 'start fantail again: it joins the group anew',
  },
} as const satisfies Kinds;

const find = finder(SUBSCRIBERS_KINDS);

export function checkSubscribers({ launcher, network, program }: NetworkSubject): Finding[] {
  if (launcher === null || launcher.mode === 'socket') return [];
  const vias = new Map(network.vias.map(({ ip, via }) => [ip, via]));
  const lost = launcher.subscribers.filter(({ state }) => state === 'unresolved');
  const shown = lost.slice(0, SUBSCRIBERS_SHOWN);
  return shown.map(({ ip, port }, at) => {
    const hidden = at === shown.length - 1 ? lost.length - shown.length : 0;
    const more = hidden === 0 ? '' : `; as of ${counted(hidden, 'subscriber')} more`;
    const via = vias.get(ip) ?? null;
    const { name } = network.link;
    if (via === null)
      return find('subscriber_route', `no route leads to ${ip} by ${name}${more}`, {
        ip,
        interface: name,
      });
    const what = `nobody answers for ${via}${via === ip ? '' : `, by which ${ip} is reached`} (subscriber ${ip}:${port})${more}`;
    return find('subscriber_neighbour', what, { program, ip, port, access: launcher.access });
  });
}

/** Said if each has a way. Who is paused is asked for no way. */
export function waysText({ launcher }: NetworkSubject): string | null {
  if (launcher === null) return null;
  const { subscribers } = launcher;
  const paused = subscribers.filter(({ state }) => state === 'paused').length;
  const rest = `${counted(subscribers.length - paused, 'subscriber')}, a way to each`;
  return paused === 0 ? rest : `${rest}; ${paused} paused`;
}

export function checkGroups({ launcher }: NetworkSubject): Finding[] {
  const left = (launcher?.feeds ?? []).filter(({ joined }) => joined === false);
  return left.map(({ name, ip }) =>
    find('group_left', `the kernel has us not as a member of ${ip} (feed ${name})`),
  );
}
