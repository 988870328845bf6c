/**
 * What the values in etcd are: JSON, checked here, once. Whatever does not parse is passed over and
 * told (Mirror.faults): somebody else may write there.
 */
import * as z from 'zod';
import { isAddress, isPort } from '../../domain/endpoint.js';
import { isFeedChoice, isFeedName } from '../../domain/feed.js';
import { paramOf } from '../../domain/filter.js';
import { WEIGHT_MAX } from '../../domain/fleet.js';
import type { ShardRecord } from '../shards/plan.js';
import { isName } from './keys.js';

/** Bytes of a filter's parameter: PARAM_SIZE of the arena. */
export const PARAM_SIZE_MAX = 64;
/** Reasons that a member tells, of subscribers and of relays each; the rest are counted. */
export const REASONS_MAX = 64;
export const REASON_LENGTH_MAX = 400;

/** A filter's name in a key. */
export const isFilterName = (text: string): boolean => /^[a-z0-9][a-z0-9._-]{0,31}$/.test(text);

const name = z.string().refine(isName);
/** One that is shown on terminals. */
const line = (length: number) =>
  z
    .string()
    .max(length)
    .regex(/^\P{Cc}*$/u);
const ip = z.string().refine(isAddress);
const port = z.number().refine(isPort);
const count = z.int().min(0);
/** The last moment that a Date can be: whoever shows a later one would throw. */
const MOMENT_MS_MAX = 8_640_000_000_000_000;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** Text, or `hex:` and digits, as one writes it. */
const param = z.string().refine((text) => (paramOf(text)?.length ?? Infinity) <= PARAM_SIZE_MAX);

// Fields that a later version adds are passed over, so that members of two versions can be one
// group while it is upgraded.
export const schemas = {
  feeds: z.object({ ip, port, source: ip.nullable().default(null) }),
  subscribers: z.object({
    feeds: z.array(z.string()).refine(isFeedChoice).default(['main']),
    /** Null: the group's default. */
    filter: z.string().min(1).max(32).nullable().default(null),
    param: param.default(''),
    paused: z.boolean().default(false),
  }),
  filters: z.object({ sha256 }),
  default: z.object({ filter: z.string().min(1).max(32), param: param.default('') }),
  pins: z.object({ member: name }),
  members: z.object({
    weight: z.number().gt(0).max(WEIGHT_MAX),
    isDraining: z.boolean(),
    /** Where its peers reach its control port: http://IP:PORT, or https. */
    control: z
      .string()
      .max(200)
      .regex(/^https?:\/\/[^/]+$/),
    /** Where its main feed is sent to. */
    listen: z.object({ ip, port }),
    /** The member that it takes its feed from, and the chain of those; none: from the network. */
    upstream: name.nullable().default(null),
    path: z.array(name).max(64).default([]),
    version: line(64),
    /**
     * Since when its data path is there, by its own clock: an adoption is no start. None: an older
     * version, which does not tell.
     */
    startedAt_ms: count.max(MOMENT_MS_MAX).nullable().default(null),
  }),
  reports: z.object({
    state: line(32),
    subscribers: count,
    handover: count,
    unserved: count,
    /** Of those, the ones for whom its table has no room. */
    no_room: count.default(0),
    /** Of a member that relays or is relayed to: see FleetHop. */
    inside: z.object({ p50: count, p99: count }).nullable().default(null),
    link_us: z.number().min(0).nullable().default(null),
    reasons: z
      .array(z.object({ subscriber: line(32), reason: line(REASON_LENGTH_MAX) }))
      .max(REASONS_MAX),
    /** Members that take their feed from it and do not get it; `reasons` are of subscribers. */
    refused_relays: z
      .array(z.object({ member: name, reason: line(REASON_LENGTH_MAX) }))
      .max(REASONS_MAX)
      .default([]),
  }),
  shards: z.object({
    owner: name,
    to: name.optional(),
    from: name.optional(),
  }) satisfies z.ZodType<ShardRecord>,
} as const;

export type FeedRecord = z.output<typeof schemas.feeds>;
export type SubscriberRecord = z.output<typeof schemas.subscribers>;
export type FilterRecord = z.output<typeof schemas.filters>;
export type DefaultRecord = z.output<typeof schemas.default>;
export type MemberRecord = z.output<typeof schemas.members>;
export type ReportRecord = z.output<typeof schemas.reports>;

/** A feed's name and a subscriber's in a key. */
export const isFeedKey = isFeedName;
/** `10.0.0.34:9001`; null: no endpoint. */
export function endpointOf(text: string): { ip: string; port: number } | null {
  const [, ip = '', digits = ''] = /^([0-9.]+):([1-9][0-9]{0,4})$/.exec(text) ?? [];
  const port = Number(digits);
  return isAddress(ip) && isPort(port) ? { ip, port } : null;
}

/** The value, or a sentence of what is wrong with it. */
export function parsed<Schema extends z.ZodType>(
  schema: Schema,
  value: Buffer,
): { readonly value: z.output<Schema> } | { readonly wrong: string } {
  let json: unknown;
  try {
    json = JSON.parse(value.toString());
  } catch {
    return { wrong: 'no JSON' };
  }
  const result = schema.safeParse(json);
  if (result.success) return { value: result.data };
  const [issue] = result.error.issues;
  return { wrong: `${issue?.path.join('.') || 'value'}: ${issue?.message ?? 'wrong'}` };
}
