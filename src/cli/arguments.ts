/**
 * A word of a command line → its value: what commander takes as `argParser`. A word that is none is
 * a UsageError, one sentence that quotes it and gives an example; commander's InvalidArgumentError
 * and `choices` would put words of their own in front of that sentence.
 */

import ipaddr from 'ipaddr.js';
import { isAddress, isPort } from '../domain/endpoint.js';
import { UsageError } from '../domain/errors.js';
import {
  type FeedAddress,
  type FeedChoice,
  feedAddressOf,
  feedChoiceOf,
  isFeedName,
  type NamedFeed,
} from '../domain/feed.js';
import { paramOf } from '../domain/filter.js';
import { LEASE_SECONDS_MAX } from '../domain/lease.js';
import { LEGACY_PORT } from '../legacy/protocol.js';
import { limits } from '../memory/layout.js';
import type { Config } from '../replicator/config.js';

export type Parse<Value> = (word: string) => Value;

interface Range {
  readonly min: number;
  readonly max: number;
}

/** Interface names are at most 15 bytes (IFNAMSIZ); `-` is none. */
const INTERFACE_NAME = /^(-|[^\s/:]{1,15})$/;

/** In each of these `name` is the argument as the help calls it, such as dest_ip or --rate. */
export function address(name: string): Parse<string> {
  return (word) => {
    if (isAddress(word)) return word;
    throw new UsageError(`${name} must be an IPv4 address such as 10.0.0.34, not '${word}'`);
  };
}

export function port(name: string): Parse<number> {
  return (word) => {
    const value = /^[1-9][0-9]*$/.test(word) ? Number(word) : Number.NaN;
    if (isPort(value)) return value;
    throw new UsageError(`${name} must be a port from 1 to 65535, not '${word}'`);
  };
}

export function integer(name: string, { min, max }: Range): Parse<number> {
  return (word) => {
    const value = /^[0-9]+$/.test(word) ? Number(word) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(`${name} must be a whole number from ${min} to ${max}, not '${word}'`);
  };
}

export function number(name: string, { min, max }: Range): Parse<number> {
  return (word) => {
    const value = /^[0-9]+(\.[0-9]+)?$/.test(word) ? Number(word) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(`${name} must be a number from ${min} to ${max}, not '${word}'`);
  };
}

/** One of a few; shells complete them. */
export interface Choice<Word extends string> extends Parse<Word> {
  readonly words: readonly Word[];
}

export function oneOf<Word extends string>(name: string, words: readonly Word[]): Choice<Word> {
  const parse = (word: string): Word => {
    const found = words.find((each) => each === word);
    if (found !== undefined) return found;
    throw new UsageError(`${name} must be one of ${words.join(', ')}, not '${word}'`);
  };
  return Object.assign(parse, { words });
}

/** `zero` or `full`, of `filter test`: the one flag whose two choices are named without a list. */
export function checksum(word: string): 'zero' | 'full' {
  if (word === 'zero' || word === 'full') return word;
  throw new UsageError(`--udp-checksum must be zero or full, not '${word}'`);
}

/** `0`, `0-3`, `0,2`: numbers without repetition, in the order given. */
export function numberList(name: string, max: number): Parse<number[]> {
  return (word) => {
    const found = new Set<number>();
    for (const part of word.split(',')) {
      const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part);
      const from = Number(match?.[1]);
      const to = Number(match?.[2] ?? match?.[1]);
      if (match === null || from > to || to > max)
        throw new UsageError(
          `${name} must be numbers up to ${max} such as 0, 0-3 or 0,2, not '${word}'`,
        );
      for (let i = from; i <= to; i++) found.add(i);
    }
    return [...found];
  };
}

/** Ascending, or `all`. */
export function queues(word: string): Config['queues'] {
  if (word === 'all') return 'all';
  return numberList('--queues', limits.QUEUES_MAX - 1)(word).sort((a, b) => a - b);
}

export function interfaceName(word: string): string {
  if (INTERFACE_NAME.test(word)) return word;
  throw new UsageError(`'${word}' cannot name a network interface; see: ip link`);
}

/** Where to listen: IP:PORT. */
export function listenAddress(word: string): { address: string; port: number } {
  const colon = word.lastIndexOf(':');
  if (colon < 0)
    throw new UsageError(`--control must be IP:PORT such as 127.0.0.1:12345, not '${word}'`);
  return {
    address: address('the address of --control')(word.slice(0, colon)),
    port: port('the port of --control')(word.slice(colon + 1)),
  };
}

