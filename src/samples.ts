/**
 * A throw-away window with sample packets, on which a filter is tried before it may touch a real
 * one.
 *
 * The memory is plain, and laid out as a worker's is (WINDOW_* in layout.ts): jobs, slots,
 * subscribers, frames. Nothing in it is write-protected; instead every byte is compared afterwards.
 * Each packet is a lawful one, since the receiver hands over no other, for each subscriber, once
 * with the sum of its payload and once without.
 */
import { limits, membersOf, offsetOf } from './layout.js';

const { FRAME_SIZE, HEADER_SIZE, JOB_SIZE, SLOT_SIZE, SUBSCRIBER_SIZE, VERDICT_UNSET } = limits;
const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;

/**
 * UDP payloads: none, odd, padded on Ethernet, usual, all that an MTU of 1500 takes, and of 3498,
 * the largest.
 */
const PAYLOAD_SIZES = [0, 1, 17, 200, 1472 - 14, 1472, 3470];
const SUBSCRIBERS = 3;
const PAGE_SIZE = 0x10000;
/**
 * What jobs and slots hold where nothing was written, so that writing zeros shows, and leaving a
 * field unwritten.
 */
const POISON = 0xa5;
/**
 * Where a packet starts in its frame: the kernel keeps this much free before it
 * (XDP_PACKET_HEADROOM).
 */
const PACKET_HEADROOM = 256;

/** Regions of the window, from last to first, and what a filter may do there. */
const REGIONS = [
  { start: WINDOW_FRAMES, name: 'the packets, which are read-only' },
  { start: WINDOW_SUBSCRIBERS, name: 'the subscriber records, which are read-only' },
  { start: WINDOW_SLOTS, name: 'header slots that are not of its jobs' },
  { start: WINDOW_JOBS, name: 'the job array outside the answers of its jobs' },
] as const;

const LENGTH = offsetOf('job', 'length');
const VERDICT = offsetOf('job', 'verdict');
const HEADER_START = offsetOf('job', 'header_start');
const HEADER_LENGTH = offsetOf('job', 'header_length');
const REPLACED = offsetOf('job', 'replaced');
const ANSWER_END = REPLACED + 4;
const SEND = membersOf('filter_verdict').indexOf('send');
const VERDICTS = membersOf('filter_verdict').length;

export class Samples {
  readonly memory: WebAssembly.Memory;
  /** Jobs laid out, from WINDOW_JOBS on. */
  readonly count: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** What everything from WINDOW_JOBS on held before the filter ran. */
  readonly #before: Uint8Array;

  constructor() {
    const pages = Math.ceil((WINDOW_FRAMES + PAYLOAD_SIZES.length * FRAME_SIZE) / PAGE_SIZE);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#view = new DataView(this.memory.buffer);
    this.#bytes.fill(POISON, WINDOW_JOBS, WINDOW_SUBSCRIBERS);
    for (let row = 0; row < SUBSCRIBERS; row++) this.#writeSubscriber(row);
    let count = 0;
    for (const [frame, size] of PAYLOAD_SIZES.entries()) {
      const packet = samplePacket(size);
      const address = WINDOW_FRAMES + frame * FRAME_SIZE + PACKET_HEADROOM;
      this.#bytes.set(packet, address);
      for (let row = 0; row < SUBSCRIBERS; row++) {
        for (const sum of [VERDICT_UNSET, wordSum(packet.subarray(HEADER_SIZE))]) {
          this.#writeJob(count++, { address, length: packet.length, row, sum });
        }
      }
    }
    this.count = count;
    this.#before = this.#bytes.slice(WINDOW_JOBS);
  }

  /** Everything from WINDOW_JOBS on as it was before the filter ran; the filter's own pages stay. */
  restore(): void {
    this.#bytes.set(this.#before, WINDOW_JOBS);
  }

