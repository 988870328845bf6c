/** What both ends of the control channel know: where it is, and how much it takes. */

/** The control port of a replicator that was given none; the next free one if that is taken. */
export const CONTROL_ADDRESS = '127.0.0.1';
export const CONTROL_PORT = 12345;
export const CONTROL_URL = `ws://${CONTROL_ADDRESS}:${CONTROL_PORT}`;

/**
 * Of the operations, their parameters and answers. It grows where a client of before would misread
 * something, not where something is new: what is unknown is passed over.
 */
export const PROTOCOL_VERSION = 1;

/** Bytes of one message; a longer one is TOO_LARGE, unless its operation takes more. */
export const MESSAGE_SIZE_MAX = 64 * 1024;
/** Bytes of a message of a peer that has not shown the token: an `auth` and nothing longer. */
export const BEFORE_TOKEN_SIZE_MAX = 2048;
/** Characters of a request id that is a string. */
export const ID_LENGTH_MAX = 128;
/** Characters of a token. */
export const TOKEN_LENGTH_MAX = 1024;
/**
 * Seconds between two events of `watch`: often enough for an eye, seldom enough for 4096
 * subscribers.
 */
export const WATCH_SECONDS_MIN = 0.1;
export const WATCH_SECONDS_MAX = 3600;

/** Connections served at a time, and those of them that have not shown the token. */
export const SESSIONS_MAX = 256;
export const UNAUTHORIZED_SESSIONS_MAX = 32;
/** Requests of one session in a second; the rest are RATE_LIMITED. */
export const REQUESTS_PER_SECOND_MAX = 2000;
/**
 * Bytes of one session in a second before its socket is not read until that second is over: 2000
 * requests of 2 KiB, or three modules of 1 MiB in base64.
 */
export const BYTES_PER_SECOND_MAX = 4 * 1024 * 1024;

/** Changes that are kept for `changes`; the oldest goes. */
export const CHANGES_MAX = 256;
/** Of them those that were refused, where there are so many that others would go for them. */
export const REFUSALS_MAX = 64;
