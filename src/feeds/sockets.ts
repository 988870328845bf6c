/**
 * The UDP sockets of a feed: the kernel delivers to them what the XDP program has passed (options,
 * fragments, tags of priority), or in socket mode all of it. The receiver takes it from there
 * (native/path/rx_stage.cpp). They hold the feed's port, too, so that nothing which passes draws an
 * ICMP error, and the first of them is the member of its group.
 */
import { closeSync } from 'node:fs';
import type { Endpoint } from '../domain/endpoint.js';
import { Failure } from '../domain/errors.js';
import type { FeedAddress } from '../domain/feed.js';
import { type Finding, finder, type Kinds, sentenceOf } from '../domain/finding.js';
import { addon } from '../memory/addon.js';

export interface FeedSocketOptions {
  readonly netns: string | null;
  /** `-`: any. */
  readonly interfaceName: string;
  readonly feed: FeedAddress;
  /** The feed may be sent to another host: the kernel delivers none of that. */
  readonly promiscuous: boolean;
  /** Socket mode: one a queue, spread over by flow; else 1. */
  readonly count: number;
}

export function openFeedSockets({
  netns,
  interfaceName,
  feed,
  promiscuous,
  count,
}: FeedSocketOptions): number[] {
  const device = interfaceName === '-' ? '' : interfaceName;
  const fds: number[] = [];
  try {
    while (fds.length < count) {
      const joins = fds.length === 0; // or each would get a copy of a group's packet
      fds.push(addon.openListener(netns, { ...feed, device, joins, ofOthers: promiscuous }));
    }
    return fds;
  } catch (error) {
    for (const fd of fds) closeSync(fd);
    throw portInUse(error, feed);
  }
}

export const PORT_KINDS = {
  port_taken: {
    level: 'must',
    why: "the feed's port is held by fantail, so that the kernel hands it what XDP passes, and refuses nothing",
    cure: 'kill {pid}',
    instead: "see who has it: ss -lunp 'sport = :{port}'",
  },
} as const satisfies Kinds;

const find = finder(PORT_KINDS);

/** Somebody else has it: who, where that is known. */
export function portTaken({ ip, port }: Endpoint, holder: Holder | null = null): Finding {
  const who = holder === null ? 'another program' : `${holder.name} (pid ${holder.pid})`;
  const what = `UDP port ${port} of ${ip} is in use by ${who}`;
  return find('port_taken', what, { port, ...pidOf(holder) });
}

export interface Holder {
  readonly pid: number;
  readonly name: string;
}

/** For a line that ends it; none for init, which holds what is to be handed to a service. */
export const pidOf = (holder: Holder | null): { pid?: number } =>
  holder === null || holder.pid <= 1 ? {} : { pid: holder.pid };

/** What a UDP port could not be bound for, with the line that shows who has it. */
export function portInUse(error: unknown, feed: Endpoint): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return error;
  return new Failure(sentenceOf(portTaken(feed)));
}
