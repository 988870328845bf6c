/**
 * Where the benchmark happens: a link of its own between two namespaces, which nothing else uses.
 *
 *   namespace …r: what is measured           namespace …n: source and sink, in the kernel
 *   rep0  10.88.0.1/16  <────── veth, MTU 3314 ──────>  net0  10.88.0.2/16
 *
 * Subscriber i is 10.88.(1 + i / 250).(1 + i % 250), an entry in rep0's neighbour table with net0's
 * MAC: see wire/wire.h, which says the same to the programs.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { allowedCores } from '../../../src/replicator/plan/process.js';
import { atEnd, ROOT, run } from './process.js';

export const FEED_PORT = 9000;
export const SUBSCRIBER_PORT = 9001;
/** Of subscribers that the sink does not look at. */
export const UNMEASURED_PORT = 9002;
export const SUBSCRIBERS_MAX = 1024;
export const REPLICATOR_IP = '10.88.0.1';
/** Where feed `index` is listened for: 0 is the one that is measured. */
export const feedPort = (index: number) => (index === 0 ? FEED_PORT : 9100 + index);
const HOSTS_A_NET = 250;
/** The most that goes in bulk, so that `--transmit auto` may choose. */
const MTU = 3314;
/** Where packets are longer: veth still takes an XDP program that knows nothing of fragments. */
const MTU_MAX = 3498;
/** Of IPv4 and UDP. */
const HEADERS_SIZE = 28;

export const subscriberIp = (index: number) =>
  `10.88.${1 + Math.floor(index / HOSTS_A_NET)}.${1 + (index % HOSTS_A_NET)}`;

/** A program that tools/bench/Makefile builds. */
export const built = (name: string) => join(ROOT, 'tools', 'bench', 'build', name);

/** Who runs where. The source has a core of its own as far as there are two. */
export interface Cores {
  readonly source: number;
  /** For what is measured, in order of use; at least one. */
  readonly others: readonly number[];
}

export function coresOf(allowed: readonly number[]): Cores {
  const [source = 0, ...others] = allowed;
  return { source, others: others.length > 0 ? others : [source] };
}

export const allowedCpus = (): number[] => allowedCores(readFileSync('/proc/self/status', 'utf8'));

export interface World {
  /** Namespaces. */
  readonly replicator: string;
  readonly net: string;
  readonly replicatorMac: string;
  readonly netMac: string;
  readonly queues: number;
  readonly cores: Cores;
  readonly close: () => void;
}

/** So that payloads of that size pass. */
export function setMtu({ replicator, net }: World, size: number): void {
  const mtu = String(size + HEADERS_SIZE > MTU ? MTU_MAX : MTU);
  run('ip', ['-n', net, 'link', 'set', 'net0', 'mtu', mtu]);
  run('ip', ['-n', replicator, 'link', 'set', 'rep0', 'mtu', mtu]);
}

let worlds = 0;

export function makeWorld(queues: number): World {
  const name = `ftbench${process.pid}x${worlds++}`;
  const replicator = `${name}r`;
  const net = `${name}n`;
  const close = atEnd(() => {
    for (const namespace of [replicator, net]) run('ip', ['netns', 'del', namespace]);
  });
  for (const namespace of [replicator, net]) {
    run('ip', ['netns', 'add', namespace]);
    // Neighbour discovery of its own would be noise.
    run('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1']);
  }
  const counts = `mtu ${MTU} numrxqueues ${queues} numtxqueues ${queues}`;
  run(
    'ip',
    ['-batch', '-'],
    `link add name rep0 netns ${replicator} ${counts} type veth peer name net0 netns ${net} ${counts}\n`,
  );
  const macOf = (namespace: string, device: string) =>
    run('ip', ['netns', 'exec', namespace, 'cat', `/sys/class/net/${device}/address`]).trim();
  const netMac = macOf(net, 'net0');
  const neighbours = Array.from(
    { length: SUBSCRIBERS_MAX },
    (_, i) => `neigh add ${subscriberIp(i)} lladdr ${netMac} dev rep0 nud permanent`,
  );
  const near = [
    `addr add ${REPLICATOR_IP}/16 dev rep0`,
    'link set lo up',
    'link set rep0 up',
    ...neighbours,
  ];
  const far = ['addr add 10.88.0.2/16 dev net0', 'link set lo up', 'link set net0 up'];
  run('ip', ['-n', replicator, '-batch', '-'], `${near.join('\n')}\n`);
  run('ip', ['-n', net, '-batch', '-'], `${far.join('\n')}\n`);
  const replicatorMac = macOf(replicator, 'rep0');
  return { replicator, net, replicatorMac, netMac, queues, cores: coresOf(allowedCpus()), close };
}
