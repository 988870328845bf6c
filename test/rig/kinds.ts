/**
 * Frames of every kind that may reach a UDP socket, or may not: what a network, a neighbour or an
 * attacker can put on the wire. Each kind is one datagram, given its payload, as lines for
 * wire-frames. Fields are laid out by hand (RFC 791, RFC 768, IEEE 802.3): nothing of fantail's
 * builds them.
 */

import type { Endpoint } from '../../src/domain/endpoint.js';

/** Where all of them are meant to go, unless a kind says otherwise. */
export interface Target {
  readonly mac: string;
  readonly ip: string;
  readonly port: number;
}

export interface Kind {
  readonly name: string;
  /** Lines of hexadecimal, one a frame. */
  readonly lines: (target: Target, payload: Buffer) => string[];
}

const IPV4 = 0x0800;
const VLAN = 0x8100;
const PROVIDER_VLAN = 0x88a8;
const UDP = 17;
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const SOURCE_MAC = '02:99:00:00:00:01';
const SOURCE = { ip: '10.77.0.2', port: 7000 };

/** One frame; everything that is not said is as a sender of good will writes it. */
interface Shape {
  readonly mac?: string;
  readonly tags?: readonly (readonly [type: number, tag: number])[];
  readonly etherType?: number;
  readonly version?: number;
  /** In 32-bit words; absent: what the options take. */
  readonly headerWords?: number;
  readonly tos?: number;
  readonly ipLength?: number;
  readonly id?: number;
  readonly fragment?: number;
  readonly ttl?: number;
  readonly protocol?: number;
  readonly ipChecksum?: number;
  readonly source?: string;
  readonly ip?: string;
  readonly options?: Buffer;
  readonly sourcePort?: number;
  readonly port?: number;
  readonly udpLength?: number;
  readonly checksum?: 'none' | 'right' | 'wrong';
  /** Behind the IP packet. */
  readonly trailer?: number;
  /** Instead of the UDP datagram. */
  readonly body?: Buffer;
}

const u16 = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);
const ipBytes = (ip: string): Buffer => Buffer.from(ip.split('.').map(Number));
const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

