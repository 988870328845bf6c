/**
 * The wire tools' TypeScript face: a feed into a link, a sink for the copies that come back, a
 * probe for everything else. See test/wire/*.cpp for what each of them checks.
 */

import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { FEED_IP, type Link, REPLICATOR_IP } from './link.js';
import { eventually, type Program, ROOT } from './program.js';

export const LISTEN_PORT = 9000;
export const FEED_PORT = 7000;
const tool = (name: string) => join(ROOT, 'native', 'build', name);

/** What was asked of a feed and what it did. */
export interface Fed {
  sent: number;
  extra: number;
  refused: number;
  late_ns_max: number;
  seconds: number;
}

/** What the sink saw of one subscriber. */
export interface Seen {
  ip: string;
  port: number;
  received: number;
  duplicated: number;
  reordered: number;
  lost: number;
  corrupt: number;
  bad_checksum: number;
  bad_header: number;
  /** With a UDP checksum of 0. */
  unsummed: number;
  /** With an IP identification that is not 0. */
  identified: number;
  /** Packets of which its copy came before everybody else's. */
  first: number;
  /** Copies by their TOS byte. */
  tos: Record<string, number>;
  latency_ns: { p50: number; p99: number; max: number };
}

export interface Sunk {
  ring_drops: number;
  unexpected: number;
  icmp_errors: number;
  subscribers: Seen[];
}

export interface Destination {
  readonly ip: string;
  readonly port: number;
  /** Absent: net0's own. */
  readonly mac?: string;
}

export interface FeedOptions {
  readonly rate: number;
  readonly count: number;
  readonly sizes?: string;
  readonly flow?: number;
  readonly first?: number;
  readonly queue?: number;
  readonly seed?: number;
  readonly port?: number;
  readonly sourcePort?: number;
  readonly checksum?: 'zero' | 'full' | 'unfilled';
  readonly fault?: string;
  readonly faultEvery?: number;
  readonly extra?: string;
  readonly extraEvery?: number;
  /** Each such packet has IP options, and so goes the slow path. */
  readonly unusualEvery?: number;
  /** From an ordinary UDP socket, as a local program would. */
  readonly socket?: boolean;
}

export interface SinkOptions {
  readonly subscribers: readonly Destination[];
  /** Those that come and go: checked, but not owed everything. */
  readonly extras?: readonly Destination[];
  /** Packets that each subscriber must get of each flow; absent: until it is stopped. */
  readonly expect?: number;
  readonly flows?: number;
  readonly sizes?: string;
  readonly seed?: number;
  readonly lingerMs?: number;
  /** Time to live of copies to a group; absent: 1. */
  readonly groupTtl?: number;
}

/**
 * Where feed and sink stand and what lies between them; a link with a replicator unless a test says
 * otherwise.
 */
export interface Route {
  /** Starts a program where the feed, or the sink, is. */
  readonly start: (side: 'feed' | 'sink', command: string, args: readonly string[]) => Program;
  readonly feedInterface: string;
  readonly sinkInterface: string;
  readonly feedIp: string;
  /** MAC and address that the feed is sent to. */
  readonly targetMac: string;
  readonly targetIp: string;
  /** Where copies must come from; one of these MACs. */
  readonly sourceMacs: readonly string[];
  readonly sourceIp: string;
  readonly sourcePort: number;
  /** Of a second feed, which the later half of the flows is of. */
  readonly secondPort?: number;
}

/** Feed and sink both on net0, a replicator behind the other end. */
export function replicatedRoute(link: Link): Route {
  return {
    start: (_, command, args) => link.start('net', command, args),
    feedInterface: 'net0',
    sinkInterface: 'net0',
    feedIp: FEED_IP,
    targetMac: link.replicatorMac,
    targetIp: REPLICATOR_IP,
    sourceMacs: [link.replicatorMac],
    sourceIp: REPLICATOR_IP,
    sourcePort: LISTEN_PORT,
  };
}

type Value = string | number | boolean | undefined;

/** `{source_ip: 1}` → `--source-ip 1`; undefined and false give nothing, true gives a switch. */
function flags(values: Readonly<Record<string, Value>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    const flag = `--${name.replace(/_/g, '-')}`;
    return value === true ? [flag] : [flag, String(value)];
  });
}

