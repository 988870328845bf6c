/**
 * The wire format of legacy control: what existing control clients of UDP replicators speak, byte
 * for byte. One datagram a request and one a reply; ports in network order; no version, no request
 * id, no authentication.
 *
 *   request                       reply
 *   01 ip[4] port[2]   add        01 done, 00 refused
 *   02 ip[4] port[2]   remove     01, also where it was not there
 *   03                 list       count[1], then ip[4] port[2] each
 *
 * Short or unknown: no reply. What follows a whole request is ignored. Pure; used by
 * both ends.
 */
import type { Endpoint } from '../domain/endpoint.js';
import { never } from '../domain/errors.js';

/** UDP port that legacy clients ask. */
export const LEGACY_PORT = 12345;
/** Subscribers that one byte can count. */
export const LIST_COUNT_MAX = 255;

const operations = { add: 1, remove: 2, list: 3 } as const;
const ENTRY_SIZE = 6;
const ENDPOINT_OFFSET = 1;
const IP_SIZE = 4;
export const DONE = Uint8Array.of(1);
export const REFUSED = Uint8Array.of(0);

export type LegacyRequest =
  | ({ readonly op: 'add' | 'remove' } & Endpoint)
  | { readonly op: 'list' };

/** Null: short or unknown, which draws no reply. A port of 0 is left to the server to refuse. */
export function decodeRequest(bytes: Buffer): LegacyRequest | null {
  if (bytes[0] === operations.list) return { op: 'list' };
  const op = bytes[0] === operations.add ? 'add' : bytes[0] === operations.remove ? 'remove' : null;
  if (op === null || bytes.length < ENDPOINT_OFFSET + ENTRY_SIZE) return null;
  return { op, ...readEndpoint(bytes, ENDPOINT_OFFSET) };
}

export function encodeRequest(request: LegacyRequest): Buffer {
  switch (request.op) {
    case 'list':
      return Buffer.of(operations.list);
    case 'add':
    case 'remove': {
      const bytes = Buffer.alloc(ENDPOINT_OFFSET + ENTRY_SIZE);
      bytes[0] = operations[request.op];
      writeEndpoint(bytes, ENDPOINT_OFFSET, request);
      return bytes;
    }
    default:
      return never(request);
  }
}

/** The first 255 of them: the count is one byte. */
export function encodeList(endpoints: readonly Endpoint[]): Buffer {
  const told = endpoints.slice(0, LIST_COUNT_MAX);
  const bytes = Buffer.alloc(1 + told.length * ENTRY_SIZE);
  bytes[0] = told.length;
  for (const [index, each] of told.entries()) writeEndpoint(bytes, 1 + index * ENTRY_SIZE, each);
  return bytes;
}

/** Null: it is no list, or a part of one. */
export function decodeList(bytes: Buffer): Endpoint[] | null {
  const [count] = bytes;
  if (count === undefined || bytes.length < 1 + count * ENTRY_SIZE) return null;
  return Array.from({ length: count }, (_, index) => readEndpoint(bytes, 1 + index * ENTRY_SIZE));
}

function readEndpoint(bytes: Buffer, offset: number): Endpoint {
  const ip = [...bytes.subarray(offset, offset + IP_SIZE)].join('.');
  return { ip, port: bytes.readUInt16BE(offset + IP_SIZE) };
}

function writeEndpoint(bytes: Buffer, offset: number, { ip, port }: Endpoint): void {
  bytes.set(ip.split('.').map(Number), offset);
  bytes.writeUInt16BE(port, offset + IP_SIZE);
}
