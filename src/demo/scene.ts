/**
 * Where the demo takes place: a virtual link between two network namespaces, or the loopback
 * without root.
 *
 *   namespace …-near                     namespace …-far
 *   fantail0 10.77.0.1  ──── veth ────  feed0 10.77.0.2 (feed)
 *                                             10.77.0.11, .12, .13 (subscribers), .14 (yours)
 *
 * The namespaces carry the demo's process id, so that a later demo recognises what a dead one left
 * and removes it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import type { Endpoint } from '../domain/endpoint.js';
import { messageOf } from '../domain/errors.js';

const PREFIX = 'fantail-demo';
/** One, so that it is one worker on every machine: three subscribers are no work for two. */
const QUEUES = '1';
const FEED_PORT = 5000;
const FIRST_SUBSCRIBER_PORT = 9001;
const PORTS_TRIED_MAX = 50;

export interface Scene {
  readonly kind: 'link' | 'loopback';
  /** Why it is not a link; null if it is. */
  readonly reason: string | null;
  readonly interfaceName: string;
  readonly nearNamespace: string | null;
  readonly farNamespace: string | null;
  readonly listen: Endpoint;
  readonly feedIp: string;
  /** Three that the demo subscribes, and a fourth for whoever tries the control channel. */
  readonly listeners: readonly Endpoint[];
  /** Synchronous, so that it can be the last thing that a process does; closing twice is fine. */
  close(): void;
}

/** Runs `ip` and returns what it prints; an error carries its own words. */
function ip(...args: string[]): string {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (thrown) {
    // execFileSync puts it there when the program ran
    const said = (thrown as { stderr?: unknown }).stderr;
    const words = typeof said === 'string' ? said.trim() : '';
    throw new Error(`ip ${args.join(' ')}: ${words === '' ? messageOf(thrown) : words}`);
  }
}

/** Whether that process lives and is a demo: process ids are used again. */
function isDemo(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('demo');
  } catch {
    return false;
  }
}

/** Ends what still runs in a namespace, then removes its name; what is not there is no fault. */
function removeNamespace(name: string): void {
  const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout ?? '';
  for (const pid of pids.split('\n').filter(Boolean).map(Number)) {
    try {
      process.kill(pid, 'SIGTERM');
    } catch {
      // It has just ended.
    }
  }
  spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
}

/** Removes the namespaces of demos that died without doing so; returns their names. */
export function removeLeftovers(): string[] {
  const listed = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout ?? '';
  const names = listed.split('\n').map((line) => line.split(' ')[0] ?? '');
  const dead = names.filter((name) => {
    const match = /^fantail-demo-(\d+)-(?:near|far)$/.exec(name);
    return match !== null && !isDemo(Number(match[1]));
  });
  for (const name of dead) removeNamespace(name);
  return dead;
}

const endpoints = (subnet: string): Endpoint[] =>
  [0, 1, 2, 3].map((index) => ({
    ip: `${subnet}.${11 + index}`,
    port: FIRST_SUBSCRIBER_PORT + index,
  }));

function openLink(): Scene {
  const near = `${PREFIX}-${process.pid}-near`;
  const far = `${PREFIX}-${process.pid}-far`;
  const subnet = '10.77.0';
  const listeners = endpoints(subnet);
  const feedIp = `${subnet}.2`;
  const close = () => {
    removeNamespace(near);
    removeNamespace(far);
  };
  try {
    ip('netns', 'add', near);
    ip('netns', 'add', far);
    const queues = ['numrxqueues', QUEUES, 'numtxqueues', QUEUES];
    const peer = ['type', 'veth', 'peer', 'name', 'feed0', ...queues, 'netns', far];
    ip('-n', near, 'link', 'add', 'fantail0', ...queues, ...peer);
    ip('-n', near, 'addr', 'add', `${subnet}.1/24`, 'dev', 'fantail0');
    for (const address of [feedIp, ...listeners.map((each) => each.ip)])
      ip('-n', far, 'addr', 'add', `${address}/24`, 'dev', 'feed0');
    for (const [namespace, name] of [
      [near, 'lo'],
      [near, 'fantail0'],
      [far, 'lo'],
      [far, 'feed0'],
    ] as const)
      ip('-n', namespace, 'link', 'set', name, 'up');
  } catch (thrown) {
    close();
    throw thrown;
  }
  const listen = { ip: `${subnet}.1`, port: FEED_PORT };
  const names = { interfaceName: 'fantail0', nearNamespace: near, farNamespace: far };
  return { kind: 'link', reason: null, ...names, listen, feedIp, listeners, close };
}

/** The first UDP port from `port` on that is free on `address`. */
async function freePort(address: string, port: number): Promise<number> {
  for (let candidate = port; candidate < port + PORTS_TRIED_MAX; candidate++) {
    const isFree = await new Promise<boolean>((resolve) => {
      const socket = createSocket('udp4');
      socket.once('error', () => socket.close(() => resolve(false)));
      socket.bind(candidate, address, () => socket.close(() => resolve(true)));
    });
    if (isFree) return candidate;
  }
  throw new Error(
    `no UDP port from ${port} to ${port + PORTS_TRIED_MAX - 1} is free on ${address}`,
  );
}

async function openLoopback(reason: string): Promise<Scene> {
  return {
    kind: 'loopback',
    reason,
    interfaceName: 'lo',
    nearNamespace: null,
    farNamespace: null,
    listen: { ip: '127.0.0.1', port: await freePort('127.0.0.1', FEED_PORT) },
    feedIp: '127.0.0.1',
    listeners: endpoints('127.0.0'),
    close: () => undefined,
  };
}

/** A virtual link if this process may make one, else the loopback with the reason. */
export async function openScene(): Promise<Scene> {
  if (process.geteuid?.() !== 0) return await openLoopback('not root');
  removeLeftovers();
  try {
    return openLink();
  } catch (thrown) {
    return await openLoopback(messageOf(thrown));
  }
}
