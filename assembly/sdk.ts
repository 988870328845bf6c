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
 *     filter(): void { … this.send(start, length, replaced) or this.drop() … }
 *   }
 *   export function fantail_burst(jobs: usize, first: u32, count: u32): void {
 *     burst<Mine>(jobs, first, count);
 *   }
 *
 * The worker owns the job, the packet and the subscriber record; only the slot and the answer may
 * be written. A store to anything else traps, or makes the module be refused before it is used.
 */
import {
  DROP_COPY,
  FILTER_ABI,
  JOBS_MAX,
  JOB_HEADER_LENGTH,
  JOB_HEADER_START,
  JOB_LENGTH,
  JOB_PACKET,
  JOB_PAYLOAD_SUM,
  JOB_REPLACED,
  JOB_SIZE,
  JOB_SLOT,
  JOB_SUBSCRIBER,
  JOB_VERDICT,
  SEND,
  SLOT_SIZE,
} from './layout';

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

  /** The frame sent is slot[start, start + length), then the packet from its byte `replaced` on. */
  @inline send(start: u32, length: u32, replaced: u32): void {
    assert(start <= SLOT_SIZE && length <= SLOT_SIZE - start); // the header is inside its slot
    if (!ASC_NO_ASSERT) assert(replaced <= this.length); // a header cannot stand for more than there is
    const answer = <u64>SEND | (<u64>start << START_SHIFT) | (<u64>length << LENGTH_SHIFT);
    store<u64>(this.address, answer, JOB_VERDICT);
    store<u32>(this.address, replaced, JOB_REPLACED);
  }

  /** This subscriber gets no copy of this packet. */
  @inline drop(): void {
    store<u32>(this.address, DROP_COPY, JOB_VERDICT);
  }
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
