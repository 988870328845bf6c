/**
 * The plain rewrite as slowly and obviously as it can be said: byte by byte, in the order of the
 * RFCs' pictures, every checksum over every byte that it covers. It shares no code and no constant
 * with the filter, on purpose.
 */

export interface Subscriber {
  readonly targetMac: readonly number[];
  readonly sourceMac: readonly number[];
  readonly sourceIp: readonly number[];
  readonly sourcePort: number;
  readonly targetIp: readonly number[];
  readonly targetPort: number;
  readonly ttl: number;
}

/**
 * The 42 bytes that must come before `payload` on the wire. With `checksum` 'full' the UDP checksum
 * is right for the payload, with 'zero' it is absent.
 */
export function rewrittenHeader(
  subscriber: Subscriber,
  payload: Uint8Array,
  checksum: 'zero' | 'full',
): number[] {
  const udpLength = 8 + payload.length;
  const ports = [...bigEndian(subscriber.sourcePort), ...bigEndian(subscriber.targetPort)];
  const udp = [...ports, ...bigEndian(udpLength), 0, 0];
  if (checksum === 'full') {
    const pseudo = [...subscriber.sourceIp, ...subscriber.targetIp, 0, 17, ...bigEndian(udpLength)];
    const sum = internetChecksum([...pseudo, ...udp, ...payload]);
    udp.splice(6, 2, ...bigEndian(sum === 0 ? 0xffff : sum));
  }
  const ip = [
    0x45, // version 4, five words
    0, // type of service
    ...bigEndian(20 + udpLength),
    ...[0, 0], // identification
    ...[0x40, 0], // don't fragment, offset 0
    subscriber.ttl, // time to live
    17, // UDP
    ...[0, 0], // checksum, not yet
    ...subscriber.sourceIp,
    ...subscriber.targetIp,
  ];
  ip.splice(10, 2, ...bigEndian(internetChecksum(ip)));
  return [...subscriber.targetMac, ...subscriber.sourceMac, 0x08, 0x00, ...ip, ...udp];
}

/**
 * RFC 1071: the complement of the ones' complement sum of the 16-bit words; a last odd byte is
 * padded with zero.
 */
export function internetChecksum(bytes: readonly number[]): number {
  return 0xffff - foldedSum(bytes);
}

/** The sum under it, the carry added back at every step. */
export function foldedSum(bytes: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) {
    sum += (bytes[index] ?? 0) * 256 + (bytes[index + 1] ?? 0);
    if (sum > 0xffff) sum = sum - 0x10000 + 1;
  }
  return sum;
}

/** The same words added up without carrying back, as a program with a wide register does it. */
export function plainSum(bytes: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2)
    sum += (bytes[index] ?? 0) * 256 + (bytes[index + 1] ?? 0);
  return sum;
}

function bigEndian(value: number): [number, number] {
  return [Math.floor(value / 256), value % 256];
}
