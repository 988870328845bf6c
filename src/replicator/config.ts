/**
 * Flags of `fantail up` → a checked Config. A word that is none is a UsageError (exit 2) that
 * quotes it.
 */
import ipaddr from 'ipaddr.js';
import { addressOf, integerOf, portOf } from '../cli/arguments.js';
import { readToken } from '../control/token.js';
import { UsageError } from '../domain/errors.js';
import type { Mode } from '../domain/statistics.js';
import { LEGACY_PORT } from '../legacy/protocol.js';
import { limits, membersOf } from '../memory/layout.js';

/** Flags of `fantail up` as they were typed; absent ones are undefined. */
export interface UpFlags {
  mode?: string;
  layout?: string;
  queues?: string;
  workers?: string;
  cpus?: string;
  busyPoll?: boolean;
  order?: string;
  udpChecksum?: string;
  control?: string;
  tokenFile?: string;
  allow?: string[];
  filter?: string;
  legacyControl?: string;
  netns?: string;
}

export interface Config {
  readonly interfaceName: string;
  readonly listenIp: string;
  readonly listenPort: number;
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

const CONTROL_ADDRESS = '127.0.0.1';
const CONTROL_PORT = 12345;
/** Interface names are at most 15 bytes (IFNAMSIZ); `-` is none. */
const INTERFACE_NAME = /^(-|[^\s/:]{1,15})$/;
/** CPU_SETSIZE of the C library, less one. */
export const CPU_MAX = 1023;

function oneOf<T extends string>(flag: string, text: string | undefined, allowed: readonly T[]): T {
  const first = allowed[0];
  if (text === undefined && first !== undefined) return first;
  const found = allowed.find((word) => word === text);
  if (found !== undefined) return found;
  throw new UsageError(`${flag} must be one of ${allowed.join(', ')}, not '${text}'`);
}

/** `0`, `0-3`, `0,2`: ascending numbers without repetition. */
export function numberListOf(flag: string, text: string, max: number): number[] {
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part);
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (match === null || from > to || to > max)
      throw new UsageError(
        `${flag} must be numbers up to ${max} such as 0, 0-3 or 0,2, not '${text}'`,
      );
    for (let i = from; i <= to; i++) found.add(i);
  }
  return [...found];
}

function queuesOf(text: string | undefined): 'all' | readonly number[] {
  if (text === undefined || text === 'all') return 'all';
  return numberListOf('--queues', text, limits.QUEUES_MAX - 1).sort((a, b) => a - b);
}

function controlOf(text: string | undefined): Config['control'] {
  if (text === undefined) return { address: CONTROL_ADDRESS, port: CONTROL_PORT, explicit: false };
  const colon = text.lastIndexOf(':');
  if (colon < 0)
    throw new UsageError(`--control must be IP:PORT such as 127.0.0.1:12345, not '${text}'`);
  return {
    address: addressOf('the address of --control', text.slice(0, colon)),
    port: portOf('the port of --control', text.slice(colon + 1)),
    explicit: true,
  };
}

function legacyOf(text: string): { address: string; port: number } {
  const [address = '', port, ...more] = text.split(':');
  if (more.length > 0)
    throw new UsageError(
      `--legacy-control must be IP or IP:PORT such as 10.0.0.5:12345, not '${text}'`,
    );
  return {
    address: addressOf('the address of --legacy-control', address),
    port: port === undefined ? LEGACY_PORT : portOf('the port of --legacy-control', port),
  };
}

function subnetOf(text: string): string {
  try {
    const [address, prefix] = ipaddr.IPv4.parseCIDR(text.includes('/') ? text : `${text}/32`);
    return `${address.toString()}/${prefix}`;
  } catch {
    throw new UsageError(`--allow must be a subnet such as 10.0.0.0/24, not '${text}'`);
  }
}

/** Anybody who reaches the port could aim the feed: beyond loopback a token is a must. */
function checkControl({ address }: Config['control'], token: string | null): void {
  if (token === null && !address.startsWith('127.'))
    throw new UsageError(`--control ${address} is reached from outside; it needs --token-file`);
}

export function configOf(
  interfaceName: string,
  listenIp: string,
  listenPort: string,
  flags: UpFlags,
): Config {
  if (!INTERFACE_NAME.test(interfaceName))
    throw new UsageError(`'${interfaceName}' cannot name a network interface; see: ip link`);
  const workers =
    flags.workers === undefined
      ? null
      : integerOf('--workers', flags.workers, { min: 1, max: limits.WORKERS_MAX });
  const control = controlOf(flags.control);
  const token = flags.tokenFile === undefined ? null : readToken(flags.tokenFile);
  checkControl(control, token);
  return {
    interfaceName,
    listenIp: addressOf('listen_ip', listenIp),
    listenPort: portOf('listen_port', listenPort),
    mode: oneOf('--mode', flags.mode, ['auto', ...(membersOf('mode') as readonly Mode[])]),
    layout: oneOf('--layout', flags.layout, ['auto', 'inline', 'split']),
    queues: queuesOf(flags.queues),
    workers,
    cpus: flags.cpus === undefined ? null : numberListOf('--cpus', flags.cpus, CPU_MAX),
    busyPoll: flags.busyPoll === true,
    order: oneOf('--order', flags.order, ['rotate', 'fixed']),
    checksumFull: oneOf('--udp-checksum', flags.udpChecksum, ['zero', 'full']) === 'full',
    control,
    token,
    allow: flags.allow?.map(subnetOf) ?? null,
    filter: flags.filter ?? null,
    legacyControl: flags.legacyControl === undefined ? null : legacyOf(flags.legacyControl),
    netns: flags.netns ?? null,
  };
}
