/**
 * A subscriber's parameter as `key=value` words: read once, remembered while it stays the same.
 *
 *   @unmanaged class Service extends Settings {
 *     ttl: u32;
 *     read(): void {
 *       this.ttl = this.number('ttl', 1, 255, 0); // 0: none is asked for
 *     }
 *   }
 *   … settings<Service>(this.subscriber).ttl, and .is_valid …
 *
 * Words are apart by spaces; keys and values are ASCII. `read` asks for every key that there may
 * be, and is called only when the parameter is another one than at the last look: per packet it
 * costs a comparison. A word that it does not ask for, that comes twice, or whose value is not as
 * asked makes `is_valid` false; no text makes it trap.
 *
 * What was read lies in the module's own memory, behind its data, in one place for each subscriber.
 * Two that fall on one place take turns and are read each time: that is slow, never wrong.
 */
import {
  PARAM_SIZE,
  SUBSCRIBERS_MAX,
  SUBSCRIBER_PARAM,
  SUBSCRIBER_PARAM_LENGTH,
  SUBSCRIBER_SIZE,
  WINDOW_JOBS,
} from './layout';

/** Bytes of a place: a Settings, and 120 for the fields of the class that extends it. */
const PLACE_SIZE: usize = 192;

const SPACE: u32 = 0x20;
const EQUALS: u32 = 0x3d;
const ZERO: u32 = 0x30;

/**
 * What T has read from the parameter in that record. T extends Settings and has the method read().
 */
@inline
export function settings<T>(subscriber: usize): T {
  assert(offsetof<T>() <= PLACE_SIZE); // larger ones would overlap
  const place = place_of(subscriber);
  if (!changetype<Settings>(place).are_of(subscriber)) {
    changetype<Settings>(place).copy(subscriber);
    changetype<T>(place).read();
  }
  return changetype<T>(place);
}

/** Records stand side by side, so their places do. */
@inline
function place_of(subscriber: usize): usize {
  const places = (__heap_base + 63) & ~63;
  // the end of the module's own memory
  assert(places + <usize>SUBSCRIBERS_MAX * PLACE_SIZE <= <usize>WINDOW_JOBS);
  const index = (<u32>subscriber / SUBSCRIBER_SIZE) % SUBSCRIBERS_MAX;
  return places + <usize>index * PLACE_SIZE;
}

@unmanaged
export class Settings {
  /** 1 + the parameter's bytes; 0: nothing was read here yet. */
  private known: u32;
  /** Words that nobody has understood yet. */
  private words_left: u32;
  // PARAM_SIZE bytes, zero-filled as the parameter is
  private text_0: u64;
  private text_1: u64;
  private text_2: u64;
  private text_3: u64;
  private text_4: u64;
  private text_5: u64;
  private text_6: u64;
  private text_7: u64;

  /** Whether every word was understood. */
  @inline get is_valid(): bool {
    return this.words_left == 0;
  }

  /** Whether this was read from the parameter as it is now. */
  @inline are_of(subscriber: usize): bool {
    const param = subscriber + SUBSCRIBER_PARAM;
    const front =
      <u64>(this.known - 1 - <u32>load<u16>(subscriber, SUBSCRIBER_PARAM_LENGTH)) |
      (this.text_0 ^ load<u64>(param)) |
      (this.text_1 ^ load<u64>(param, 8));
    if (front != 0) return false;
    if (this.known <= 1 + 16) return true; // most are short; the rest is zeros in both
    const back =
      (this.text_2 ^ load<u64>(param, 16)) |
      (this.text_3 ^ load<u64>(param, 24)) |
      (this.text_4 ^ load<u64>(param, 32)) |
      (this.text_5 ^ load<u64>(param, 40)) |
      (this.text_6 ^ load<u64>(param, 48)) |
      (this.text_7 ^ load<u64>(param, 56));
    return back == 0;
  }

  /** Takes the parameter over; no word of it is understood yet. */
  copy(subscriber: usize): void {
    for (let at: usize = 0; at < <usize>PARAM_SIZE; at += 8) {
      store<u64>(this.text + at, load<u64>(subscriber + SUBSCRIBER_PARAM + at));
    }
    this.known = 1 + <u32>load<u16>(subscriber, SUBSCRIBER_PARAM_LENGTH);
    this.words_left = 0;
    const end = this.text_end;
    for (let at = word_start(this.text, end); at < end; at = word_start(word_end(at, end), end)) {
      this.words_left++;
    }
  }

  /** The number from `least` to `most` that the word `key=` gives; `otherwise` without one. */
  number(key: string, least: u32, most: u32, otherwise: u32): u32 {
    const from = this.value_of(key);
    if (from == 0) return otherwise;
    const end = this.end_of(from);
    if (from == end) return otherwise;
    let value: u64 = 0;
    for (let at = from; at < end; at++) {
      const digit = <u32>load<u8>(at) - ZERO;
      if (digit > 9) return otherwise;
      value = value * 10 + digit;
      if (value > <u64>most) return otherwise;
    }
    if (value < <u64>least) return otherwise;
    this.understand();
    return <u32>value;
  }

  /** Whether the word `key=` gives exactly that value. */
  is(key: string, value: string): bool {
    const from = this.value_of(key);
    if (from == 0 || !begins(from, this.end_of(from), value)) return false;
    if (this.end_of(from) - from != <usize>value.length) return false;
    this.understand();
    return true;
  }

  /**
   * For values of another kind: where that of the first word `key=` starts; 0 without such a word.
   */
  value_of(key: string): usize {
    const end = this.text_end;
    for (let at = word_start(this.text, end); at < end; at = word_start(word_end(at, end), end)) {
      const equals = at + <usize>key.length;
      if (begins(at, end, key) && equals < end && <u32>load<u8>(equals) == EQUALS) return equals + 1;
    }
    return 0;
  }

  /** Where a value that starts there ends. */
  end_of(value: usize): usize {
    return word_end(value, this.text_end);
  }

  /** Says that the word whose value was asked for is as it must be. */
  understand(): void {
    this.words_left--;
  }

  @inline private get text(): usize {
    return changetype<usize>(this) + offsetof<Settings>('text_0');
  }

  @inline private get text_end(): usize {
    return this.text + <usize>min(this.known - 1, PARAM_SIZE);
  }
}

function word_start(at: usize, end: usize): usize {
  while (at < end && <u32>load<u8>(at) <= SPACE) at++;
  return at;
}

function word_end(at: usize, end: usize): usize {
  while (at < end && <u32>load<u8>(at) > SPACE) at++;
  return at;
}

function begins(at: usize, end: usize, text: string): bool {
  for (let index = 0; index < text.length; index++) {
    const byte = at + <usize>index;
    if (byte >= end || <i32>load<u8>(byte) != text.charCodeAt(index)) return false;
  }
  return true;
}
