/**
 * The messages of the control channel as a JSON Schema (2020-12), made from the operations' table:
 * docs/protocol.schema.json, for clients in other languages.
 */
import * as z from 'zod';
import { codes } from '../domain/errors.js';
import { ID_LENGTH_MAX } from './constants.js';
import type { Operation, Operations } from './operation.js';

type Json = Readonly<Record<string, unknown>>;

/** What a request may bear so that its answer can be told: see codec.ts. */
const ID: Json = {
  description: 'comes back in the answer',
  anyOf: [
    { type: 'string', maxLength: ID_LENGTH_MAX },
    { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER },
  ],
};
const ERROR: Json = {
  type: 'object',
  properties: { code: { enum: [...codes] }, message: { type: 'string' } },
  required: ['code', 'message'],
};

/** A request is one of `oneOf`; `$defs` has each by its name, and `answer` and `event`. */
export function protocolSchema(operations: Operations): Json {
  const requests = Object.entries(operations).map(([op, row]) => [op, requestOf(op, row)] as const);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Requests of the control channel of fantail',
    description:
      'One JSON object a WebSocket text frame, or the same as msgpack in a binary frame, where bytes may be binary. Made from src/control/operations.ts.',
    oneOf: requests.map(([op]) => ({ $ref: `#/$defs/${op}` })),
    $defs: {
      ...Object.fromEntries(requests),
      answer: {
        description: 'In the order of the requests. What else it has is in docs/protocol.md.',
        type: 'object',
        oneOf: [
          { properties: { id: ID, ok: { const: true } }, required: ['ok'] },
          { properties: { id: ID, ok: { const: false }, error: ERROR }, required: ['ok', 'error'] },
        ],
      },
      event: {
        description: 'Between answers, of a session that watches.',
        type: 'object',
        properties: { event: { enum: ['stats', 'gap'] } },
        required: ['event'],
      },
    },
  };
}

function requestOf(op: string, { does, typed, takes, reads, allOrNone = [], schema }: Operation) {
  // `any`: bytes, which JSON has none of; parameters.ts says what stands for them
  const made = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const pairs = allOrNone.map((name) => [name, allOrNone.filter((other) => other !== name)]);
  return {
    description: does,
    'x-typed': typed,
    'x-reads': reads === true,
    type: 'object',
    properties: { id: ID, op: { const: op }, ...made.properties },
    required: ['op', ...Object.keys(takes).filter((name) => made.required?.includes(name))],
    ...(pairs.length === 0 ? {} : { dependentRequired: Object.fromEntries(pairs) }),
    additionalProperties: false,
  };
}
