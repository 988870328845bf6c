/**
 * Sample packets, on which a filter is tried before it may touch a real one.
 *
 * Each packet is a lawful one, since the receiver hands over no other, for each subscriber (without
 * a parameter, with one, with all that fits), once with the sum of its payload and once without;
 * each packet has a time of its own.
 */
import { limits } from '../../memory/layout.js';
import { Window, wordSum } from './window.js';

const { HEADER_SIZE, PARAM_SIZE } = limits;

const USUAL_SIZE = 200;
/**
 * UDP payloads: none, odd, padded on Ethernet, usual, all that an MTU of 1500 takes, and of 3498,
 * the largest.
 */
const PAYLOAD_SIZES = [0, 1, 17, USUAL_SIZE, 1472 - 14, 1472, 3470];
const PARAMS = [
  new Uint8Array(),
  Buffer.from('n=1 offset=0'),
  new Uint8Array(PARAM_SIZE).fill(0xff),
];
/** A moment in 2023, since a time near 0 is none. */
const RECEIVE_NS = 1_700_000_000_000_000_000n;

export class Samples {
  readonly window: Window;
  /** Jobs laid out, from WINDOW_JOBS on. */
  readonly count: number;

  constructor({ isStateful }: { isStateful: boolean }) {
    this.window = new Window({ frames: PAYLOAD_SIZES.length, isStateful, isPoisoned: true });
    for (const [row, param] of PARAMS.entries()) this.window.putSubscriber({ row, param });
    let count = 0;
    for (const [frame, size] of PAYLOAD_SIZES.entries()) {
      const packet = samplePacket(size);
      this.window.putPacket(frame, packet);
      const receiveNs = RECEIVE_NS + BigInt(frame);
      for (const row of PARAMS.keys()) {
        for (const checksum of ['zero', 'full'] as const) {
          this.window.putJob(count++, { frame, packet, row, receiveNs, checksum });
        }
      }
    }
    this.count = count;
  }

  get memory(): WebAssembly.Memory {
    return this.window.memory;
  }

  /** For the next call: as it was, but for what the filter keeps. */
  restore(): void {
    this.window.restore();
  }

  /**
   * What is unlawful in what jobs [first, first + count) answered and wrote, as a sentence; null if
   * nothing is.
   */
  fault(first: number, count: number): string | null {
    for (let index = first; index < first + count; index++) {
      const wrong = this.window.faultOf(index);
      if (wrong !== null) return `${this.#describe(index)}: ${wrong}`;
    }
    return this.window.strayOf(first, count);
  }

  /** Where in jobs [first, first + count) a call has stopped. */
  describeUnanswered(first: number, count: number): string {
    for (let index = first; index < first + count; index++) {
      if (this.window.answerOf(index).verdict === limits.VERDICT_UNSET)
        return this.#describe(index);
    }
    return `a burst of ${count} sample jobs`;
  }

  #describe(index: number): string {
    return `sample job ${index} (a packet of ${this.window.lengthOf(index)} bytes)`;
  }
}

/** A memory with one lawful job in it, to warm a filter up before its first packet. */
export function memoryOfOneJob(): WebAssembly.Memory {
  const window = new Window({ frames: 1, isStateful: true, isPoisoned: false });
  const [row, packet] = [0, samplePacket(USUAL_SIZE)];
  window.putSubscriber({ row, param: new Uint8Array() });
  window.putPacket(0, packet);
  window.putJob(0, { frame: 0, packet, row, receiveNs: RECEIVE_NS, checksum: 'zero' });
  return window.memory;
}

/**
 * A lawful packet: Ethernet, IPv4 with its checksum, UDP without, and a payload of that many bytes.
 */
export function samplePacket(payloadSize: number): Uint8Array {
  const packet = new Uint8Array(HEADER_SIZE + payloadSize);
  const view = new DataView(packet.buffer);
  packet.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45]);
  view.setUint16(16, 28 + payloadSize); // IPv4 total length
  view.setUint16(20, 0x4000); // don't fragment
  view.setUint16(22, 0x4011); // TTL 64, UDP
  view.setUint32(26, 0xc00002fd);
  view.setUint32(30, 0xc00002fe);
  view.setUint16(24, ~wordSum(packet.subarray(14, 34)) & 0xffff);
  view.setUint16(34, 7000);
  view.setUint16(36, 8000);
  view.setUint16(38, 8 + payloadSize);
  for (let index = 0; index < payloadSize; index++)
    packet[HEADER_SIZE + index] = index * 7 + payloadSize;
  return packet;
}
