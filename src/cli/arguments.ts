/**
 * Words of a command line → values, for arguments that several commands take. A word that is none
 * is a UsageError: one sentence that quotes it and gives an example.
 */

import { isAddress, isPort } from '../domain/endpoint.js';
import { UsageError } from '../domain/errors.js';
import { limits } from '../memory/layout.js';

export interface Destination {
  ip: string;
  port: number;
}

/** `name` is the argument as the help calls it, such as dest_ip. */
export function addressOf(name: string, text: string): string {
  if (isAddress(text)) return text;
  throw new UsageError(`${name} must be an IPv4 address such as 10.0.0.34, not '${text}'`);
}

export function portOf(name: string, text: string): number {
  const port = /^[1-9][0-9]*$/.test(text) ? Number(text) : Number.NaN;
  if (isPort(port)) return port;
  throw new UsageError(`${name} must be a port from 1 to 65535, not '${text}'`);
}

export function destinationOf(ip: string, port: string): Destination {
  return { ip: addressOf('dest_ip', ip), port: portOf('dest_port', port) };
}

interface Range {
  min: number;
  max: number;
}

export function integerOf(name: string, text: string, { min, max }: Range): number {
  const number = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new UsageError(`${name} must be a whole number from ${min} to ${max}, not '${text}'`);
}

export function numberOf(name: string, text: string, { min, max }: Range): number {
  const number = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new UsageError(`${name} must be a number from ${min} to ${max}, not '${text}'`);
}

/** A filter's parameter: the text's own bytes, or those after `hex:`. */
export function paramOf(name: string, text: string): Uint8Array {
  const isHex = text.startsWith('hex:');
  if (isHex && !/^([0-9a-f]{2})*$/i.test(text.slice(4))) {
    throw new UsageError(
      `${name} must be text, or hex: and pairs of hex digits such as hex:4d4f, not '${text}'`,
    );
  }
  const bytes = isHex ? Buffer.from(text.slice(4), 'hex') : Buffer.from(text);
  if (bytes.length <= limits.PARAM_SIZE) return bytes;
  throw new UsageError(`${name} may have ${limits.PARAM_SIZE} bytes, not ${bytes.length}`);
}
