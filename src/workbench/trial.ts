/**
 * A filter tried on packets without a replicator: one packet after the other, for one subscriber,
 * each with what became of it. The state goes on from packet to packet, as it does in a worker;
 * traps and unlawful answers are results too.
 */
import { Failure, FantailError, messageOf } from '../domain/errors.js';
import { limited } from '../filters/check/limited.js';
import { samplePacket } from '../filters/check/samples.js';
import { PACKET_SIZE_MAX, Window } from '../filters/check/window.js';
import { type Filter, instantiate, isStateful } from '../filters/module.js';
import { limits, membersOf } from '../memory/layout.js';
import { type Layer, layersOf } from './frame.js';
import { type Captured, readPcap } from './pcap.js';

const { HEADER_SIZE, WINDOW_JOBS } = limits;
/** Of the packets that stand in where there is no capture: UDP payload bytes. */
const SAMPLE_SIZES = [0, 1, 32, 200, 1472];
const SAMPLE_NS = 1_700_000_000_000_000_000n;
/** Two frames in turn: a packet never lies where the one before lay, as in a worker's burst. */
const FRAMES = 2;
const SEND = membersOf('filter_verdict').indexOf('send');

export interface Packet {
  readonly receiveNs: bigint;
  readonly bytes: Uint8Array;
}

/** What became of one packet; `skipped`: it is none that a receiver would hand over. */
export type Outcome =
  | { readonly outcome: 'skipped' | 'trap' | 'bad_answer'; readonly why: string }
  | { readonly outcome: 'drop' }
  | {
      readonly outcome: 'send';
      readonly headerStart: number;
      readonly replaced: number;
      readonly header: Uint8Array;
      /** The whole frame as it would be sent, decoded. */
      readonly layers: readonly Layer[];
    };

export interface TrialOptions {
  readonly param: Uint8Array;
  readonly checksum: 'zero' | 'full';
}

/** Packets as they would be received, of sizes that matter. */
export function samplePackets(): Packet[] {
  return SAMPLE_SIZES.map((size, index) => {
    return { receiveNs: SAMPLE_NS + BigInt(index) * 1_000_000n, bytes: samplePacket(size) };
  });
}

/** Those of a capture file; a string says why one would never reach a filter. */
export function capturedPackets(file: Uint8Array): (Packet | string)[] {
  const packets = readPcap(file);
  if (packets.length === 0) throw new Failure('the capture has no packets');
  return packets.map((each) => plainPacket(each));
}

/**
 * As the XDP program and the receiver see to it: untagged IPv4 without options or fragments, UDP,
 * no padding.
 */
function plainPacket({ bytes, wireSize, timeNs }: Captured): Packet | string {
  if (bytes.length < wireSize)
    return `the capture has only ${bytes.length} of its ${wireSize} bytes`;
  if (bytes.length < HEADER_SIZE) return 'it is shorter than Ethernet, IPv4 and UDP headers';
  const u16 = (at: number) => (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
  if (u16(12) !== 0x0800) return 'it is not IPv4 directly in Ethernet';
  if (bytes[14] !== 0x45) return 'its IPv4 header has options';
  if (bytes[23] !== 17) return 'it is not UDP';
  if ((u16(20) & 0xbfff) !== 0) return 'it is a fragment';
  const length = 14 + u16(16);
  if (length < HEADER_SIZE || length > bytes.length) return 'its IPv4 length is wrong';
  if (u16(38) !== length - 34) return 'its UDP length is wrong';
  if (length > PACKET_SIZE_MAX)
    return `it is longer than the ${PACKET_SIZE_MAX} bytes that a frame holds`;
  return { receiveNs: timeNs, bytes: bytes.subarray(0, length) };
}

/** A module that keeps the rules, over a window of its own. */
export class Trial {
  readonly #window: Window;
  readonly #filter: Filter;
  readonly #checksum: 'zero' | 'full';
  #tried = 0;

  constructor(module: WebAssembly.Module, { param, checksum }: TrialOptions) {
    this.#window = new Window({
      frames: FRAMES,
      isStateful: isStateful(module),
      isPoisoned: true,
    });
    this.#window.putSubscriber({ row: 1, param });
    this.#checksum = checksum;
    this.#filter = limited(
      () => 'its instantiation',
      () => instantiate(module, this.#window.memory),
    );
  }

  run({ bytes, receiveNs }: Packet): Outcome {
    const frame = this.#tried++ % FRAMES;
    this.#window.restore();
    this.#window.putPacket(frame, bytes);
    this.#window.putJob(0, { frame, packet: bytes, row: 1, receiveNs, checksum: this.#checksum });
    try {
      limited(
        () => `this packet of ${bytes.length} bytes`,
        () => this.#filter.burst(WINDOW_JOBS, 0, 1),
      );
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      return { outcome: 'trap', why: messageOf(error) };
    }
    return this.#outcome(bytes);
  }

  #outcome(packet: Uint8Array): Outcome {
    const fault = this.#window.faultOf(0);
    const answer = this.#window.answerOf(0);
    const header = fault === null && answer.verdict === SEND ? this.#window.headerOf(0) : null;
    const why = fault ?? this.#window.strayOf(0, 1);
    if (why !== null) return { outcome: 'bad_answer', why };
    if (header === null) return { outcome: 'drop' };
    const layers = layersOf(Buffer.concat([header, packet.subarray(answer.replaced)]));
    return {
      outcome: 'send',
      headerStart: answer.headerStart,
      replaced: answer.replaced,
      header,
      layers,
    };
  }
}
