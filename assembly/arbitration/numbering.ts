/**
 * Where a packet's sequence is, as the parameter of its subscriber says.
 *
 *   (none), proto=moldudp64     the header of MoldUDP64 (NASDAQ, MoldUDP64 protocol specification,
 *                               1.00, "Downstream Packet"): session, sequence, count of messages
 *   seq=OFFSET,SIZE[,le]        one message a packet, whose number is the unsigned integer of SIZE
 *                               (1, 2, 4 or 8) bytes at OFFSET (0 to 4095) of the payload,
 *                               big-endian but for `le`
 *
 * A `kind` is 16 bits that say which: 0 MoldUDP64, or
 *
 *   15 14 13 12 11                    0
 *   │1 │le│size │offset               │    size as the power of two
 */
import { SUBSCRIBER_PARAM_LENGTH } from '../layout';
import { Job } from '../sdk';
import { Settings, settings } from '../settings';

export const MOLDUDP64: u32 = 0;
/** Of a parameter that cannot be read. */
export const UNREADABLE: u32 = 0xffffffff;
const NUMBERED: u32 = 0x8000;
const LITTLE_ENDIAN: u32 = 0x4000;
const SIZE_SHIFT: u32 = 12;
const OFFSET_MAX: u32 = 0xfff;

const COMMA: u32 = 0x2c;
/** `le`, as the number that its two bytes are. */
const LE: u16 = 0x656c;

@unmanaged
class Numbering extends Settings {
  kind: u32;

  read(): void {
    const is_moldudp64 = this.is('proto', 'moldudp64');
    const value = this.value_of('seq');
    let kind = MOLDUDP64;
    if (value != 0) {
      kind = numbered_kind(value, this.end_of(value));
      // one or the other
      if (kind != UNREADABLE && !is_moldudp64) this.understand();
    }
    this.kind = this.is_valid ? kind : UNREADABLE;
  }
}

/** Of `OFFSET,SIZE[,le]`; UNREADABLE if it is none. */
function numbered_kind(at: usize, end: usize): u32 {
  let offset: u32 = 0;
  let digits = 0;
  for (; at < end && <u32>load<u8>(at) != COMMA; at++) {
    const digit = <u32>load<u8>(at) - 0x30;
    if (digit > 9) return UNREADABLE;
    offset = offset * 10 + digit;
    if (offset > OFFSET_MAX) return UNREADABLE;
    digits++;
  }
  if (digits == 0 || end - at < 2) return UNREADABLE;
  const size = <u32>load<u8>(at, 1) - 0x30;
  if (size != 1 && size != 2 && size != 4 && size != 8) return UNREADABLE;
  const kind = NUMBERED | (ctz(size) << SIZE_SHIFT) | offset;
  at += 2;
  if (at == end) return kind;
  if (end - at != 3 || <u32>load<u8>(at) != COMMA) return UNREADABLE;
  return load<u16>(at, 1) == LE ? kind | LITTLE_ENDIAN : UNREADABLE;
}

@inline
export function kind_of(subscriber: usize): u32 {
  if (load<u16>(subscriber, SUBSCRIBER_PARAM_LENGTH) == 0) return MOLDUDP64;
  return settings<Numbering>(subscriber).kind;
}

/** Bytes of the number. */
@inline
export function size_of(kind: u32): u32 {
  return 1 << ((kind >> SIZE_SHIFT) & 3);
}

@inline
export function offset_of(kind: u32): u32 {
  return kind & OFFSET_MAX;
}

/** Bits of a number. */
export function bits_of(kind: u32): u32 {
  return kind == MOLDUDP64 ? 64 : 8 * size_of(kind);
}

/** How many different numbers there are; 0: all of u64. */
export function span_of(kind: u32): u64 {
  const bits = bits_of(kind);
  return bits == 64 ? 0 : (<u64>1) << <u64>bits;
}

/** The number in a packet that is long enough. */
export function number_in(job: Job, kind: u32): u64 {
  const at = job.payload + <usize>offset_of(kind);
  const is_le = (kind & LITTLE_ENDIAN) != 0;
  switch (size_of(kind)) {
    case 1:
      return <u64>load<u8>(at);
    case 2:
      return is_le ? <u64>load<u16>(at) : <u64>bswap<u16>(load<u16>(at));
    case 4:
      return is_le ? <u64>load<u32>(at) : <u64>bswap<u32>(load<u32>(at));
    default:
      return is_le ? load<u64>(at) : bswap<u64>(load<u64>(at));
  }
}

/**
 * A number that wraps, as one that does not: of those that look the same, the nearest to `next`. It
 * is never below 0, since a session begins at `span` or above.
 */
export function unwrapped(number: u64, next: u64, span: u64): u64 {
  if (span == 0) return number;
  const ahead = (number - next) & (span - 1);
  return ahead < span >> 1 ? next + ahead : next + ahead - span;
}
