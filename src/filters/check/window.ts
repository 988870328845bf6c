/**
 * A throw-away window of a filter: laid out as a worker's is (WINDOW_* in layout.ts), filled by who
 * tries the filter (samples.ts, workbench/trial.ts), and asked afterwards what the filter answered
 * and where else it wrote.
 *
 * Its memory is plain. Nothing in it is write-protected; instead every byte is compared.
 */
import { limits, membersOf, offsetOf } from '../../memory/layout.js';

const { FRAME_SIZE, JOB_SIZE, PARAM_SIZE, SLOT_SIZE, STATE_SIZE, SUBSCRIBER_SIZE, VERDICT_UNSET } =
  limits;
const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS, WINDOW_FRAMES } = limits;

const PAGE_SIZE = 0x10000;
const STATE_END = WINDOW_STATE + STATE_SIZE;
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
/** The longest packet that a frame holds. */
export const PACKET_SIZE_MAX = FRAME_SIZE - PACKET_HEADROOM;

/** Regions of the window, from last to first, and what a filter may not write there. */
const REGIONS = [
  { start: WINDOW_FRAMES, name: 'the packets, which are read-only' },
  { start: WINDOW_SUBSCRIBERS, name: 'the subscriber records, which are read-only' },
  { start: STATE_END, name: 'what is behind the state block' },
  { start: WINDOW_STATE, name: 'the state block, which is for modules that export fantail_state' },
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

export interface WindowOptions {
  readonly frames: number;
  readonly isStateful: boolean;
  /** False: nobody will ask what was written where, and a megabyte need not be filled for it. */
  readonly isPoisoned: boolean;
}

/** A subscriber that is no more than its place: addresses and MAC follow from the row. */
export interface Row {
  readonly row: number;
  readonly param: Uint8Array;
}

export interface Question {
  readonly frame: number;
  /** Its packet, as it was put into the frame. */
  readonly packet: Uint8Array;
  readonly row: number;
  readonly receiveNs: bigint;
  /** Whether a UDP checksum is wanted. */
  readonly checksum: 'zero' | 'full';
}

export interface Answer {
  readonly verdict: number;
  readonly headerStart: number;
  readonly headerLength: number;
  readonly replaced: number;
}

// More members than 15: each puts one kind of thing into the window or reads it back, and none
// outside knows where it stands.
export class Window {
  readonly memory: WebAssembly.Memory;
  readonly #isStateful: boolean;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** What everything from WINDOW_JOBS on held before the filter ran. */
  readonly #before: Uint8Array;

  constructor({ frames, isStateful, isPoisoned }: WindowOptions) {
    const pages = Math.ceil((WINDOW_FRAMES + frames * FRAME_SIZE) / PAGE_SIZE);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#isStateful = isStateful;
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#view = new DataView(this.memory.buffer);
    // not a copy: pages that nobody writes to are never made
    this.#before = new Uint8Array(this.#bytes.length - WINDOW_JOBS);
    if (!isPoisoned) return;
    this.#bytes.fill(POISON, WINDOW_JOBS, WINDOW_SUBSCRIBERS);
    if (isStateful) this.#bytes.fill(0, WINDOW_STATE, STATE_END);
    this.#before.set(this.#bytes.subarray(WINDOW_JOBS, WINDOW_SUBSCRIBERS));
  }

  /**
   * Everything from WINDOW_JOBS on as it was put, but for the state; the filter's own pages stay
   * too.
   */
  restore(): void {
    for (const [start, end] of this.#compared())
      if (this.#isChanged(start, end)) this.#takeBack(start, end);
  }

  putPacket(frame: number, packet: Uint8Array): void {
    this.#put(this.#packetAddress(frame), packet);
  }

  putSubscriber({ row, param }: Row): void {
    const record = new Uint8Array(SUBSCRIBER_SIZE);
    const view = new DataView(record.buffer);
    const at = (field: string) => offsetOf('subscriber', field);
    view.setUint32(at('ip'), 0xc0000200 + row); // 192.0.2.0/24 is for documentation (RFC 5737)
    view.setUint16(at('port'), 9000 + row);
    view.setUint16(at('state'), membersOf('subscriber_state').indexOf('live'), true);
    record.set([2, 0, 0, 0, 1, row], at('target_mac')); // locally administered, as the source
    record.set([2, 0, 0, 0, 0, 1], at('source_mac'));
    view.setUint32(at('source_ip'), 0xc00002fe);
    view.setUint16(at('source_port'), 8000);
    view.setUint8(at('ttl'), 64);
    view.setBigUint64(at('epoch'), BigInt(row + 1), true);
    view.setUint16(at('param_length'), param.length, true);
    record.set(param.subarray(0, PARAM_SIZE), at('param'));
    this.#put(WINDOW_SUBSCRIBERS + row * SUBSCRIBER_SIZE, record);
  }

  putJob(index: number, { frame, packet, row, receiveNs, checksum }: Question): void {
    const job = new Uint8Array(JOB_SIZE).fill(POISON);
    const view = new DataView(job.buffer);
    const put = (field: string, value: number) =>
      view.setUint32(offsetOf('job', field), value, true);
    put('packet', this.#packetAddress(frame));
    put('length', packet.length);
    put('slot', WINDOW_SLOTS + index * SLOT_SIZE);
    put('subscriber', WINDOW_SUBSCRIBERS + row * SUBSCRIBER_SIZE);
    put('verdict', VERDICT_UNSET);
    put(
      'payload_sum',
      checksum === 'zero' ? VERDICT_UNSET : wordSum(packet.subarray(limits.HEADER_SIZE)),
    );
    view.setBigUint64(offsetOf('job', 'receive_ns'), receiveNs, true);
    this.#put(WINDOW_JOBS + index * JOB_SIZE, job);
  }

  lengthOf(index: number): number {
    return this.#view.getUint32(WINDOW_JOBS + index * JOB_SIZE + LENGTH, true);
  }

  answerOf(index: number): Answer {
    const job = WINDOW_JOBS + index * JOB_SIZE;
    return {
      verdict: this.#view.getUint32(job + VERDICT, true),
      headerStart: this.#view.getUint16(job + HEADER_START, true),
      headerLength: this.#view.getUint16(job + HEADER_LENGTH, true),
      replaced: this.#view.getUint32(job + REPLACED, true),
    };
  }

  /** The header that an answer without fault tells of; a copy. */
  headerOf(index: number): Uint8Array {
    const { headerStart, headerLength } = this.answerOf(index);
    const start = WINDOW_SLOTS + index * SLOT_SIZE + headerStart;
    return this.#bytes.slice(start, start + headerLength);
  }

  /**
   * What is unlawful in the answer to that job, as a sentence; null if nothing is. Native code asks
   * the same.
   */
  faultOf(index: number): string | null {
    const { verdict, headerStart, headerLength, replaced } = this.answerOf(index);
    if (verdict === VERDICT_UNSET) return 'it is not answered';
    if (verdict >= VERDICTS) return `its verdict ${verdict} is unknown`;
    if (verdict !== SEND) return null;
    const end = headerStart + headerLength;
    if (end > SLOT_SIZE) return `its header ends at byte ${end} of a slot of ${SLOT_SIZE}`;
    if (replaced <= this.lengthOf(index)) return null;
    return `its header stands for ${replaced} bytes, more than the packet has`;
  }

  /**
   * Where jobs [first, first + count) have written what they may not, as a sentence; null if
   * nowhere. It takes their answers and slots back, so ask for these before.
   */
  strayOf(first: number, count: number): string | null {
    for (let index = first; index < first + count; index++) {
      const job = WINDOW_JOBS + index * JOB_SIZE;
      this.#takeBack(job + VERDICT, job + ANSWER_END);
      const slot = WINDOW_SLOTS + index * SLOT_SIZE;
      this.#takeBack(slot, slot + SLOT_SIZE);
    }
    for (const [start, end] of this.#compared()) {
      if (this.#isChanged(start, end)) return this.#difference(start, end);
    }
    return null;
  }

  /**
   * All that a filter may not change for good: the state is its own, if it has one. In parts, so
   * that a restore leaves alone what nobody writes to.
   */
  #compared(): readonly (readonly [start: number, end: number])[] {
    const stateEnd = this.#isStateful ? STATE_END : WINDOW_STATE;
    return [
      [WINDOW_JOBS, WINDOW_STATE],
      [stateEnd, WINDOW_SUBSCRIBERS],
      [WINDOW_SUBSCRIBERS, this.#bytes.length],
    ];
  }

  #isChanged(start: number, end: number): boolean {
    const before = this.#before.subarray(start - WINDOW_JOBS, end - WINDOW_JOBS);
    return Buffer.compare(this.#bytes.subarray(start, end), before) !== 0;
  }

  /** Of a part that is changed. */
  #difference(start: number, end: number): string {
    const now = this.#bytes.subarray(start, end);
    const before = this.#before.subarray(start - WINDOW_JOBS, end - WINDOW_JOBS);
    const address = start + now.findIndex((byte, offset) => byte !== before[offset]);
    const region = REGIONS.find((each) => address >= each.start);
    return `it writes at address 0x${address.toString(16)}, to ${region?.name}`;
  }

  #packetAddress(frame: number): number {
    return WINDOW_FRAMES + frame * FRAME_SIZE + PACKET_HEADROOM;
  }

  /** Into the window, and into what it is compared with. */
  #put(address: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, address);
    this.#before.set(bytes, address - WINDOW_JOBS);
  }

  #takeBack(start: number, end: number): void {
    this.#bytes.set(this.#before.subarray(start - WINDOW_JOBS, end - WINDOW_JOBS), start);
  }
}

/**
 * Ones' complement sum of the bytes as 16-bit words in network order, the last one padded (RFC
 * 1071).
 */
export function wordSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] as number; // index is inside
    sum += index % 2 === 0 ? byte << 8 : byte;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}