/** Whether that process has a handler of SIGTERM (proc(5), SigCgt: a bit for each signal). */
function takesTerm(pid: number): boolean {
  const file = `/proc/${pid}/status`;
  const status = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const caught = BigInt(`0x${/^SigCgt:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return ((caught >> BigInt(constants.signals.SIGTERM - 1)) & 1n) === 1n;
}

/** A running tool whose one line of JSON is its result. */
export class Tool<Result> {
  constructor(readonly program: Program) {}

  /** Its result once it has ended by itself. */
  async result(waitMs?: number): Promise<Result> {
    const end = await this.program.wait(waitMs);
    if (end.status !== 0) throw new Error(this.program.told());
    const line = this.program.stdout.trimEnd().split('\n').at(-1) ?? '';
    // printed by our own tool, in the form of the type named beside it
    return JSON.parse(line) as Result;
  }

  /** Its result now. One that has not begun yet has first: before, the signal would kill it. */
  async stop(): Promise<Result> {
    const { program } = this;
    await eventually('it takes signals', () => program.end !== null || takesTerm(program.pid));
    program.signal('SIGTERM');
    return this.result();
  }

  /** Its result when it has ended, at the latest after `waitMs`. */
  async within(waitMs: number): Promise<Result> {
    const timer = setTimeout(() => this.program.signal('SIGTERM'), waitMs);
    try {
      return await this.result(waitMs + 5000);
    } finally {
      clearTimeout(timer);
    }
  }
}

export function startFeed(route: Route, options: FeedOptions): Tool<Fed> {
  const args = flags({
    interface: route.feedInterface,
    target_mac: options.socket ? undefined : route.targetMac,
    source_ip: route.feedIp,
    source_port: options.sourcePort ?? FEED_PORT + (options.flow ?? 0),
    target_ip: route.targetIp,
    target_port: options.port ?? LISTEN_PORT,
    rate: options.rate,
    count: options.count,
    sizes: options.sizes ?? '200',
    seed: options.seed,
    flow: options.flow,
    first: options.first,
    queue: options.queue,
    udp_checksum: options.checksum,
    fault: options.fault,
    fault_every: options.faultEvery,
    extra: options.extra,
    extra_every: options.extraEvery,
    unusual_every: options.unusualEvery,
    socket: options.socket,
  });
  return new Tool<Fed>(route.start('feed', tool('wire-feed'), args));
}

/** Resolves once the sink listens. */
export async function startSink(route: Route, options: SinkOptions): Promise<Tool<Sunk>> {
  const text = ({ ip, port, mac }: Destination) =>
    `${ip}:${port}${mac === undefined ? '' : `/${mac}`}`;
  const args = flags({
    interface: route.sinkInterface,
    source_ip: route.sourceIp,
    source_port: route.sourcePort,
    sizes: options.sizes ?? '200',
    seed: options.seed,
    expect: options.expect,
    flows: options.flows,
    linger_ms: options.lingerMs,
    group_ttl: options.groupTtl,
  });
  if (route.secondPort !== undefined) args.push('--source-port', String(route.secondPort));
  for (const mac of route.sourceMacs) args.push('--source-mac', mac);
  for (const destination of options.subscribers) args.push('--subscriber', text(destination));
  for (const destination of options.extras ?? []) args.push('--extra', text(destination));
  const program = route.start('sink', tool('wire-sink'), args);
  await program.line(/^ready$/m);
  return new Tool<Sunk>(program);
}

/** What was sent on the lines: packets, and how late the latest was. */
export interface LinesSent {
  sent: number;
  late_ns_max: number;
}

/** The lines of an exchange; what they have sent is in `log`. */
export function startLines(
  link: Link,
  options: {
    readonly ports: readonly number[];
    readonly count: number;
    readonly rate: number;
    /** One packet in so many, at random, is not sent. */
    readonly lose: number;
    readonly behindUs: number;
    readonly seed: number;
    readonly log: string;
  },
): Tool<LinesSent> {
  const { ports, count, rate, lose, behindUs, seed, log } = options;
  const args = flags({ source: FEED_IP, count, rate, lose, behind_us: behindUs, seed, log });
  for (const port of ports) args.push('--line', `${REPLICATOR_IP}:${port}`);
  return new Tool<LinesSent>(link.start('net', tool('wire-lines'), args));
}

/** Subscribers that write down what they get, in `log`; resolves once they listen. */
export async function startSubscribers(
  link: Link,
  subscribers: readonly Destination[],
  log: string,
): Promise<Tool<{ received: number; lost: number }>> {
  const args = ['--log', log];
  for (const { ip, port } of subscribers) args.push('--subscriber', `${ip}:${port}`);
  const program = link.start('net', tool('wire-lines'), args);
  await program.line(/^ready$/m);
  return new Tool(program);
}

/** Echoes on one side of a link, asked from the other by `probe`. */
export async function startEcho(
  link: Link,
  side: 'replicator' | 'net',
  endpoint: string,
): Promise<Program> {
  const program = link.start(side, tool('wire-probe'), ['--serve', endpoint]);
  await program.line(/^ready$/m);
  return program;
}

export interface Answered {
  ping: number;
  udp: number;
  tcp: number;
}

export function startProbe(
  link: Link,
  side: 'replicator' | 'net',
  options: { endpoint: string; count: number; intervalMs: number },
): Tool<Answered> {
  const args = flags({
    target: options.endpoint,
    count: options.count,
    interval_ms: options.intervalMs,
  });
  return new Tool<Answered>(link.start(side, tool('wire-probe'), args));
}

/**
 * Attaches an XDP program that is not ours to rep0; resolves to the running holder and the
 * program's id.
 */
export async function startForeignXdp(
  link: Link,
  how: 'link' | 'netlink',
): Promise<{ program: Program; id: number }> {
  const args = ['--hold-xdp', link.interface, ...(how === 'netlink' ? ['--netlink'] : [])];
  const program = link.start('replicator', tool('wire-probe'), args);
  const match = await program.line(/^ready (\d+)$/m);
  return { program, id: Number(match[1]) };
}

/**
 * Faults in what a sink saw, as sentences; none if every subscriber got everything exactly once, in
 * order and right.
 */
export function faultsOf(sunk: Sunk, expected: number): string[] {
  const faults: string[] = [];
  if (sunk.ring_drops > 0) faults.push(`the sink itself lost ${sunk.ring_drops} frames`);
  if (sunk.unexpected > 0) faults.push(`${sunk.unexpected} copies went to nobody's address`);
  if (sunk.icmp_errors > 0)
    faults.push(`${sunk.icmp_errors} ICMP errors came from the replicator's host`);
  for (const seen of sunk.subscribers) {
    const who = `${seen.ip}:${seen.port}`;
    if (seen.received !== expected) faults.push(`${who} received ${seen.received} of ${expected}`);
    for (const name of [
      'duplicated',
      'reordered',
      'lost',
      'corrupt',
      'bad_checksum',
      'bad_header',
    ] as const)
      if (seen[name] > 0) faults.push(`${who}: ${name} ${seen[name]}`);
  }
  return faults;
}
