/** What `--fleet` and the flags beside it mean together, for a member and for who only asks. */
import { hostname } from 'node:os';
import { createSecureContext } from 'node:tls';
import { Failure, messageOf, UsageError } from '../domain/errors.js';
import { readWhole } from '../domain/process/whole-file.js';
import type { EtcdOptions } from './etcd/gateway.js';
import { isName, NAME_RULE } from './registry/keys.js';

/** Where a group's etcd is, and which group. */
export interface FleetAddress {
  readonly endpoints: readonly string[];
  readonly group: string;
}

/** How etcd is reached; of every command that takes `--fleet`. */
export interface RegistryFlags {
  readonly fleet?: FleetAddress;
  readonly fleetUserFile?: string;
  readonly fleetCa?: string;
  readonly fleetCert?: string;
  readonly fleetKey?: string;
  readonly fleetPlaintext?: boolean;
}

/** Those of a member beside them. */
export interface FleetFlags extends RegistryFlags {
  readonly member?: string;
  readonly weight?: number;
  readonly upstream?: string;
  readonly fleetIsolated?: 'stop' | 'serve';
  readonly fleetAllowModule?: readonly string[];
}

export interface FleetConfig {
  readonly etcd: EtcdOptions;
  readonly group: string;
  readonly member: string;
  readonly weight: number;
  /** The member that it takes its feed from; null: from the network. */
  readonly upstream: string | null;
  readonly whenIsolated: 'stop' | 'serve';
  readonly allowedModules: 'any' | ReadonlySet<string>;
}

/** Bytes; a chain of certificates is some 10 KB. */
const PEM_SIZE_MAX = 1024 * 1024;
const USER_FILE_SIZE_MAX = 4096;
/** Of a file's mode: everybody may read it. */
const OTHERS_READ = 0o004;
const PORT = 2379;

/**
 * `http://10.0.0.1:2379,http://10.0.0.2:2379/GROUP`; the scheme of those behind the first may be
 * left out. Throws UsageError.
 */
