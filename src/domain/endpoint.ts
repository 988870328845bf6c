/**
 * Where datagrams go or come from: an IPv4 address and a UDP port. A subscriber is known by its
 * endpoint. The dashboard is made of this too, so nothing here is Node's own.
 */

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

/** `10.0.0.34:9001`: for sentences, and the key of maps by endpoint. */
export function endpointText({ ip, port }: Endpoint): string {
  return `${ip}:${port}`;
}

/**
 * Dotted quad, decimal, no leading zeros: `010.0.0.1` means one host to some programs and another
 * to others.
 */
export function isAddress(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => BYTE.test(part));
}

const BYTE = /^(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$/;

/** 224.0.0.0/4 (RFC 5771). */
export function isMulticast(ip: string): boolean {
  const [first = 0] = ip.split('.').map(Number);
  return first >= 224 && first <= 239;
}

/** Where frames to a group are addressed to (RFC 1112, 6.4): six bytes. */
export function groupMac(ip: string): Uint8Array {
  const [, second = 0, third = 0, last = 0] = ip.split('.').map(Number);
  return Uint8Array.of(0x01, 0x00, 0x5e, second & 0x7f, third, last);
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}
