/** What a copy takes of an Ethernet link. */

/** Preamble and delimiter 8, check sequence 4, gap 12 (IEEE 802.3, clauses 3.1.1 and 4.4.2). */
const AROUND_FRAME_BYTES = 24;
/** Ethernet 14 (IEEE 802.3, 3.1.1), IPv4 20 (RFC 791), UDP 8 (RFC 768). */
const HEADERS_BYTES = 42;
/** Without its check sequence (IEEE 802.3, minFrameSize 64): shorter frames are padded. */
const FRAME_BYTES_MIN = 60;

/** Of one copy, all that the link is busy with. */
export const wireBytes = (payload_bytes: number): number =>
  Math.max(FRAME_BYTES_MIN, HEADERS_BYTES + payload_bytes) + AROUND_FRAME_BYTES;

/** 1 Gbit/s is a bit a nanosecond. */
export const wireTime_us = (payload_bytes: number, link_gbps: number): number =>
  (wireBytes(payload_bytes) * 8) / link_gbps / 1000;