export function fleetAddress(word: string): FleetAddress {
  const [, list = '', group = ''] =
    /^(https?:\/\/[^/]+(?:,https?:\/\/[^/,]+)*)\/([^/]+)$/.exec(word) ?? [];
  const [scheme = ''] = /^https?:\/\//.exec(list) ?? [];
  const endpoints = list.split(',').map((each) => {
    return originOf(/^https?:\/\//.test(each) ? each : `${scheme}${each}`);
  });
  const isMixed = endpoints.some((each) => each !== null && !each.startsWith(scheme));
  if (scheme === '' || isMixed || endpoints.includes(null))
    throw new UsageError(
      `--fleet must be http://HOST:2379/GROUP or https://…, more hosts with commas between them, not '${word}'`,
    );
  if (!isName(group))
    throw new UsageError(`--fleet: the name of a group has ${NAME_RULE}: not '${group}'`);
  return { endpoints: endpoints.filter((each) => each !== null), group };
}

/** Null: it is no more than a scheme, host and port. */
function originOf(text: string): string | null {
  try {
    const { protocol, host, hostname, port, username, pathname, search } = new URL(text);
    if (username !== '' || pathname !== '/' || search !== '') return null;
    const hasPort = port !== '' || /:\d+$/.test(text);
    return `${protocol}//${hasPort ? host : `${hostname}:${PORT}`}`;
  } catch {
    return null;
  }
}

const isLoopback = (endpoint: string): boolean =>
  /^https?:\/\/(127\.|localhost(:|$)|\[::1\])/.test(endpoint);

/** Whether all of it is on this host, where nobody else can be a member. */
export const isLocal = ({ endpoints }: { readonly endpoints: readonly string[] }): boolean =>
  endpoints.every(isLoopback);

/** Throws UsageError, Failure. */
export function etcdOf(address: FleetAddress, flags: RegistryFlags): EtcdOptions {
  const { endpoints } = address;
  const isPlain = endpoints.some((each) => each.startsWith('http:') && !isLoopback(each));
  if (isPlain && flags.fleetPlaintext !== true)
    throw new UsageError(
      '--fleet over http:// beyond loopback is neither encrypted nor authentic; use https://, or say --fleet-plaintext',
    );
  const { fleetCa, fleetCert, fleetKey } = flags;
  const files = { ca: fleetCa, cert: fleetCert, key: fleetKey };
  if ((fleetCert === undefined) !== (fleetKey === undefined))
    throw new UsageError('--fleet-cert and --fleet-key are given together, or neither');
  const hasFiles = Object.values(files).some((each) => each !== undefined);
  if (hasFiles && endpoints.some((each) => each.startsWith('http:')))
    throw new UsageError('--fleet-ca, --fleet-cert and --fleet-key are for https:// alone');
  const tls = hasFiles ? pemOf(files) : null;
  return { endpoints, tls, user: userOf(flags.fleetUserFile) };
}

function pemOf(files: Readonly<Record<'ca' | 'cert' | 'key', string | undefined>>) {
  const read = Object.entries(files).flatMap(([name, path]) => {
    if (path === undefined) return [];
    try {
      return [[name, readWhole(path, PEM_SIZE_MAX).bytes.toString()] as const];
    } catch (thrown) {
      throw new Failure(`cannot read --fleet-${name}: ${messageOf(thrown)}`);
    }
  });
  const tls = Object.fromEntries(read) as { ca?: string; cert?: string; key?: string };
  try {
    createSecureContext(tls);
  } catch (thrown) {
    const names = read.map(([name]) => `--fleet-${name}`).join(', ');
    throw new Failure(`${names}: no PEM that belongs together: ${messageOf(thrown)}`);
  }
  return tls;
}

/** `name:password` in a file that not everybody may read. */
function userOf(path: string | undefined): EtcdOptions['user'] {
  if (path === undefined) return null;
  let text: string;
  let mode: number;
  try {
    const file = readWhole(path, USER_FILE_SIZE_MAX);
    [text, mode] = [file.bytes.toString().trim(), file.mode];
  } catch (thrown) {
    throw new Failure(`cannot read --fleet-user-file: ${messageOf(thrown)}`);
  }
  if ((mode & OTHERS_READ) !== 0)
    throw new Failure(`everybody may read ${path}; mend it with: chmod 600 ${path}`);
  const [, name = '', password = ''] = /^([^:\n]+):([^\n]+)$/.exec(text) ?? [];
  if (name === '')
    throw new Failure(`${path} of --fleet-user-file must hold one line, name:password`);
  return { name, password };
}

/** Null: it is none. Throws UsageError, Failure. */
export function fleetOf(flags: FleetFlags): FleetConfig | null {
  const { fleet, member, weight, upstream, fleetIsolated, fleetAllowModule, ...rest } = flags;
  if (fleet === undefined) {
    const given = Object.entries({
      ...{
        '--member': member,
        '--weight': weight,
        '--upstream': upstream,
        '--fleet-isolated': fleetIsolated,
      },
      ...{ '--fleet-allow-module': fleetAllowModule, '--fleet-user-file': rest.fleetUserFile },
      ...{ '--fleet-ca': rest.fleetCa, '--fleet-cert': rest.fleetCert },
      ...{ '--fleet-key': rest.fleetKey, '--fleet-plaintext': rest.fleetPlaintext || undefined },
    }).find(([, value]) => value !== undefined);
    if (given !== undefined) throw new UsageError(`${given[0]} needs --fleet too`);
    return null;
  }
  const name = member ?? hostname();
  if (!isName(name))
    throw new UsageError(`--member: the name of a member has ${NAME_RULE}: not '${name}'`);
  if (upstream !== undefined && !isName(upstream))
    throw new UsageError(`--upstream: the name of a member has ${NAME_RULE}: not '${upstream}'`);
  if (upstream === name)
    throw new UsageError(`--upstream ${name} is this member itself; name another, or none`);
  const hashes = fleetAllowModule ?? [];
  return {
    etcd: etcdOf(fleet, rest),
    group: fleet.group,
    member: name,
    weight: weight ?? 1,
    upstream: upstream ?? null,
    whenIsolated: fleetIsolated ?? 'serve',
    allowedModules: hashes.includes('any') ? 'any' : new Set(hashes),
  };
}
