/**
 * An etcd of several nodes, each in a namespace of its own: started, killed, asked. Its data is in
 * a temporary folder and goes with the test.
 *
 * Debian's package of it would start a server of the machine, so it is not installed: a machine
 * that has no etcd gets the package's files in the user's cache.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cached } from '../cache.js';
import { atEnd, eventually, Program, run } from '../program.js';
import { freePort } from '../replicator.js';

/** etcd's own: in a namespace of a node's they are free. */
const PORTS = { client: 2379, peer: 2380 };
/** Another leader is elected a second or two after one has died, also on a machine that is busy. */
const HEARTBEAT_MS = 100;
const ELECTION_MS = 1000;
/** etcd's own limit of a transaction, --max-txn-ops. */
const TXN_OPS_MAX = 128;
const PACKAGES = ['etcd-server', 'etcd-client'];
/** In folders of their own, so that a name in the path is not taken for a file in the cache. */
let programs: { readonly etcd: string; readonly etcdctl: string } | null = null;

function isThere(...command: string[]): boolean {
  try {
    run('env', command);
    return true;
  } catch {
    return false;
  }
}

/** Debian's packages, unpacked: the programs are whole without anything else of them. */
function unpack(folder: string): void {
  const script = `cd "$1" && shift && { apt-get -qq download "$@" ||
    { apt-get -qq update && apt-get -qq download "$@"; }; } &&
    for file in *.deb; do dpkg-deb -x "$file" . && rm "$file"; done`;
  run('sh', ['-c', script, 'sh', folder, ...PACKAGES], '', 600_000);
}

/** Why there can be no etcd here, for a skip; null: it is there from now on. */
export function lackForEtcd(): string | null {
  if (programs !== null) return null;
  if (isThere('etcd', '--version') && isThere('etcdctl', 'version')) {
    programs = { etcd: 'etcd', etcdctl: 'etcdctl' };
    return null;
  }
  try {
    const folder = join(cached('etcd', unpack), 'usr', 'bin');
    programs = { etcd: join(folder, 'etcd'), etcdctl: join(folder, 'etcdctl') };
    return null;
  } catch (thrown) {
    return `needs etcd, and apt has none for this machine: ${String(thrown).split('\n')[0]}`;
  }
}

export function etcdProgram(name: 'etcd' | 'etcdctl'): string {
  const lack = lackForEtcd();
  if (programs === null) throw new Error(lack ?? 'no etcd');
  return programs[name];
}

/** Where a node runs: a host of a bridge, or this machine's own loopback. */
export interface EtcdPlace {
  readonly name: string;
  readonly ip: string;
  readonly namespace?: string;
  readonly ports?: { readonly client: number; readonly peer: number };
}

const urlOf = ({ ip, ports = PORTS }: EtcdPlace, port: 'client' | 'peer') =>
  `http://${ip}:${ports[port]}`;

/** Numbers of 64 bits, rounded alike wherever they stand. */
interface Status {
  readonly Endpoint: string;
  readonly Status: { readonly header: { readonly member_id: number }; readonly leader?: number };
}

export class EtcdNode {
  readonly url: string;
  private program: Program | null = null;

  constructor(
    readonly place: EtcdPlace,
    private readonly words: readonly string[],
  ) {
    this.url = urlOf(place, 'client');
  }

  get isRunning(): boolean {
    return this.program !== null && this.program.end === null;
  }

  /** With the data that it had. */
  start(): void {
    const { name, namespace } = this.place;
    if (this.isRunning) throw new Error(`${name} runs`);
    const where = namespace === undefined ? {} : { namespace };
    this.program = new Program(etcdProgram('etcd'), this.words, where);
  }

  /** SIGKILL as a machine that dies; SIGSTOP as one that hangs. */
  async end(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const { program } = this;
    if (program === null) return;
    program.signal('SIGCONT');
    program.signal(signal);
    await program.wait();
    this.program = null;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.program?.signal(signal);
  }

  told(): string {
    return this.program?.told() ?? `${this.place.name} does not run`;
  }

  close(): void {
    this.program?.close();
  }
}

export class Etcd {
  readonly nodes: readonly EtcdNode[];
  readonly close: () => void;
  /** Of all nodes, as --initial-cluster takes them. */
  private readonly peers: string;
  private readonly folder = mkdtempSync(join(tmpdir(), 'fantail-etcd-'));

