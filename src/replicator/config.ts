/**
 * What a replicator is asked to be: Config. cli/ has checked each word by itself; here is checked
 * what they mean together. A UsageError is exit status 2.
 */
import { createSecureContext } from 'node:tls';
import { CONTROL_ADDRESS, CONTROL_PORT } from '../control/constants.js';
import type { Tokens } from '../control/gate/access.js';
import { readToken } from '../control/gate/token.js';
import type { Tls } from '../control/server.js';
import { Failure, messageOf, UsageError } from '../domain/errors.js';
import type { NamedFeed } from '../domain/feed.js';
import { readWhole } from '../domain/process/whole-file.js';
import type { Mode, Transmit } from '../domain/statistics.js';
import { type FleetConfig, type FleetFlags, fleetOf, isLocal } from '../fleet/config.js';

/** The feed: an interface, and where its packets are sent to. */
export interface Listen {
  readonly interfaceName: string;
  readonly listenIp: string;
  readonly listenPort: number;
}

/** Flags of `fantail up`; absent ones are undefined. */
export interface UpFlags extends FleetFlags {
  readonly mode: Config['mode'];
  readonly layout: Config['layout'];
  readonly queues: Config['queues'];
  readonly workers?: number;
  readonly cpus?: readonly number[];
  readonly busyPoll?: boolean;
  readonly order: Config['order'];
  readonly udpChecksum: 'zero' | 'full';
  readonly transmit: 'auto' | Transmit;
  readonly control?: { readonly address: string; readonly port: number };
  readonly tokenFile?: string;
  readonly readTokenFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly allow?: readonly string[];
  readonly multicastTtl: number;
  readonly metricsSubscribers: number;
  readonly filter?: string;
  readonly state?: string;
  readonly legacyControl?: { readonly address: string; readonly port: number };
  readonly netns?: string;
  readonly feed?: readonly NamedFeed[];
  readonly promiscuous?: boolean;
}

export interface Config extends Listen {
  readonly mode: 'auto' | Mode;
  readonly layout: 'auto' | 'inline' | 'split';
  readonly queues: 'all' | readonly number[];
  readonly workers: number | null;
  readonly cpus: readonly number[] | null;
  readonly busyPoll: boolean;
  readonly order: 'rotate' | 'fixed';
  readonly checksumFull: boolean;
  readonly transmit: 'auto' | Transmit;
  /** Port 0 is not offered: the next free one is found from the default. */
  readonly control: { readonly address: string; readonly port: number; readonly explicit: boolean };
  readonly tokens: Tokens | null;
  /** Null: the control port is not encrypted. */
  readonly tls: Tls | null;
  /** Null: the interface's own subnets. */
  readonly allow: readonly string[] | null;
  /** Time to live of copies to groups. */
  readonly multicastTtl: number;
  /** Subscribers that have rows of their own in /metrics. */
  readonly metricsSubscribers: number;
  readonly filter: string | null;
  /** Where subscribers and filters outlive a restart; null: nowhere. */
  readonly state: string | null;
  /** Null: there is none. */
  readonly legacyControl: { readonly address: string; readonly port: number } | null;
  readonly netns: string | null;
  /** Beside the first. */
  readonly feeds: readonly NamedFeed[];
  /** Feeds may be sent to other hosts. */
  readonly promiscuous: boolean;
  /** Of which it is a member; null: of none. */
  readonly fleet: FleetConfig | null;
}

/** Anybody who reaches the port could aim the feed: beyond loopback a token is a must. */
export function lacksToken({ address }: Config['control'], tokens: Tokens | null): boolean {
  return tokens === null && !address.startsWith('127.');
}

function checkControl(control: Config['control'], tokens: Tokens | null): void {
  if (lacksToken(control, tokens))
    throw new UsageError(
      `--control ${control.address} is reached from outside; it needs --token-file`,
    );
}

function tokensOf({ tokenFile, readTokenFile }: UpFlags): Tokens | null {
  if (tokenFile === undefined) {
    if (readTokenFile === undefined) return null;
    throw new UsageError('--read-token-file needs --token-file too: without it nobody is asked');
  }
  const all = readToken(tokenFile);
  const read = readTokenFile === undefined ? null : readToken(readTokenFile);
  if (read === all)
    throw new UsageError(`${readTokenFile} and ${tokenFile} hold the same token; it may do all`);
  return { all, read };
}

/** What the group says is not said twice, and others must reach this one. */
function memberOf(flags: UpFlags, control: Config['control']): FleetConfig | null {
  const fleet = fleetOf(flags);
  if (fleet === null) return null;
  const { state, filter, legacyControl } = flags;
  const others = { '--state': state, '--filter': filter, '--legacy-control': legacyControl };
  for (const [flag, value] of Object.entries(others))
    if (value !== undefined)
      throw new UsageError(
        `${flag} is not for a member of a group: subscribers and filters are the group's; see: fantail fleet --help`,
      );
  const { address } = control;
  if (isLocal(fleet.etcd)) return fleet;
  if (address.startsWith('127.') || address === '0.0.0.0')
    throw new UsageError(
      `--fleet: the other members ask this one at its control port, and cannot at ${address}; ` +
        'give --control IP:PORT with an address that they reach, and --token-file',
    );
  return fleet;
}

/** Bytes; a chain of certificates is some 10 KB. */
const PEM_SIZE_MAX = 1024 * 1024;

/** Read and tried, so that a wrong file is told before anything is opened. */
function tlsOf({ tlsCert, tlsKey }: UpFlags): Tls | null {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined)
    throw new UsageError('--tls-cert and --tls-key are given together, or neither');
  const read = (flag: string, path: string) => {
    try {
      return readWhole(path, PEM_SIZE_MAX).bytes.toString();
    } catch (thrown) {
      throw new Failure(`cannot read ${flag}: ${messageOf(thrown)}`);
    }
  };
  const tls = { cert: read('--tls-cert', tlsCert), key: read('--tls-key', tlsKey) };
  try {
    createSecureContext(tls);
  } catch (thrown) {
    throw new Failure(
      `${tlsCert} and ${tlsKey} are no certificate and its key, in PEM: ${messageOf(thrown)}`,
    );
  }
  return tls;
}

export function configOf(listen: Listen, flags: UpFlags): Config {
  const control =
    flags.control === undefined
      ? { address: CONTROL_ADDRESS, port: CONTROL_PORT, explicit: false }
      : { ...flags.control, explicit: true };
  const tokens = tokensOf(flags);
  checkControl(control, tokens);
  const { interfaceName, listenIp, listenPort } = listen;
  return {
    interfaceName,
    listenIp,
    listenPort,
    mode: flags.mode,
    layout: flags.layout,
    queues: flags.queues,
    workers: flags.workers ?? null,
    cpus: flags.cpus ?? null,
    busyPoll: flags.busyPoll === true,
    order: flags.order,
    checksumFull: flags.udpChecksum === 'full',
    transmit: flags.transmit,
    control,
    tokens,
    tls: tlsOf(flags),
    allow: flags.allow ?? null,
    multicastTtl: flags.multicastTtl,
    metricsSubscribers: flags.metricsSubscribers,
    filter: flags.filter ?? null,
    state: flags.state ?? null,
    legacyControl: flags.legacyControl ?? null,
    netns: flags.netns ?? null,
    feeds: flags.feed ?? [],
    promiscuous: flags.promiscuous === true,
    fleet: memberOf(flags, control),
  };
}
