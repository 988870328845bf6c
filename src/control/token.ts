/**
 * The shared secret of a control channel: read from a file by both sides, compared in constant time
 * by the server. It is never logged, nor quoted in an error.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Failure, messageOf } from '../domain/errors.js';
import { TOKEN_LENGTH_MAX } from './constants.js';

/** The token in a file: one word of printable ASCII, so that it fits a header and a typed line. */
export function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, 'utf8').trim();
  } catch (thrown) {
    throw new Failure(`cannot read the token: ${messageOf(thrown)}`);
  }
  if (token === '') {
    throw new Failure(
      `the token file ${path} is empty; fill it with: head -c 24 /dev/urandom | base64 > ${path}`,
    );
  }
  if (token.length > TOKEN_LENGTH_MAX || !/^[\x21-\x7e]+$/.test(token)) {
    throw new Failure(
      `the token in ${path} must be one word of printable ASCII, up to ${TOKEN_LENGTH_MAX} characters`,
    );
  }
  return token;
}

/**
 * Compares digests, which have one length: the time taken tells nothing about where, or how long,
 * they differ.
 */
export function sameToken(offered: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(offered), digest(token));
}