  /**
   * What is unlawful in the answers to jobs [first, first + count), as a sentence; null if nothing
   * is.
   */
  fault(first: number, count: number): string | null {
    for (let index = first; index < first + count; index++) {
      const wrong = this.#wrongAnswer(index);
      if (wrong !== null) return `${this.#describe(index)}: ${wrong}`;
    }
    const after = this.#bytes.slice(WINDOW_JOBS);
    for (let index = first; index < first + count; index++) this.#forgive(after, index);
    if (Buffer.compare(after, this.#before) === 0) return null;
    const address = WINDOW_JOBS + after.findIndex((byte, offset) => byte !== this.#before[offset]);
    const region = REGIONS.find(({ start }) => address >= start);
    return `it writes at address 0x${address.toString(16)}, to ${region?.name}`;
  }

  /** Where in jobs [first, first + count) a call has stopped. */
  describeUnanswered(first: number, count: number): string {
    for (let index = first; index < first + count; index++) {
      if (this.#answer(index, VERDICT, 4) === VERDICT_UNSET) return this.#describe(index);
    }
    return `a burst of ${count} sample jobs`;
  }

  #describe(index: number): string {
    const length = this.#answer(index, LENGTH, 4);
    return `sample job ${index} (a packet of ${length} bytes)`;
  }

  #wrongAnswer(index: number): string | null {
    const verdict = this.#answer(index, VERDICT, 4);
    if (verdict === VERDICT_UNSET) return 'it is not answered';
    if (verdict >= VERDICTS) return `its verdict ${verdict} is unknown`;
    if (verdict !== SEND) return null;
    const end = this.#answer(index, HEADER_START, 2) + this.#answer(index, HEADER_LENGTH, 2);
    if (end > SLOT_SIZE) return `its header ends at byte ${end} of a slot of ${SLOT_SIZE}`;
    const replaced = this.#answer(index, REPLACED, 4);
    if (replaced > this.#answer(index, LENGTH, 4)) {
      return `its header stands for ${replaced} bytes, more than the packet has`;
    }
    return null;
  }

  /** Takes back, in a copy of the window, what the filter may write for that job. */
  #forgive(after: Uint8Array, index: number): void {
    const job = index * JOB_SIZE;
    const slot = WINDOW_SLOTS - WINDOW_JOBS + index * SLOT_SIZE;
    for (const [start, end] of [
      [job + VERDICT, job + ANSWER_END],
      [slot, slot + SLOT_SIZE],
    ] as const) {
      after.set(this.#before.subarray(start, end), start);
    }
  }

  #answer(index: number, offset: number, size: 2 | 4): number {
    const address = WINDOW_JOBS + index * JOB_SIZE + offset;
    return size === 2 ? this.#view.getUint16(address, true) : this.#view.getUint32(address, true);
  }

  #writeJob(index: number, job: { address: number; length: number; row: number; sum: number }): void {
    const put = (field: string, value: number) =>
      this.#view.setUint32(WINDOW_JOBS + index * JOB_SIZE + offsetOf('job', field), value, true);
    put('packet', job.address);
    put('length', job.length);
    put('slot', WINDOW_SLOTS + index * SLOT_SIZE);
    put('subscriber', WINDOW_SUBSCRIBERS + job.row * SUBSCRIBER_SIZE);
    put('verdict', VERDICT_UNSET);
    put('payload_sum', job.sum);
  }

  #writeSubscriber(row: number): void {
    const at = (field: string) => WINDOW_SUBSCRIBERS + row * SUBSCRIBER_SIZE + offsetOf('subscriber', field);
    this.#view.setUint32(at('ip'), 0xc0000200 + row); // 192.0.2.0/24 is for documentation (RFC 5737)
    this.#view.setUint16(at('port'), 9000 + row);
    this.#view.setUint16(at('state'), membersOf('subscriber_state').indexOf('live'), true);
    this.#bytes.set([2, 0, 0, 0, 1, row], at('target_mac')); // locally administered, as the source
    this.#bytes.set([2, 0, 0, 0, 0, 1], at('source_mac'));
    this.#view.setUint32(at('source_ip'), 0xc00002fe);
    this.#view.setUint16(at('source_port'), 8000);
    this.#view.setBigUint64(at('epoch'), BigInt(row + 1), true);
  }
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
  for (let index = 0; index < payloadSize; index++) packet[HEADER_SIZE + index] = index * 7 + payloadSize;
  return packet;
}

/**
 * Ones' complement sum of the bytes as 16-bit words in network order, the last one padded (RFC
 * 1071).
 */
function wordSum(bytes: Uint8Array): number {
  let sum = 0;
  for (const [index, byte] of bytes.entries()) sum += index % 2 === 0 ? byte << 8 : byte;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}
