/**
 * A capture file, strictly: classic pcap (the format of libpcap's pcap-savefile(5)) of Ethernet, in
 * either byte order, with microseconds or nanoseconds. What is not exactly that is a Failure that
 * says where; nothing is guessed.
 */
import { Failure } from '../domain/errors.js';

const FILE_HEADER_SIZE = 24;
const RECORD_HEADER_SIZE = 16;
const VERSION_MAJOR = 2;
const LINK_ETHERNET = 1;
/** libpcap's own limit of one packet (MAXIMUM_SNAPLEN). */
const CAPTURED_SIZE_MAX = 262_144;
const PCAPNG_MAGIC = 0x0a0d0d0a;

/**
 * The magic as its writer's byte order has it, and nanoseconds of a unit of the time's second word.
 */
const MAGICS = [
  { magic: 0xa1b2c3d4, unitNs: 1000n },
  { magic: 0xa1b23c4d, unitNs: 1n },
] as const;

export interface Captured {
  readonly timeNs: bigint;
  /** Bytes on the wire; the capture may have kept fewer. */
  readonly wireSize: number;
  readonly bytes: Uint8Array;
}

/** All packets of a file, in its order. */
export function readPcap(file: Uint8Array): Captured[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const { littleEndian, unitNs } = readFileHeader(view);
  const packets: Captured[] = [];
  for (let at = FILE_HEADER_SIZE; at < file.length; ) {
    const where = `packet ${packets.length + 1}, at byte ${at}`;
    if (at + RECORD_HEADER_SIZE > file.length)
      throw new Failure(`the capture ends inside the header of ${where}`);
    const word = (index: number) => view.getUint32(at + 4 * index, littleEndian);
    const [seconds, units, size, wireSize] = [word(0), word(1), word(2), word(3)];
    if (size > CAPTURED_SIZE_MAX || size > wireSize) {
      throw new Failure(
        `${where} of the capture claims ${size} bytes of ${wireSize}: the file is damaged`,
      );
    }
    const start = at + RECORD_HEADER_SIZE;
    if (start + size > file.length) throw new Failure(`the capture ends inside ${where}`);
    const timeNs = BigInt(seconds) * 1_000_000_000n + BigInt(units) * unitNs;
    packets.push({ timeNs, wireSize, bytes: file.subarray(start, start + size) });
    at = start + size;
  }
  return packets;
}

function readFileHeader(view: DataView): { littleEndian: boolean; unitNs: bigint } {
  if (view.byteLength < FILE_HEADER_SIZE) {
    throw new Failure(
      `no capture: it has ${view.byteLength} bytes, and a pcap file begins with ${FILE_HEADER_SIZE}`,
    );
  }
  if (view.getUint32(0) === PCAPNG_MAGIC) {
    throw new Failure('the capture is in pcapng; convert it: editcap -F pcap in.pcapng out.pcap');
  }
  for (const littleEndian of [true, false]) {
    const found = MAGICS.find(({ magic }) => magic === view.getUint32(0, littleEndian));
    if (found === undefined) continue;
    const major = view.getUint16(4, littleEndian);
    if (major !== VERSION_MAJOR)
      throw new Failure(`the capture has version ${major} of pcap, not ${VERSION_MAJOR}`);
    const link = view.getUint32(20, littleEndian) & 0xffff; // above it: how frames end
    if (link !== LINK_ETHERNET)
      throw new Failure(`the capture has link type ${link}, not ${LINK_ETHERNET} (Ethernet)`);
    return { littleEndian, unitNs: found.unitNs };
  }
  throw new Failure(
    'no capture: a pcap file begins with one of its magic numbers, and this one does not',
  );
}
