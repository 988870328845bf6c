/** Feeds in words: how one is called, and where it is sent to. */
import { type Endpoint, isAddress, isMulticast, isPort } from './endpoint.js';

/** Where a feed is sent to and, if it is taken from one host alone, that host. */
export interface FeedAddress extends Endpoint {
  readonly source: string | null;
}

/** A feed as it is asked for. */
export interface NamedFeed extends FeedAddress {
  readonly name: string;
}

/** The first feed. */
export const MAIN = 'main';

/** In place of names: all that there are and will be. */
export const ALL_FEEDS = 'all';

/** Which feeds a subscriber gets: names, or ALL_FEEDS alone. */
export type FeedChoice = readonly string[];

export function isFeedName(text: string): boolean {
  return /^[a-z0-9_-]{1,32}$/.test(text) && text !== ALL_FEEDS;
}

export function isFeedChoice(names: readonly string[]): boolean {
  if (names.length === 1 && names[0] === ALL_FEEDS) return true;
  return names.length > 0 && names.every(isFeedName);
}

/** `239.1.1.1:5000` or `239.1.1.1:5000@10.0.0.9`; null: it is neither. */
export function feedAddressOf(text: string): FeedAddress | null {
  const parts = /^([0-9.]+):([1-9][0-9]{0,4})(?:@([0-9.]+))?$/.exec(text);
  if (parts === null) return null;
  const [, ip = '', digits, source = null] = parts;
  const port = Number(digits);
  const isRight =
    isAddress(ip) &&
    isPort(port) &&
    (source === null || (isAddress(source) && !isMulticast(source)));
  return isRight ? { ip, port, source } : null;
}

/** `main,b`, or `all`; null: it is neither. */
export function feedChoiceOf(text: string): FeedChoice | null {
  const names = text.split(',');
  return isFeedChoice(names) ? names : null;
}