/** RFC 1071, the slow way. */
function checksumOf(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

export function datagramOf(target: Target, payload: Buffer, shape: Shape = {}): Buffer {
  const length = shape.udpLength ?? 8 + payload.length;
  const ports = [u16(shape.sourcePort ?? SOURCE.port), u16(shape.port ?? target.port)];
  const header = Buffer.concat([...ports, u16(length), u16(0)]);
  const { checksum = 'none' } = shape;
  if (checksum !== 'none') {
    const pseudo = [ipBytes(shape.source ?? SOURCE.ip), ipBytes(shape.ip ?? target.ip)];
    const summed = Buffer.concat([...pseudo, u16(UDP), u16(length), header, payload]);
    const right = checksumOf(summed) || 0xffff; // 0 would mean none
    header.writeUInt16BE(checksum === 'right' ? right : right ^ 0x0100, 6);
  }
  return Buffer.concat([header, payload]);
}

function frameOf(target: Target, payload: Buffer, shape: Shape = {}): Buffer {
  const { options = Buffer.alloc(0), fragment = DONT_FRAGMENT } = shape;
  const body = shape.body ?? datagramOf(target, payload, shape);
  const words = shape.headerWords ?? 5 + options.length / 4;
  const header = Buffer.concat([
    Buffer.from([((shape.version ?? 4) << 4) | words, shape.tos ?? 0]),
    u16(shape.ipLength ?? 20 + options.length + body.length),
    u16(shape.id ?? 0),
    u16(fragment),
    Buffer.from([shape.ttl ?? 64, shape.protocol ?? UDP]),
    u16(0),
    ipBytes(shape.source ?? SOURCE.ip),
    ipBytes(shape.ip ?? target.ip),
    options,
  ]);
  header.writeUInt16BE(shape.ipChecksum ?? checksumOf(header.subarray(0, words * 4)), 10);
  const tags = (shape.tags ?? []).flatMap(([type, tag]) => [u16(type), u16(tag)]);
  const ethernet = [macBytes(shape.mac ?? target.mac), macBytes(SOURCE_MAC), ...tags];
  const type = u16(shape.etherType ?? IPV4);
  return Buffer.concat([...ethernet, type, header, body, Buffer.alloc(shape.trailer ?? 0, 0xee)]);
}

/** An IP packet alone, as a raw socket sends it. */
export const packetOf = (target: Endpoint, payload: Buffer, shape: Shape = {}): Buffer =>
  frameOf({ ...target, mac: SOURCE_MAC }, payload, shape).subarray(14);

const kind = (name: string, shape: Shape): Kind => ({
  name,
  lines: (target, payload) => [frameOf(target, payload, shape).toString('hex')],
});

/** Of a payload whose size a kind must know. */
const sized = (name: string, shapeOf: (payload: Buffer, target: Target) => Shape): Kind => ({
  name,
  lines: (target, payload) => [frameOf(target, payload, shapeOf(payload, target)).toString('hex')],
});

const option = (...bytes: number[]): Buffer => Buffer.from(bytes);
/** Loose source route by way of the target itself (RFC 791, 3.1). */
const SOURCE_ROUTE = option(0x83, 7, 4, 10, 77, 0, 1, 0);
const RECORD_ROUTE = option(7, 7, 4, 0, 0, 0, 0, 0);
const TIMESTAMP = option(0x44, 8, 5, 0, 0, 0, 0, 0);
const ROUTER_ALERT = option(0x94, 4, 0, 0);

const addresses: readonly Kind[] = [
  kind('plain', {}),
  kind('another MAC', { mac: '02:99:00:00:00:77' }),
  kind('the MAC of all', { mac: 'ff:ff:ff:ff:ff:ff' }),
  kind('the MAC of a group', { mac: '01:00:5e:01:02:03' }),
  kind('from 0.0.0.0', { source: '0.0.0.0' }),
  kind('from 0.1.2.3', { source: '0.1.2.3' }),
  kind('from 127.0.0.1', { source: '127.0.0.1' }),
  kind('from a group', { source: '224.1.2.3' }),
  kind('from 240.1.2.3', { source: '240.1.2.3' }),
  kind('from all', { source: '255.255.255.255' }),
  sized('from the target itself', (_, { ip }) => ({ source: ip })),
  kind('from the broadcast address of the subnet', { source: '10.77.0.255' }),
  kind('from the address of the subnet', { source: '10.77.0.0' }),
  kind('from another network', { source: '198.51.100.7' }),
  kind('to another address', { ip: '10.77.0.77' }),
  kind('to the broadcast address', { ip: '10.77.0.255', mac: 'ff:ff:ff:ff:ff:ff' }),
  kind('to another port', { port: 9999 }),
  kind('from port 0', { sourcePort: 0 }),
  kind('to port 0', { port: 0 }),
];

const headers: readonly Kind[] = [
  kind('TTL 1', { ttl: 1 }),
  kind('TTL 0', { ttl: 0 }),
  kind('TOS and ECN', { tos: 0xbb }),
  kind('may be fragmented', { fragment: 0, id: 4711 }),
  kind('the reserved flag', { fragment: 0x8000 }),
  kind('padded', { trailer: 6 }),
  kind('a long trailer', { trailer: 300 }),
  kind('version 5', { version: 5 }),
  kind('version 6', { version: 6 }),
  kind('a header of four words', { headerWords: 4 }),
  kind('a header longer than the packet', { headerWords: 15 }),
  kind('a wrong IP checksum', { ipChecksum: 0x1234 }),
  kind('an IP checksum of 0', { ipChecksum: 0 }),
  sized('IP longer than the frame', ({ length }) => ({ ipLength: 28 + length + 1 })),
  sized('IP shorter than UDP', ({ length }) => ({ ipLength: 28 + length - 1 })),
  kind('IP without room for UDP', { ipLength: 27 }),
  kind('IP of no length', { ipLength: 0 }),
  kind('TCP', { protocol: 6 }),
  kind('UDP-Lite', { protocol: 136 }),
  kind('an EtherType of nobody', { etherType: 0x88b5 }),
  kind('IPv6 by EtherType', { etherType: 0x86dd }),
];

const options: readonly Kind[] = [
  kind('no-operation options', { options: option(1, 1, 1, 1) }),
  kind('the end of options', { options: option(0, 0, 0, 0) }),
  kind('a record of the route', { options: RECORD_ROUTE }),
  kind('timestamps', { options: TIMESTAMP }),
  kind('a router alert', { options: ROUTER_ALERT }),
  kind('a source route', { options: SOURCE_ROUTE }),
  kind('as many options as there can be', { options: Buffer.alloc(40, 1) }),
  kind('an option that is too long', { options: option(7, 40, 4, 0) }),
  kind('options and a wrong checksum', { options: option(1, 1, 1, 1), ipChecksum: 7 }),
];

const lengths: readonly Kind[] = [
  kind('a right UDP checksum', { checksum: 'right' }),
  kind('a wrong UDP checksum', { checksum: 'wrong' }),
  kind('options and a right UDP checksum', { options: ROUTER_ALERT, checksum: 'right' }),
  kind('options and a wrong UDP checksum', { options: ROUTER_ALERT, checksum: 'wrong' }),
  sized('UDP shorter than IP', ({ length }) => ({ udpLength: 8 + length - 5 })),
  sized('UDP longer than IP', ({ length }) => ({ udpLength: 8 + length + 1 })),
  kind('UDP of 7 bytes', { udpLength: 7 }),
  kind('UDP of no length', { udpLength: 0 }),
];

/** Of one datagram, in pieces of `sizes` bytes (of its IP payload), in that order of `sequence`. */
function fragments(
  name: string,
  { sizes, sequence }: { readonly sizes: readonly number[]; readonly sequence: readonly number[] },
): Kind {
  return {
    name,
    lines: (target, payload) => {
      const whole = datagramOf(target, payload, { checksum: 'right' });
      const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
      const id = checksumOf(payload); // another one for each payload
      return sequence.map((piece) => {
        const start = starts[piece] ?? 0;
        const isLast = piece === sizes.length - 1;
        const body = whole.subarray(start, isLast ? whole.length : start + (sizes[piece] ?? 0));
        const fragment = (start / 8) | (isLast ? 0 : MORE_FRAGMENTS);
        return frameOf(target, payload, { body, id, fragment }).toString('hex');
      });
    },
  };
}

/** Two pieces of which the second begins before the first has ended (RFC 5722 for IPv4 as well). */
const overlapping: Kind = {
  name: 'fragments that overlap',
  lines: (target, payload) => {
    const whole = datagramOf(target, payload, { checksum: 'right' });
    const id = checksumOf(payload);
    const pieces = [
      { body: whole.subarray(0, 24), fragment: MORE_FRAGMENTS },
      { body: whole.subarray(16), fragment: 2 },
    ];
    return pieces.map((piece) => frameOf(target, payload, { ...piece, id }).toString('hex'));
  },
};

const inPieces: readonly Kind[] = [
  fragments('two fragments', { sizes: [24, 0], sequence: [0, 1] }),
  fragments('two fragments, the last first', { sizes: [24, 0], sequence: [1, 0] }),
  fragments('three fragments, out of order', { sizes: [8, 16, 0], sequence: [2, 0, 1] }),
  fragments('a fragment twice', { sizes: [16, 8, 0], sequence: [0, 1, 1, 2] }),
  fragments('the first fragment alone', { sizes: [24, 0], sequence: [0] }),
  fragments('the last fragment alone', { sizes: [24, 0], sequence: [1] }),
  overlapping,
];

const tagged = (name: string, tags: NonNullable<Shape['tags']>): Kind => kind(name, { tags });
const tags: readonly Kind[] = [
  tagged('a VLAN of others', [[VLAN, 5]]),
  tagged('two tags of priority', [
    [VLAN, 0],
    [VLAN, 0],
  ]),
  tagged("a provider's tag of priority", [[PROVIDER_VLAN, 0]]),
];

export const KINDS: readonly Kind[] = [
  ...addresses,
  ...headers,
  ...options,
  ...lengths,
  ...inPieces,
  ...tags,
];

/** The same with a tag of priority: VLAN 0, which is no VLAN (IEEE 802.1Q, 9.6). */
export const withPriority = ({ name, lines }: Kind): Kind => ({
  name: `${name}, with a tag of priority`,
  lines: (target, payload) => {
    const tag = Buffer.concat([u16(VLAN), u16(0xa000)]).toString('hex');
    return lines(target, payload).map((line) => line.slice(0, 24) + tag + line.slice(24));
  },
});

/** A datagram of that much payload in fragments that an Ethernet takes. */
export function longDatagram(size: number): Kind {
  const piece = 1480;
  const sizes = Array.from({ length: Math.ceil((8 + size) / piece) }, () => piece);
  const { lines } = fragments('', { sizes, sequence: sizes.map((_, i) => i) });
  return {
    name: `a datagram of ${size} bytes in fragments`,
    lines: (target, payload) => lines(target, Buffer.alloc(size, payload)),
  };
}

/** A batch as a sender with UDP_SEGMENT hands it to its device, the last datagram a short one. */
export const batchOf = (size: number): Kind => ({
  name: `a batch of datagrams of ${size} bytes`,
  lines: (target, payload) => {
    const whole = Buffer.concat(Array.from({ length: 5 }, () => payload)).subarray(0, 4 * size + 3);
    const frame = frameOf(target, whole, {});
    const sum = Buffer.concat([
      ...[ipBytes(SOURCE.ip), ipBytes(target.ip)],
      ...[u16(UDP), u16(8 + whole.length)],
    ]);
    frame.writeUInt16BE(~checksumOf(sum) & 0xffff, 14 + 20 + 6); // the device is to complete it
    return [`gso=${size} ${frame.toString('hex')}`];
  },
});
