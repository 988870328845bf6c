/**
 * The parameters that operations take: how each is written, what it must be, and what is said if it
 * is not. What a check in code demands is told to clients by `meta`, in words of JSON Schema.
 */
import * as z from 'zod';
import { isAddress, isMulticast, isPort } from '../domain/endpoint.js';
import { isFeedChoice, isFeedName } from '../domain/feed.js';
import { paramOf } from '../domain/filter.js';
import { LEASE_SECONDS_MAX } from '../domain/lease.js';
import { limits } from '../memory/layout.js';
import {
  CHANGES_MAX,
  TOKEN_LENGTH_MAX,
  WATCH_SECONDS_MAX,
  WATCH_SECONDS_MIN,
} from './constants.js';
import type { Parameter } from './operation.js';

const FEED_NAMES = '1 to 32 of a-z, 0-9, _ and -, not all';
const FEED_CHOICE = `feeds must be a list of names (${FEED_NAMES}), or of all alone`;
const FEED_NAME_PATTERN = '^(?!all$)[a-z0-9_-]{1,32}$';
const PARAM_RULE = `param must be text or hex:<digits>, at most ${limits.PARAM_SIZE} bytes`;
const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const asTyped = (word: string) => word;
const numberIf = (pattern: RegExp) => (word: string) => (pattern.test(word) ? Number(word) : word);

export const ip = {
  schema: z
    .string({ error: ({ input }) => `${show(input)} is not an IPv4 address such as 10.0.0.34` })
    .refine(isAddress)
    .meta({ pattern: `^${OCTET}(\\.${OCTET}){3}$`, examples: ['10.0.0.34'] }),
  code: 'BAD_ADDRESS',
  fromWord: asTyped,
} as const satisfies Parameter;

export const port = {
  schema: z
    .number({ error: ({ input }) => `${show(input)} is not a port from 1 to 65535` })
    .refine(isPort)
    .meta({ type: 'integer', minimum: 1, maximum: 65_535, examples: [9001] }),
  code: 'BAD_ADDRESS',
  fromWord: numberIf(/^[1-9][0-9]{0,15}$/),
} as const satisfies Parameter;

export const seconds = {
  schema: z
    .number({
      error: `seconds must be a number from ${WATCH_SECONDS_MIN} to ${WATCH_SECONDS_MAX}`,
    })
    .min(WATCH_SECONDS_MIN)
    .max(WATCH_SECONDS_MAX)
    .meta({ examples: [1] }),
  code: 'BAD_REQUEST',
  fromWord: numberIf(/^[0-9]{1,9}(\.[0-9]{1,9})?$/),
} as const satisfies Parameter;

/** How many changes. */
export const count = {
  schema: z
    .int({ error: `count must be a number from 1 to ${CHANGES_MAX}` })
    .min(1)
    .max(CHANGES_MAX)
    .meta({ examples: [10] }),
  code: 'BAD_REQUEST',
  fromWord: numberIf(/^[0-9]{1,9}$/),
} as const satisfies Parameter;

/** `true`, typed as the parameter's own name; left out where not wanted. */
export const wanted = {
  schema: z.literal(true, { error: 'it is true, or left out' }).meta({ examples: [true] }),
  code: 'BAD_REQUEST',
  fromWord: () => true,
} as const satisfies Parameter;

/** How long a subscriber stays. */
export const lease = {
  schema: z
    .union([z.literal('session'), z.number().min(1).max(LEASE_SECONDS_MAX)], {
      error: `lease must be session, or seconds from 1 to ${LEASE_SECONDS_MAX}`,
    })
    .meta({ examples: [30, 'session'] }),
  code: 'BAD_REQUEST',
  fromWord: numberIf(/^[0-9]{1,9}(\.[0-9]{1,9})?$/),
} as const satisfies Parameter;

