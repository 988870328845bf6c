/**
 * Where the demo of a group runs: a bridge, and a namespace for each member.
 *
 *   fantail-demo-<pid>-hub               fantail-demo-<pid>-m1, -m2, -m3
 *   bridge0 10.77.8.1/24 (feed)  ────  fantail0 10.77.8.21, .22, .23 (a member each)
 *           10.77.8.101 … (subscribers)
 *
 * etcd, the members' supervisors and their control ports are in the namespace of whoever runs the
 * demo, on the loopback, so that commands can be tried from another shell.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import type { Endpoint } from '../../domain/endpoint.js';
import { messageOf } from '../../domain/errors.js';
import { removeLeftovers } from '../scene.js';

const PREFIX = `fantail-demo-${process.pid}`;
const SUBNET = '10.77.8';
const FIRST_MEMBER = 21;
const FIRST_SUBSCRIBER = 101;
const FIRST_PORT = 9001;
export const MEMBERS = 3;
export const SUBSCRIBERS = 9;
/** All members join it: the bridge gives each the same packets. */
export const FEED: Endpoint = { ip: '239.77.8.1', port: 5000 };

export interface Place {
  readonly name: string;
  readonly namespace: string;
  readonly interface: string;
  readonly ip: string;
}

export interface FleetScene {
  /** Where feed and subscribers are. */
  readonly hub: string;
  readonly feedIp: string;
  readonly members: readonly Place[];
  readonly subscribers: readonly Endpoint[];
  /** Synchronous; closing twice is fine. */
  close(): void;
}

/** Lines for `ip -batch`; an error carries its own words. */
function ip(lines: readonly string[], namespace?: string): void {
  const where = namespace === undefined ? [] : ['-n', namespace];
  try {
    execFileSync('ip', [...where, '-batch', '-'], {
      input: `${lines.join('\n')}\n`,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
  } catch (thrown) {
    // execFileSync puts it there when the program ran
    const said = (thrown as { stderr?: Buffer }).stderr?.toString().trim() ?? '';
    throw new Error(said === '' ? messageOf(thrown) : `ip: ${said}`);
  }
}

function build(hub: string, members: readonly Place[], subscribers: readonly Endpoint[]): void {
  ip([hub, ...members.map(({ namespace }) => namespace)].map((name) => `netns add ${name}`));
  const ips = [`${SUBNET}.1`, ...subscribers.map((each) => each.ip)];
  ip(
    [
      'link set lo up',
      'link add bridge0 type bridge mcast_snooping 0',
      ...ips.map((each) => `addr add ${each}/24 dev bridge0`),
      'link set bridge0 up',
      `route add ${FEED.ip} dev bridge0 src ${SUBNET}.1`,
      ...members.flatMap(({ name, namespace, interface: device }) => [
        `link add ${name} type veth peer name ${device} netns ${namespace}`,
        `link set ${name} master bridge0`,
        `link set ${name} up`,
      ]),
    ],
    hub,
  );
  for (const { namespace, interface: device, ip: own } of members)
    ip(['link set lo up', `addr add ${own}/24 dev ${device}`, `link set ${device} up`], namespace);
}

/** Throws with ip's own words; what was made until then is gone again. */
export function openFleetScene(): FleetScene {
  const hub = `${PREFIX}-hub`;
  const members = Array.from({ length: MEMBERS }, (_, index): Place => {
    const name = `m${index + 1}`;
    const own = `${SUBNET}.${FIRST_MEMBER + index}`;
    return { name, namespace: `${PREFIX}-${name}`, interface: 'fantail0', ip: own };
  });
  const subscribers = Array.from({ length: SUBSCRIBERS }, (_, index) => ({
    ip: `${SUBNET}.${FIRST_SUBSCRIBER + index}`,
    port: FIRST_PORT + index,
  }));
  const close = () => {
    for (const namespace of [...members.map((each) => each.namespace), hub])
      spawnSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' });
  };
  removeLeftovers();
  try {
    build(hub, members, subscribers);
  } catch (thrown) {
    close();
    throw thrown;
  }
  return { hub, feedIp: `${SUBNET}.1`, members, subscribers, close };
}
