/**
 * What becomes of a setting that a reload finds different: it is applied while packets flow, or
 * refused with the reason. Pure.
 */
import type { ChangeRow } from '../../domain/configuration.js';
import { type Config, lacksToken } from '../config.js';
import type { Configuration, Setting } from './configured.js';

/** Settings that are applied together: what of the Config they are. */
export interface Part {
  readonly keys: readonly string[];
  readonly fields: readonly (keyof Config)[];
}

/** In the order in which they are applied. */
export const LIVE = {
  tokens: { keys: ['token-file', 'read-token-file'], fields: ['tokens'] },
  tls: { keys: ['tls-cert', 'tls-key'], fields: ['tls'] },
  metrics: { keys: ['metrics-subscribers'], fields: ['metricsSubscribers'] },
  allow: { keys: ['allow'], fields: ['allow'] },
  ttl: { keys: ['multicast-ttl'], fields: ['multicastTtl'] },
  feeds: { keys: ['feed'], fields: ['feeds'] },
  filter: { keys: ['filter'], fields: ['filter'] },
  legacy: { keys: ['legacy-control'], fields: ['legacyControl'] },
  // once all is told
  log: { keys: ['log-level'], fields: [] },
} as const satisfies Readonly<Record<string, Part>>;

export type LiveName = keyof typeof LIVE;

const PLANE = 'needs a restart of the data plane: stop fantail up, and start it again';
const ADOPTED =
  'needs another fantail up, which can adopt what runs: kill -9 this one, and start it again';

/** A member is of one group, under one name, for its life. */
const FLEET = [
  'fleet',
  'member',
  'weight',
  'upstream',
  'fleet-isolated',
  'fleet-user-file',
  'fleet-ca',
  'fleet-cert',
  'fleet-key',
  'fleet-plaintext',
  'fleet-allow-module',
];

/** Why a setting is not applied while packets flow. */
export const REFUSED: Readonly<Record<string, string>> = {
  interface: PLANE,
  'listen-ip': PLANE,
  'listen-port': PLANE,
  mode: PLANE,
  layout: PLANE,
  queues: PLANE,
  workers: PLANE,
  cpus: `${PLANE}; processes are pinned when they start`,
  'busy-poll': PLANE,
  order: PLANE,
  'udp-checksum': PLANE,
  transmit: PLANE,
  promiscuous: PLANE,
  netns: PLANE,
  ...Object.fromEntries(FLEET.map((key) => [key, PLANE])),
  control: `${ADOPTED}; sessions are open on the port that there is`,
  state: `${ADOPTED}; what is kept would be in two files`,
  'log-format': `${ADOPTED}; processes were started with the other one`,
};

/** With TLS the port speaks another protocol. */
const TLS_REFUSED = `${ADOPTED}; a port that is open begins or ends no encryption`;

/** Where the file takes back both: it was judged with its own address, which waits. */
const TOKEN_REFUSED = `the control port stays where it is reached from outside, and needs --token-file; ${ADOPTED}`;

/** Why that setting is refused; null: it is applied. What stays is judged with what comes. */
export function refusalOf(key: string, before: Config, after: Config): string | null {
  const isOf = ({ keys }: Part) => keys.includes(key);
  if (isOf(LIVE.tls) && (before.tls === null) !== (after.tls === null)) return TLS_REFUSED;
  if (isOf(LIVE.tokens) && lacksToken(before.control, after.tokens)) return TOKEN_REFUSED;
  return REFUSED[key] ?? null;
}

export const valueText = ({ words }: Setting): string | null =>
  words.length === 0 ? null : words.map(({ text }) => text).join(', ');

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** Settings that are other ones, and files under the same name that hold something else. */
export function changesOf(before: Configuration, after: Configuration): ChangeRow[] {
  const renewed = new Set([
    ...(isSame(before.config.tokens?.all, after.config.tokens?.all) ? [] : ['token-file']),
    ...(isSame(before.config.tokens?.read, after.config.tokens?.read) ? [] : ['read-token-file']),
    ...(isSame(before.config.tls?.cert, after.config.tls?.cert) ? [] : ['tls-cert']),
    ...(isSame(before.config.tls?.key, after.config.tls?.key) ? [] : ['tls-key']),
  ]);
  return after.settings.flatMap((setting) => {
    const { key, value } = setting;
    const old = before.settings.find((each) => each.key === key);
    if (old === undefined) return [];
    const [was, is] = [valueText(old), valueText(setting)];
    if (!isSame(old.value, value)) return [{ key, before: was, after: is }];
    return renewed.has(key) ? [{ key, before: was, after: `${is} (with other contents)` }] : [];
  });
}