export const token = {
  schema: z
    .string({ error: `token must be a string of 1 to ${TOKEN_LENGTH_MAX} characters` })
    .min(1)
    .max(TOKEN_LENGTH_MAX)
    .meta({ examples: ['TOKEN'] }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

/** Of a feed. */
export const feedName = {
  schema: z
    .string({ error: ({ input }) => `${show(input)} is not the name of a feed: ${FEED_NAMES}` })
    .refine(isFeedName)
    .meta({ pattern: FEED_NAME_PATTERN, examples: ['b'] }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

/** Feeds of a subscriber: names, or `all` alone. */
export const feedNames = {
  schema: z
    .array(z.string(), { error: FEED_CHOICE })
    .refine(isFeedChoice, { error: FEED_CHOICE })
    .meta({
      anyOf: [{ const: ['all'] }, { minItems: 1, items: { pattern: FEED_NAME_PATTERN } }],
      examples: [['main', 'b'], ['all']],
    }),
  code: 'BAD_REQUEST',
  fromWord: (word: string) => word.split(','),
} as const satisfies Parameter;

/** The one host that a feed is taken from. */
export const source = {
  schema: z
    .string({ error: ({ input }) => `${show(input)} is not the IPv4 address of a host` })
    .refine((text) => isAddress(text) && !isMulticast(text))
    .meta({
      pattern: `^(?!(22[4-9]|23[0-9])\\.)${OCTET}(\\.${OCTET}){3}$`,
      examples: ['10.0.0.9'],
    }),
  code: 'BAD_ADDRESS',
  fromWord: asTyped,
} as const satisfies Parameter;

/** Of a filter; the registry knows which names it takes. */
export const name = {
  schema: z
    .string({ error: ({ input }) => `${show(input)} is not the name of a filter` })
    .min(1)
    .max(32)
    .meta({ examples: ['mine'] }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

/** Bytes as they are in msgpack; else base64, where `base64:` may stand before it. */
export const module = {
  schema: bytes('module must be the bytes of a module: base64, or binary in msgpack', {
    fromText: base64Of,
    isRight: ({ length }) => length > 0,
  }).meta({
    anyOf: [
      {
        type: 'string',
        pattern: '^(base64:)?(?=.)([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$',
      },
    ],
    examples: ['base64:AGFzbQEAAAA='],
  }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
  tooLarge: (value: unknown) => {
    const isTooLarge = moduleSize(value) > limits.MODULE_SIZE_MAX;
    return isTooLarge ? `a module has at most ${limits.MODULE_SIZE_MAX} bytes` : null;
  },
} as const satisfies Parameter;

/** Of a filter's parameter: text, or `hex:` and digits, or bytes in msgpack. */
export const param = {
  schema: bytes(PARAM_RULE, {
    fromText: paramOf,
    isRight: ({ length }) => length <= limits.PARAM_SIZE,
  }).meta({
    description: `at most ${limits.PARAM_SIZE} bytes, of text in UTF-8`,
    anyOf: [
      { type: 'string', pattern: '^(?!hex:)', maxLength: limits.PARAM_SIZE },
      { type: 'string', pattern: `^hex:([0-9a-fA-F]{2}){0,${limits.PARAM_SIZE}}$` },
    ],
    examples: ['ttl=8', 'hex:4d4f'],
  }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

/** The same where it is kept as it was written: of subscribers of a group. */
export const paramWord = {
  schema: z
    .string({ error: PARAM_RULE })
    .refine((text) => (paramOf(text)?.length ?? Number.POSITIVE_INFINITY) <= limits.PARAM_SIZE)
    .meta({
      description: `at most ${limits.PARAM_SIZE} bytes, of text in UTF-8`,
      anyOf: [
        { pattern: '^(?!hex:)', maxLength: limits.PARAM_SIZE },
        { pattern: `^hex:([0-9a-fA-F]{2}){0,${limits.PARAM_SIZE}}$` },
      ],
      examples: ['ttl=8', 'hex:4d4f'],
    }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

/** Of a member of a group. */
export const memberName = {
  schema: z
    .string({ error: ({ input }) => `${show(input)} is not the name of a member` })
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/)
    .meta({ examples: ['rack1'] }),
  code: 'BAD_REQUEST',
  fromWord: asTyped,
} as const satisfies Parameter;

export function optional<Schema extends z.ZodType>(
  parameter: Parameter<Schema>,
): Parameter<z.ZodOptional<Schema>> {
  return { ...parameter, schema: parameter.schema.optional() };
}

/** Bytes, or text that stands for them; `fromText` gives null where it does not. */
function bytes(
  error: string,
  rules: {
    fromText: (text: string) => Uint8Array | null;
    isRight: (bytes: Uint8Array) => boolean;
  },
) {
  return z
    .union([z.instanceof(Uint8Array), z.string()], { error })
    .transform((value) => (typeof value === 'string' ? rules.fromText(value) : value))
    .pipe(z.instanceof(Uint8Array, { error }).refine(rules.isRight, { error }));
}

/** Strict: no characters that decoders skip in silence. */
function base64Of(text: string): Uint8Array | null {
  const digits = text.replace(/^base64:/, '');
  const isWhole = digits.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(digits);
  return isWhole ? new Uint8Array(Buffer.from(digits, 'base64')) : null;
}

/** Bytes of it, at least; told without decoding what may be too large. */
function moduleSize(value: unknown): number {
  if (value instanceof Uint8Array) return value.length;
  if (typeof value !== 'string') return 0;
  return Math.floor((value.replace(/^base64:/, '').length * 3) / 4) - 2;
}

/** What somebody sent, made fit for one line of an error message. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(clip(value));
  if (typeof value === 'number' || typeof value === 'boolean' || value === null)
    return String(value);
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`;
}

export function clip(text: string): string {
  const line = text.replace(/[^\x20-\x7e]/g, '?');
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}
