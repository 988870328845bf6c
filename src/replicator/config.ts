/**
 * What a replicator is asked to be: Config. cli/ has checked each word by itself; here is checked
 * what they mean together. A UsageError is exit status 2.
 */
import { CONTROL_ADDRESS, CONTROL_PORT } from '../control/constants.js';
import { readToken } from '../control/token.js';
import { UsageError } from '../domain/errors.js';
import type { Mode } from '../domain/statistics.js';

/** The feed: an interface, and where its packets are sent to. */
export interface Listen {
  readonly interfaceName: string;
  readonly listenIp: string;
  readonly listenPort: number;
}

/** Flags of `fantail up`; absent ones are undefined. */
export interface UpFlags {
  readonly mode: Config['mode'];
  readonly layout: Config['layout'];
  readonly queues: Config['queues'];
  readonly workers?: number;
  readonly cpus?: readonly number[];
  readonly busyPoll?: boolean;
  readonly order: Config['order'];
  readonly udpChecksum: 'zero' | 'full';
  readonly control?: { readonly address: string; readonly port: number };
  readonly tokenFile?: string;
  readonly allow?: readonly string[];
  readonly filter?: string;
  readonly legacyControl?: { readonly address: string; readonly port: number };
  readonly netns?: string;
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
  /** Port 0 is not offered: the next free one is found from the default. */
  readonly control: { readonly address: string; readonly port: number; readonly explicit: boolean };
  readonly token: string | null;
  /** Null: the interface's own subnets. */
  readonly allow: readonly string[] | null;
  readonly filter: string | null;
  /** Null: there is none. */
  readonly legacyControl: { readonly address: string; readonly port: number } | null;
  readonly netns: string | null;
}

/** Anybody who reaches the port could aim the feed: beyond loopback a token is a must. */
function checkControl({ address }: Config['control'], token: string | null): void {
  if (token === null && !address.startsWith('127.'))
    throw new UsageError(`--control ${address} is reached from outside; it needs --token-file`);
}

export function configOf(listen: Listen, flags: UpFlags): Config {
  const control =
    flags.control === undefined
      ? { address: CONTROL_ADDRESS, port: CONTROL_PORT, explicit: false }
      : { ...flags.control, explicit: true };
  const token = flags.tokenFile === undefined ? null : readToken(flags.tokenFile);
  checkControl(control, token);
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
    control,
    token,
    allow: flags.allow ?? null,
    filter: flags.filter ?? null,
    legacyControl: flags.legacyControl ?? null,
    netns: flags.netns ?? null,
  };
}
