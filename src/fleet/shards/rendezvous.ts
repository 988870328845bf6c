/**
 * Which shard a subscriber is of, and whose a shard should be. Pure, and the same in every member:
 * all see the same members in etcd, so all find the same winner without a word to each other.
 */
import { createHash } from 'node:crypto';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';

export const SHARDS = 256;

/** The first byte of the SHA-256 of `ip:port`. */
export function shardOf(endpoint: Endpoint): number {
  return createHash('sha256').update(endpointText(endpoint)).digest()[0] ?? 0; // it has 32
}

/** Whoever may own shards. */
export interface Candidate {
  readonly name: string;
  readonly weight: number;
}

/**
 * Weighted rendezvous hashing: the highest of -weight / ln(u), u the hash of member and shard in
 * (0, 1) (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005, in the form
 * of J. Resch, "New hashing algorithms for data storage", SNIA SDC 2015). Each member wins a share
 * of all shards as large as its weight; when one goes, only its shards get other winners.
 */
export function winnerOf(shard: number, candidates: Iterable<Candidate>): string | null {
  let best = { name: '', score: 0 }; // every score is above 0
  for (const { name, weight } of candidates) {
    const score = -weight / Math.log(unitOf(name, shard));
    // of equal scores the first name, so that all agree
    const isFirst = score === best.score && name < best.name;
    if (score > best.score || isFirst) best = { name, score };
  }
  return best.name === '' ? null : best.name;
}

/** Members that are remembered: so many hashes of 256 each. */
const REMEMBERED_MAX = 1024;
const remembered = new Map<string, Float64Array>();

/** In (0, 1), with 52 bits of the SHA-256 of `member/shard`. */
function unitOf(member: string, shard: number): number {
  let units = remembered.get(member);
  if (units === undefined) {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    units = Float64Array.from({ length: SHARDS }, (_, each) => {
      const digest = createHash('sha256').update(`${member}/${each}`).digest();
      const bits = digest.readUIntBE(0, 6) * 16 + ((digest[6] ?? 0) >> 4);
      return (bits + 0.5) / 2 ** 52;
    });
    remembered.set(member, units);
  }
  return units[shard] ?? 0.5; // a shard is below SHARDS
}