/** Whence a feed comes: IP, or IP:PORT. */
export function source(word: string): { ip: string; port: number | null } {
  const [ip = '', portWord, ...more] = word.split(':');
  if (more.length > 0)
    throw new UsageError(`--source must be IP or IP:PORT such as 10.0.0.9:7000, not '${word}'`);
  return {
    ip: address('the address of --source')(ip),
    port: portWord === undefined ? null : port('the port of --source')(portWord),
  };
}

/** Where to serve legacy control: IP, or IP:PORT. */
export function legacyAddress(word: string): { address: string; port: number } {
  const [ip = '', portWord, ...more] = word.split(':');
  if (more.length > 0)
    throw new UsageError(
      `--legacy-control must be IP or IP:PORT such as 10.0.0.5:12345, not '${word}'`,
    );
  return {
    address: address('the address of --legacy-control')(ip),
    port: portWord === undefined ? LEGACY_PORT : port('the port of --legacy-control')(portWord),
  };
}

/** One more subnet, behind those of the flags before it. */
export function subnets(word: string, before: readonly string[] | undefined): string[] {
  try {
    const [ip, prefix] = ipaddr.IPv4.parseCIDR(word.includes('/') ? word : `${word}/32`);
    return [...(before ?? []), `${ip.toString()}/${prefix}`];
  } catch {
    throw new UsageError(`--allow must be a subnet such as 10.0.0.0/24, not '${word}'`);
  }
}

/** One more module that may run, by its SHA-256; or any. */
export function moduleHashes(word: string, before: readonly string[] = []): string[] {
  if (word === 'any' || /^[0-9a-f]{64}$/.test(word)) return [...before, word];
  throw new UsageError(
    `--fleet-allow-module must be the 64 hex digits of a SHA-256, or any, not '${word}'`,
  );
}

export function feedName(word: string): string {
  if (isFeedName(word)) return word;
  throw new UsageError(
    `the name of a feed is 1 to 32 of a-z, 0-9, _ and -, and not all: not '${word}'`,
  );
}

/** IP:PORT, and @SOURCE behind it. */
export function feedAddress(word: string): FeedAddress {
  const found = feedAddressOf(word);
  if (found !== null) return found;
  throw new UsageError(
    `a feed is sent to IP:PORT, such as 239.1.1.1:5000, or 239.1.1.1:5000@10.0.0.9 from that host alone, not '${word}'`,
  );
}

/** One more feed, NAME=IP:PORT, behind those of the flags before it. */
export function namedFeeds(word: string, before: readonly NamedFeed[] = []): NamedFeed[] {
  const [name = '', ...rest] = word.split('=');
  const feed = { name: feedName(name), ...feedAddress(rest.join('=')) };
  const same = before.find((each) => each.name === feed.name);
  if (feed.name === 'main' || same !== undefined)
    throw new UsageError(`--feed ${word}: there is a feed ${feed.name} already`);
  return [...before, feed];
}

/** Names of feeds of a subscriber, or `all`. */
export function feedChoice(word: string): FeedChoice {
  const found = feedChoiceOf(word);
  if (found !== null) return found;
  throw new UsageError(`--feed must be all, or names such as main,b, not '${word}'`);
}

/** Seconds, or `session`: as long as the command runs. */
export function lease(word: string): number | 'session' {
  if (word === 'session') return word;
  return integer('--lease', { min: 1, max: LEASE_SECONDS_MAX })(word);
}

/** The bytes of a filter's parameter: for a filter that is called in this process. */
export function paramBytes(word: string): Uint8Array {
  const bytes = paramOf(word);
  if (bytes === null)
    throw new UsageError(
      `--param must be text, or hex: and pairs of hex digits such as hex:4d4f, not '${word}'`,
    );
  if (bytes.length <= limits.PARAM_SIZE) return bytes;
  throw new UsageError(`--param may have ${limits.PARAM_SIZE} bytes, not ${bytes.length}`);
}

/** A parameter as it was written: for a replicator, which decodes it and knows its limit. */
export function paramText(word: string): string {
  if (paramOf(word) !== null) return word;
  throw new UsageError(`--param takes text, or hex: and pairs of digits, not '${word}'`);
}
