/**
 * The shared secret of a control channel: read from a file by both sides, compared in constant time
 * by the server. It is never logged, nor quoted in an error.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { Failure, messageOf } from '../../domain/errors.js';
import { readWhole } from '../../domain/process/whole-file.js';
import { TOKEN_LENGTH_MAX } from '../constants.js';

/** Bytes; a token, and what an editor leaves around it. */
const FILE_SIZE_MAX = 4096;

/** Of a file's mode: everybody may read it. */
const OTHERS_READ = 0o004;

/**
 * The token in a file: one word of printable ASCII, so that it fits a header and a typed line. A
 * file that everybody may read is refused.
 */
export function readToken(path: string): string {
  const { token, mode } = contentsOf(path);
  if ((mode & OTHERS_READ) !== 0)
    throw new Failure(`everybody may read the token file ${path}; mend it with: chmod 600 ${path}`);
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

function contentsOf(path: string): { token: string; mode: number } {
  try {
    const { bytes, mode } = readWhole(path, FILE_SIZE_MAX);
    return { mode, token: bytes.toString().trim() };
  } catch (thrown) {
    throw new Failure(`cannot read the token: ${messageOf(thrown)}`);
  }
}

/**
 * Compares digests, which have one length: the time taken tells nothing about where, or how long,
 * they differ.
 */
export function sameToken(offered: string, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(offered), digest(token));
}
