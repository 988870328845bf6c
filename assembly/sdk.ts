/**
 * What a filter is written against: one packet, one subscriber, and the answer.
 *
 * A filter is a class that extends Job with one method, `filter()`; `burst` calls it for each job.
 * A Job is nothing but the address of a `struct job` (layout.ts) with names for its fields: no
 * object exists and nothing is allocated. The whole of a filter's entry file:
 *
 *   import { Job, burst } from './sdk';
 *   export { fantail_abi } from './sdk';
 *   @unmanaged class Mine extends Job {
 *     filter(): void {
 *       if (!this.fits || this.u8_at(0) == 0x41) return this.drop();
 *       this.rewrite();
 *       this.send_rewritten();
 *     }
 *   }
 *   export function fantail_burst(jobs: usize, first: u32, count: u32): void {
 *     burst<Mine>(jobs, first, count);
 *   }
 *
 * Around it: rewrite.ts changes what `rewrite` has written (set_source, set_dscp, set_ttl) and
 * writes other headers; settings.ts reads the subscriber's parameter; `state` and PacketMark are
 * below.
 *
 * The worker owns the job, the packet and the subscriber record; only the slot, the answer and the
 * state block may be written. A store to anything else traps, or makes the module be refused before
 * it is used.
 */
import {
  DROP_COPY,
  FILTER_ABI,
  HEADER_SIZE,
  JOBS_MAX,
  JOB_HEADER_LENGTH,
  JOB_HEADER_START,
  JOB_LENGTH,
  JOB_PACKET,
  JOB_PAYLOAD_SUM,
  JOB_RECEIVE_NS,
  JOB_REPLACED,
  JOB_SIZE,
  JOB_SLOT,
  JOB_SUBSCRIBER,
  JOB_VERDICT,
  SEND,
  SLOT_HEADROOM,
  SLOT_SIZE,
  STATE_SIZE,
  WINDOW_STATE,
} from './layout';
import { PACKET_TARGET_IP, PACKET_TARGET_PORT, fits, rewrite } from './rewrite';

/** Bits by which start and length stand above the verdict, so that the three are one u64. */
const START_SHIFT: u64 = 8 * <u64>(JOB_HEADER_START - JOB_VERDICT);
const LENGTH_SHIFT: u64 = 8 * <u64>(JOB_HEADER_LENGTH - JOB_VERDICT);

/** One packet for one subscriber. */
@unmanaged
export class Job {
  @inline private get address(): usize {
    return changetype<usize>(this);
  }

  /** Address of the packet's first byte; read-only. */
  @inline get packet(): usize {
    return <usize>load<u32>(this.address, JOB_PACKET);
  }

  /** Its bytes, from Ethernet to the end of the IP packet. */
  @inline get length(): u32 {
    return load<u32>(this.address, JOB_LENGTH);
  }

  /** Address of this job's own SLOT_SIZE bytes, where the new header is written. */
  @inline get slot(): usize {
    return <usize>load<u32>(this.address, JOB_SLOT);
  }

  /** Address of the `struct subscriber` that the copy is for; read-only. */
  @inline get subscriber(): usize {
    return <usize>load<u32>(this.address, JOB_SUBSCRIBER);
  }

  /** Ones' complement sum of the UDP payload; VERDICT_UNSET where no UDP checksum is asked for. */
  @inline get payload_sum(): u32 {
    return load<u32>(this.address, JOB_PAYLOAD_SUM);
  }

  /** When the packet was received: nanoseconds since 1970. */
  @inline get receive_ns(): u64 {
    return load<u64>(this.address, JOB_RECEIVE_NS);
  }

  /** Where the packet's feed is sent to; of a packet that fits, in network order. */
  @inline get feed_ip(): u32 {
    return load<u32>(this.packet, PACKET_TARGET_IP);
  }

  @inline get feed_port(): u16 {
    return load<u16>(this.packet, PACKET_TARGET_PORT);
  }

  // ---- the packet's payload ----

  /**
   * Whether the packet has its three headers, and new ones can state its length. Ask this first.
   */
  @inline get fits(): bool {
    return fits(this.length);
  }

  /** Address of the UDP payload; read-only. */
  @inline get payload(): usize {
    return this.packet + <usize>HEADER_SIZE;
  }