  /** A node at each place, none of which runs yet. */
  constructor(places: readonly EtcdPlace[]) {
    this.peers = places.map((place) => `${place.name}=${urlOf(place, 'peer')}`).join();
    this.nodes = places.map((place) => new EtcdNode(place, this.wordsOf(place, this.peers)));
    this.close = atEnd(() => {
      for (const node of this.nodes) node.close();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** So many nodes on the loopback of whoever asks, for what needs no network of its own. */
  static async local(count = 1): Promise<Etcd> {
    const places: EtcdPlace[] = [];
    for (let number = 1; number <= count; number++) {
      const ports = { client: await freePort(), peer: await freePort() };
      places.push({ name: `local${number}`, ip: '127.0.0.1', ports });
    }
    const etcd = new Etcd(places);
    await etcd.start();
    return etcd;
  }

  get running(): readonly EtcdNode[] {
    return this.nodes.filter((node) => node.isRunning);
  }

  /** As --fleet takes them. */
  get urls(): string {
    return this.nodes.map(({ url }) => url).join();
  }

  /** Starts those that do not run; resolves once all are of one mind about who leads. */
  async start(): Promise<void> {
    for (const node of this.nodes) if (!node.isRunning) node.start();
    await this.settled();
  }

  async end(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.end(signal)));
  }

  /** As `etcdctl snapshot save` writes it. */
  save(file: string): void {
    const [first] = this.running;
    if (first === undefined) throw new Error('no node of etcd runs');
    this.ctlOf([first], ['snapshot', 'save', file]);
  }

  /** All nodes begin again from that backup, as a cluster of that name. */
  async restore(file: string, token: string): Promise<void> {
    await this.end('SIGTERM');
    for (const { place } of this.nodes) {
      const folder = join(this.folder, place.name);
      rmSync(folder, { recursive: true, force: true });
      run('env', [
        ...['ETCDCTL_API=3', etcdProgram('etcdctl'), 'snapshot', 'restore', file],
        ...['--name', place.name, '--data-dir', folder],
        ...['--initial-cluster', this.peers, '--initial-cluster-token', token],
        ...['--initial-advertise-peer-urls', urlOf(place, 'peer')],
      ]);
    }
    await this.start();
  }

  /** The node that leads, in the view of all that run. */
  async leader(): Promise<EtcdNode> {
    const { running } = this;
    let found: EtcdNode | undefined;
    await eventually('etcd has a leader', () => {
      const rows = this.statuses(running);
      const leaders = new Set(rows.map(({ Status: status }) => status.leader ?? 0));
      const [leader] = leaders;
      const row = rows.find(({ Status: status }) => status.header.member_id === leader);
      if (rows.length < running.length || leaders.size !== 1 || row === undefined) return false;
      found = running.find(({ url }) => url === row.Endpoint);
      return found !== undefined;
    });
    if (found === undefined) throw new Error('etcd has no leader');
    return found;
  }

  /** Waits for that. */
  async settled(): Promise<void> {
    await this.leader();
  }

  /** Runs `etcdctl …` against the nodes that run, from the host of the first of them. */
  ctl(...args: string[]): string {
    return this.ctlOf(this.running, args);
  }

  /** Puts many keys, in transactions of so many as etcd takes. */
  putAll(entries: readonly (readonly [key: string, value: string])[]): void {
    for (let at = 0; at < entries.length; at += TXN_OPS_MAX) {
      // no conditions, what is done then, and nothing else; a value in quotes as C has them
      const puts = entries
        .slice(at, at + TXN_OPS_MAX)
        .map(([key, value]) => `put ${key} ${JSON.stringify(value)}`);
      this.ctlOf(this.running, ['txn'], `\n${puts.join('\n')}\n\n\n`);
    }
  }

  /** Whether any node answers somebody in that namespace within a second. */
  isHeardIn(namespace: string): boolean {
    const words = ['--command-timeout=1s', '--dial-timeout=1s', 'get', 'nothing'];
    const command = [etcdProgram('etcdctl'), '--endpoints', this.urls, ...words];
    try {
      run('ip', ['netns', 'exec', namespace, 'env', 'ETCDCTL_API=3', ...command]);
      return true;
    } catch {
      return false;
    }
  }

  private ctlOf(nodes: readonly EtcdNode[], args: readonly string[], input = ''): string {
    const [first] = nodes;
    if (first === undefined) throw new Error('no node of etcd runs');
    const endpoints = nodes.map(({ url }) => url).join();
    const command = [
      'env',
      'ETCDCTL_API=3',
      etcdProgram('etcdctl'),
      '--endpoints',
      endpoints,
      ...args,
    ];
    const { namespace } = first.place;
    const prefix = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
    const [file = '', ...rest] = [...prefix, ...command];
    return run(file, rest, input);
  }

  /** Each as it sees it; one that does not answer yet has no row. */
  private statuses(nodes: readonly EtcdNode[]): Status[] {
    return nodes.flatMap((node) => {
      try {
        const text = this.ctlOf([node], ['endpoint', 'status', '-w', 'json']);
        return JSON.parse(text) as Status[]; // etcdctl's format
      } catch {
        return [];
      }
    });
  }

  private wordsOf(place: EtcdPlace, peers: string): string[] {
    const [client, peer] = [urlOf(place, 'client'), urlOf(place, 'peer')];
    const words = {
      name: place.name,
      'data-dir': join(this.folder, place.name),
      'listen-client-urls': client,
      'advertise-client-urls': client,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': peers,
      'initial-cluster-token': 'fantail-test',
      'heartbeat-interval': HEARTBEAT_MS,
      'election-timeout': ELECTION_MS,
    };
    return Object.entries(words).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  }
}
