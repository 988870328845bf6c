/**
 * When the newest sequences went out, and by which line: so that a late copy tells by how much the
 * other line was ahead. A place for each of RECENT_MAX sequences that follow each other, shared by
 * all sessions; what is overwritten before its copy comes is not measured.
 *
 *   63                 46 45     43 42  40 39                    0
 *   │sequence / RECENT_MAX│session │line  │receive_ns            │    0: nothing is known
 *
 * Of sequence and time only the lower bits fit: a copy that comes 2^24 messages or 18 minutes late
 * might be measured wrongly, and goes out or not all the same.
 */
export const RECENT_MAX: u32 = 64;
export const RECENT_SIZE: usize = <usize>RECENT_MAX * 8;

const PLACE_BITS: u64 = 6;
const TIME_MASK: u64 = (1 << 40) - 1;
const LINE_SHIFT: u64 = 40;
const SESSION_SHIFT: u64 = 43;
const SEQUENCE_SHIFT: u64 = 46;

/** What a look-up answers where nothing is known. */
export const NO_LEAD: u64 = u64.MAX_VALUE;

@unmanaged
export class Recent {
  @inline private place(sequence: u64): usize {
    return changetype<usize>(this) + 8 * <usize>(sequence & <u64>(RECENT_MAX - 1));
  }

  @inline put(sequence: u64, session: u32, line: u32, receive_ns: u64): void {
    const whose = (<u64>session << SESSION_SHIFT) | (<u64>line << LINE_SHIFT);
    const word = ((sequence >> PLACE_BITS) << SEQUENCE_SHIFT) | whose | (receive_ns & TIME_MASK);
    store<u64>(this.place(sequence), word);
  }

  /** Nanoseconds since it went out, and in the three bits above 39 by which line; or NO_LEAD. */
  @inline lead(sequence: u64, session: u32, receive_ns: u64): u64 {
    const word = load<u64>(this.place(sequence));
    const wanted = ((sequence >> PLACE_BITS) << 3) | <u64>session;
    const known = word >> SESSION_SHIFT;
    if (word == 0 || known != (wanted & ((1 << 21) - 1))) return NO_LEAD;
    const lead_ns = (receive_ns - word) & TIME_MASK;
    if (lead_ns > TIME_MASK >> 1) return NO_LEAD; // a clock that was set back, or another queue's
    return (word & (<u64>7 << LINE_SHIFT)) | lead_ns;
  }

  /** A session or a line begins whose place another one had. */
  forget(): void {
    for (let at: usize = 0; at < RECENT_SIZE; at += 8) store<u64>(changetype<usize>(this) + at, 0);
  }
}

@inline
export function line_of(lead: u64): u32 {
  return <u32>(lead >> LINE_SHIFT);
}

@inline
export function ns_of(lead: u64): u64 {
  return lead & TIME_MASK;
}