  /** Its bytes, of a packet that fits. */
  @inline get payload_length(): u32 {
    return this.length - HEADER_SIZE;
  }

  /**
   * Whether the payload has the `size` bytes from `offset` on. What is past its end is no error to
   * read, but not it.
   */
  @inline has(offset: u32, size: u32): bool {
    return <u64>HEADER_SIZE + <u64>offset + <u64>size <= <u64>this.length;
  }

  /** The byte at that offset of the payload; the others are of several bytes in network order. */
  @inline u8_at(offset: u32): u32 {
    return <u32>load<u8>(this.payload + <usize>offset);
  }

  @inline u16_at(offset: u32): u32 {
    return <u32>bswap<u16>(load<u16>(this.payload + <usize>offset));
  }

  @inline u32_at(offset: u32): u32 {
    return bswap<u32>(load<u32>(this.payload + <usize>offset));
  }

  @inline u64_at(offset: u32): u64 {
    return bswap<u64>(load<u64>(this.payload + <usize>offset));
  }

  // ---- the answer ----

  /**
   * Where `rewrite` writes: there is room before it for tags and tunnels, and behind it for
   * payload.
   */
  @inline get header(): usize {
    return this.slot + <usize>SLOT_HEADROOM;
  }

  /** Writes the plain header, of HEADER_SIZE bytes, for a packet that fits. */
  @inline rewrite(): void {
    rewrite(this.packet, this.length, this.payload_sum, this.header, this.subscriber);
  }

  /** Sends what `rewrite` has written, and the payload. */
  @inline send_rewritten(): void {
    this.send(SLOT_HEADROOM, HEADER_SIZE, HEADER_SIZE);
  }

  /** The frame sent is slot[start, start + length), then the packet from its byte `replaced` on. */
  @inline send(start: u32, length: u32, replaced: u32): void {
    assert(start <= SLOT_SIZE && length <= SLOT_SIZE - start); // the header is inside its slot
    // a header cannot stand for more than there is
    if (!ASC_NO_ASSERT) assert(replaced <= this.length);
    const answer = <u64>SEND | (<u64>start << START_SHIFT) | (<u64>length << LENGTH_SHIFT);
    store<u64>(this.address, answer, JOB_VERDICT);
    store<u32>(this.address, replaced, JOB_REPLACED);
  }

  /** This subscriber gets no copy of this packet. */
  @inline drop(): void {
    store<u32>(this.address, DROP_COPY, JOB_VERDICT);
  }
}

/**
 * Tells the first of a packet's jobs from its others, which stand next to it: for what is done once
 * a packet.
 */
@unmanaged
export class PacketMark {
  private packet: u32;
  private unused: u32;
  private receive_ns: u64;

  /**
   * Whether the job's packet is another than at the last call. A frame's address comes back, but
   * never with the same time; that holds over calls too, since one may begin in the middle of a
   * packet.
   */
  @inline is_new(job: Job): bool {
    const packet = <u32>job.packet;
    const receive_ns = job.receive_ns;
    if (this.packet == packet && this.receive_ns == receive_ns) return false;
    this.packet = packet;
    this.receive_ns = receive_ns;
    return true;
  }
}

/**
 * The block of STATE_SIZE bytes that is committed with each burst, as a T: zeros at first, and
 * after a worker's death as of the last commit. A module that uses it exports fantail_state(), a
 * number other than 0 that changes with the layout of T: the block goes over to a newer module only
 * if both return the same. Globals and the rest of the module's memory start anew whenever it is
 * loaded.
 */
@inline
export function state<T>(): T {
  assert(offsetof<T>() <= <usize>STATE_SIZE);
  return changetype<T>(<usize>WINDOW_STATE);
}

/** The ABI that this SDK speaks; the loader compares. */
export function fantail_abi(): i32 {
  return <i32>FILTER_ABI;
}

/** Calls T's filter() for jobs [first, first + count) of those at `jobs`. */
@inline
export function burst<T>(jobs: usize, first: u32, count: u32): void {
  assert(first <= JOBS_MAX && count <= JOBS_MAX - first); // the job array holds no more
  const end = jobs + <usize>((first + count) * JOB_SIZE);
  for (let job = jobs + <usize>(first * JOB_SIZE); job < end; job += <usize>JOB_SIZE) {
    changetype<T>(job).filter();
  }
}
