/**
 * A frame as a reader of hexadecimal would see it: layer by layer, each as a line, with what is
 * wrong about it.
 *
 * It goes on as far as it understands (Ethernet, 802.1Q, IPv4, GRE, UDP) and believes no length.
 * Used to show what a filter has made of a packet.
 */
import { wordSum } from '../filters/check/window.js';

const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
const IP_SIZE = 20;
const UDP_SIZE = 8;
const GRE_SIZE = 4;
const TYPE_IP = 0x0800;
const TYPE_VLAN = 0x8100;
const PROTOCOL_UDP = 17;
const PROTOCOL_GRE = 47;

/** One header: its fields by name, in order, and sentences about those that are wrong. */
export interface Layer {
  readonly layer: 'ethernet' | 'vlan' | 'ipv4' | 'gre' | 'udp' | 'rest';
  readonly fields: Readonly<Record<string, string | number>>;
  readonly wrong: readonly string[];
}

/** What comes next, and where. */
type Next = 'ethernet' | 'vlan' | 'ipv4' | 'gre' | 'udp' | 'rest';
interface Step {
  readonly layer: Layer;
  readonly next: Next;
  readonly size: number;
}

export function layersOf(frame: Uint8Array): Layer[] {
  const layers: Layer[] = [];
  let next: Next = 'ethernet';
  let left = frame;
  // addresses of the last IPv4 header, for UDP's checksum
  let pseudo: Uint8Array = new Uint8Array();
  while (next !== 'rest') {
    if (left.length < SIZES[next]) {
      const wrong = [`only ${left.length} bytes of its ${SIZES[next]} are there`];
      return [...layers, { layer: next, fields: {}, wrong }];
    }
    if (next === 'ipv4') pseudo = left.subarray(12, 20);
    const step: Step = next === 'udp' ? udp(left, pseudo) : READERS[next](left);
    layers.push(step.layer);
    next = step.next;
    left = left.subarray(step.size);
  }
  return layers;
}

/** `ipv4 192.0.2.254 > 192.0.2.1 …`; what is wrong stands behind, in brackets. */
export function layerText({ layer, fields, wrong }: Layer): string {
  const words = Object.entries(fields).map(([name, value]) => `${name} ${value}`);
  return [layer, ...words, ...wrong.map((sentence) => `[${sentence}]`)].join('  ');
}

const SIZES = {
  ethernet: ETHERNET_SIZE,
  vlan: TAG_SIZE,
  ipv4: IP_SIZE,
  gre: GRE_SIZE,
  udp: UDP_SIZE,
};
const READERS = { ethernet, vlan, ipv4, gre };

const u16 = (bytes: Uint8Array, at: number) => (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
const hex = (value: number) => `0x${value.toString(16).padStart(4, '0')}`;
const mac = (bytes: Uint8Array) =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
const address = (bytes: Uint8Array) => bytes.join('.');

function byType(type: number): Next {
  return type === TYPE_IP ? 'ipv4' : type === TYPE_VLAN ? 'vlan' : 'rest';
}

function ethernet(bytes: Uint8Array): Step {
  const type = u16(bytes, 12);
  const fields = {
    source: mac(bytes.subarray(6, 12)),
    target: mac(bytes.subarray(0, 6)),
    type: hex(type),
  };
  return {
    layer: { layer: 'ethernet', fields, wrong: [] },
    next: byType(type),
    size: ETHERNET_SIZE,
  };
}

/** Behind the type that announces it: its two bytes, and the type of what follows. */
function vlan(bytes: Uint8Array): Step {
  const control = u16(bytes, 0);
  const type = u16(bytes, 2);
  const fields = { vid: control & 0xfff, pcp: control >> 13, type: hex(type) };
  return { layer: { layer: 'vlan', fields, wrong: [] }, next: byType(type), size: TAG_SIZE };
}

function ipv4(bytes: Uint8Array): Step {
  const [version = 0, service = 0] = bytes;
  const protocol = bytes[9] ?? 0;
  const length = u16(bytes, 2);
  const fields = {
    source: address(bytes.subarray(12, 16)),
    target: address(bytes.subarray(16, 20)),
    protocol,
    dscp: service >> 2,
    ttl: bytes[8] ?? 0,
    length,
  };
  const wrong: string[] = [];
  if (version !== 0x45) wrong.push(`version and header length are ${hex(version)}, not 0x0045`);
  if (length !== bytes.length) wrong.push(`${bytes.length} bytes are there`);
  if (wordSum(bytes.subarray(0, IP_SIZE)) !== 0xffff) wrong.push('wrong checksum');
  const next = protocol === PROTOCOL_UDP ? 'udp' : protocol === PROTOCOL_GRE ? 'gre' : 'rest';
  return { layer: { layer: 'ipv4', fields, wrong }, next, size: IP_SIZE };
}

function gre(bytes: Uint8Array): Step {
  const type = u16(bytes, 2);
  const flags = u16(bytes, 0);
  const wrong = flags === 0 ? [] : [`flags ${hex(flags)} are not known here`];
  const next = flags === 0 && type === TYPE_IP ? 'ipv4' : 'rest';
  return { layer: { layer: 'gre', fields: { type: hex(type) }, wrong }, next, size: GRE_SIZE };
}

function udp(bytes: Uint8Array, addresses: Uint8Array): Step {
  const length = u16(bytes, 4);
  const checksum = u16(bytes, 6);
  const wrong: string[] = [];
  if (length !== bytes.length) wrong.push(`${bytes.length} bytes are there`);
  const pseudo = [...addresses, 0, PROTOCOL_UDP, ...bytes.subarray(4, 6)];
  const isRight = checksum === 0 || wordSum(Uint8Array.from([...pseudo, ...bytes])) === 0xffff;
  if (!isRight) wrong.push('wrong checksum');
  const fields = {
    source: u16(bytes, 0),
    target: u16(bytes, 2),
    length,
    checksum: checksum === 0 ? 'none' : hex(checksum),
  };
  return { layer: { layer: 'udp', fields, wrong }, next: 'rest', size: UDP_SIZE };
}
