/**
 * The plain rewrite of packets that have certain bytes at a certain place: one symbol, one type of
 * message, one MoldUDP64 session. Others are dropped, for this subscriber.
 *
 * Parameter: `offset=0…65535` into the UDP payload (default 0); `text=` and `hex=` the bytes that
 * must stand there, each with alternatives behind commas, such as `offset=24 text=AAPL,MSFT` or
 * `hex=4d4f4c44`. A text ends at a space or comma, so bytes like those are given in hex. It matches
 * from its first byte to its last: `AAPL` also finds `AAPLX`, `4141504c20` does not. Without any
 * bytes, or with a parameter that cannot be read, the subscriber gets nothing. No state.
 */
import { PARAM_SIZE } from '../layout';
import { Job, burst } from '../sdk';
import { Settings, settings } from '../settings';

export { fantail_abi } from '../sdk';

const COMMA: u32 = 0x2c;

@unmanaged
class Wanted extends Settings {
  offset: u32;
  /** Bytes of the list of alternatives behind this: for each its size, then its bytes. */
  list_size: u32;

  @inline get list(): usize {
    return changetype<usize>(this) + offsetof<Wanted>();
  }

  read(): void {
    this.offset = this.number('offset', 0, 0xffff, 0);
    this.list_size = 0;
    const text = this.value_of('text');
    if (text != 0 && this.add(text, false)) this.understand();
    const hex = this.value_of('hex');
    if (hex != 0 && this.add(hex, true)) this.understand();
    if (!this.is_valid) this.list_size = 0;
  }

  /** Adds the alternatives from `at` to the end of the word; false if one is empty or no hex. */
  private add(at: usize, is_hex: bool): bool {
    const end = this.end_of(at);
    let open = this.list + this.list_size; // where the size of the present alternative goes
    let size: u32 = 0;
    for (; at < end; at++) {
      let byte = <u32>load<u8>(at);
      if (byte == COMMA) {
        if (size == 0) return false;
        store<u8>(open, <u8>size);
        open += 1 + <usize>size;
        size = 0;
        continue;
      }
      if (is_hex) {
        const high = hex_digit(byte);
        const low = at + 1 < end ? hex_digit(load<u8>(at, 1)) : -1;
        if (high < 0 || low < 0) return false;
        byte = <u32>((high << 4) | low);
        at++;
      }
      size++;
      store<u8>(open + <usize>size, <u8>byte);
    }
    if (size == 0) return false;
    store<u8>(open, <u8>size);
    this.list_size = <u32>(open + 1 + <usize>size - this.list);
    // as many sizes as commas and key, and no more bytes than the text
    assert(this.list_size <= PARAM_SIZE);
    return true;
  }
}

function hex_digit(byte: u32): i32 {
  const digit = byte - 0x30;
  if (digit < 10) return <i32>digit;
  const letter = (byte | 0x20) - 0x61; // either case
  return letter < 6 ? <i32>letter + 10 : -1;
}

@unmanaged
class Match extends Job {
  @inline filter(): void {
    if (!this.fits || !this.matches(settings<Wanted>(this.subscriber))) return this.drop();
    this.rewrite();
    this.send_rewritten();
  }

  /** Most alternatives differ in their first byte, so that is looked at before all else. */
  @inline private matches(wanted: Wanted): bool {
    if (!this.has(wanted.offset, 1)) return false;
    const there = this.payload + <usize>wanted.offset;
    const room = this.payload_length - wanted.offset;
    const first = load<u8>(there);
    const end = wanted.list + <usize>wanted.list_size;
    for (let at = wanted.list; at < end; at += 1 + <usize>load<u8>(at)) {
      if (load<u8>(at, 1) != first) continue;
      const size = <u32>load<u8>(at);
      if (size <= room && same(there, at + 1, size)) return true;
    }
    return false;
  }
}

/** Byte by byte: a wider load could reach past the packet. */
@inline
function same(there: usize, bytes: usize, size: u32): bool {
  let index: usize = 1;
  while (index < <usize>size && load<u8>(there + index) == load<u8>(bytes + index)) index++;
  return index == <usize>size;
}

export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<Match>(jobs, first, count);
}
