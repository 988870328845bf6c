/**
 * Packets for subscribers, and the window that a stock filter is asked about them in: jobs go in as
 * a worker writes them, frames come out as it would send them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Filter, instantiate } from '../../../src/filters/module.js';
import { limits, membersOf, offsetOf } from '../../../src/memory/layout.js';
import { ROOT } from '../../rig/program.js';
import type { Random } from '../../rig/random.js';
import { foldedSum, internetChecksum, type Subscriber } from '../rewrite-oracle.js';

export const FOLDER = join(ROOT, 'build', 'filters');
/** Jobs of a call. */
export const JOBS = 64;
const { WINDOW_FRAMES, WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS } = limits;

export const moduleOf = (name: string) => readFileSync(join(FOLDER, `${name}.wasm`));

// ---- one packet for one subscriber, and the window that it is asked in --------------------------

export interface Job extends Subscriber {
  /** From Ethernet on. */
  readonly packet: readonly number[];
  /** Where it lies; jobs of one packet share it. */
  readonly frame: number;
  readonly receiveNs: bigint;
  readonly row: number;
  readonly epoch: bigint;
  /** Of the subscriber: who has the same feeds and parameter. */
  readonly set: bigint;
  readonly param: string;
  readonly checksum: 'zero' | 'full';
}

/** A loaded filter and its window. */
export class Bench {
  readonly memory: WebAssembly.Memory;
  readonly filter: Filter;
  readonly #bytes: Buffer;

  constructor(name: string) {
    const pages = (WINDOW_FRAMES + JOBS * limits.FRAME_SIZE) / 0x10000;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.#bytes = Buffer.from(this.memory.buffer);
    this.filter = instantiate(new WebAssembly.Module(moduleOf(name)), this.memory);
  }

  get state(): Buffer {
    return this.#bytes.subarray(WINDOW_STATE, WINDOW_STATE + limits.STATE_SIZE);
  }

  /**
   * Frames as they would be sent, null where the filter drops. The burst is asked in the given
   * parts.
   */
  ask(
    jobs: readonly Job[],
    parts: readonly [first: number, count: number][] = [[0, jobs.length]],
  ): (Buffer | null)[] {
    for (const [index, job] of jobs.entries()) this.#put(index, job);
    for (const [first, count] of parts) this.filter.burst(WINDOW_JOBS, first, count);
    return jobs.map((job, index) => this.#frame(index, job));
  }

  #put(index: number, job: Job): void {
    const packet = WINDOW_FRAMES + job.frame * limits.FRAME_SIZE + 256;
    this.#bytes.set(job.packet, packet);
    const record = WINDOW_SUBSCRIBERS + job.row * limits.SUBSCRIBER_SIZE;
    const field = (name: string) => record + offsetOf('subscriber', name);
    this.#bytes.set(job.targetIp, field('ip'));
    this.#bytes.writeUInt16BE(job.targetPort, field('port'));
    this.#bytes.set(job.targetMac, field('target_mac'));
    this.#bytes.set(job.sourceMac, field('source_mac'));
    this.#bytes.set(job.sourceIp, field('source_ip'));
    this.#bytes.writeUInt16BE(job.sourcePort, field('source_port'));
    this.#bytes[field('ttl')] = job.ttl;
    this.#bytes.writeBigUInt64LE(job.epoch, field('epoch'));
    this.#bytes.writeBigUInt64LE(job.set, field('set'));
    this.#bytes.writeUInt16LE(job.param.length, field('param_length'));
    this.#bytes.fill(0, field('param'), field('param') + limits.PARAM_SIZE);
    this.#bytes.write(job.param, field('param'), 'latin1');
    const put = (name: string, value: number) =>
      this.#bytes.writeUInt32LE(
        value,
        WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', name),
      );
    put('packet', packet);
    put('length', job.packet.length);
    put('slot', WINDOW_SLOTS + index * limits.SLOT_SIZE);
    put('subscriber', record);
    put('verdict', limits.VERDICT_UNSET);
    put(
      'payload_sum',
      job.checksum === 'zero' ? limits.VERDICT_UNSET : foldedSum(job.packet.slice(42)),
    );
    this.#bytes.writeBigUInt64LE(
      job.receiveNs,
      WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', 'receive_ns'),
    );
  }

  #frame(index: number, { packet }: Job): Buffer | null {
    const at = (name: string) => WINDOW_JOBS + index * limits.JOB_SIZE + offsetOf('job', name);
    const verdict = membersOf('filter_verdict')[this.#bytes.readUInt32LE(at('verdict'))];
    assert.ok(verdict === 'send' || verdict === 'drop_copy', `job ${index}: ${verdict}`);
    if (verdict === 'drop_copy') return null;
    const start = this.#bytes.readUInt16LE(at('header_start'));
    const end = start + this.#bytes.readUInt16LE(at('header_length'));
    const replaced = this.#bytes.readUInt32LE(at('replaced'));
    assert.ok(end <= limits.SLOT_SIZE && replaced <= packet.length, `job ${index}: out of bounds`);
    const slot = WINDOW_SLOTS + index * limits.SLOT_SIZE;
    return Buffer.concat([
      this.#bytes.subarray(slot + start, slot + end),
      Buffer.from(packet.slice(replaced)),
    ]);
  }
}

// ---- what a frame should be -------------------------------------------------------------------

export const u16 = (value: number) => [Math.floor(value / 256), value % 256];

export interface Datagram {
  readonly sourceIp: readonly number[];
  readonly targetIp: readonly number[];
  readonly tos: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly content: readonly number[];
}

export function ipv4({ sourceIp, targetIp, tos, ttl, protocol, content }: Datagram): number[] {
  const before = [0x45, tos, ...u16(20 + content.length), 0, 0, 0x40, 0, ttl, protocol];
  const addresses = [...sourceIp, ...targetIp];
  return [
    ...before,
    ...u16(internetChecksum([...before, 0, 0, ...addresses])),
    ...addresses,
    ...content,
  ];
}

export interface Ends {
  readonly sourceIp: readonly number[];
  readonly targetIp: readonly number[];
  readonly ports: readonly number[];
  readonly checksum: 'zero' | 'full';
}

export function udp(
  { sourceIp, targetIp, ports, checksum }: Ends,
  payload: readonly number[],
): number[] {
  const length = u16(8 + payload.length);
  if (checksum === 'zero') return [...ports, ...length, 0, 0, ...payload];
  const sum = internetChecksum([
    ...sourceIp,
    ...targetIp,
    0,
    17,
    ...length,
    ...ports,
    ...length,
    0,
    0,
    ...payload,
  ]);
  return [...ports, ...length, ...u16(sum === 0 ? 0xffff : sum), ...payload];
}

export interface Changes {
  readonly sourceIp?: readonly number[];
  readonly sourcePort?: readonly number[];
  readonly tos?: number;
  readonly ttl?: number;
  readonly payload?: readonly number[];
}

/** The IPv4 datagram of the plain rewrite, from the packet's own port, but for the changes. */
export function datagram(job: Job, changes: Changes = {}): number[] {
  const { targetIp, checksum } = job;
  const {
    sourceIp = job.sourceIp,
    tos = 0,
    ttl = job.ttl,
    payload = job.packet.slice(42),
  } = changes;
  const ports = [...(changes.sourcePort ?? job.packet.slice(36, 38)), ...u16(job.targetPort)];
  const content = udp({ sourceIp, targetIp, ports, checksum }, payload);
  return ipv4({ sourceIp, targetIp, tos, ttl, protocol: 17, content });
}

export const ethernet = (job: Job, ...rest: number[]) => [
  ...job.targetMac,
  ...job.sourceMac,
  ...rest,
];
export const plain = (job: Job, changes: Changes = {}) =>
  ethernet(job, 0x08, 0x00, ...datagram(job, changes));

// ---- random jobs --------------------------------------------------------------------------------

export const bytesOf = (next: Random, count: number) =>
  Array.from({ length: count }, () => next.below(256));

/** Sums turn over at all zeros and all ones. */
function extremeBytes(next: Random, count: number): number[] {
  const kind = next.below(8);
  return kind < 2 ? Array<number>(count).fill(kind * 255) : bytesOf(next, count);
}

/** Mostly small, some up to the largest MTU, some empty. */
function payloadSizeOf(next: Random): number {
  const kind = next.below(12);
  return kind === 0 ? next.below(3471) : kind === 1 ? 0 : next.below(260);
}

export function packetOf(next: Random, payload: readonly number[]): number[] {
  const [sourceIp, targetIp] = [bytesOf(next, 4), bytesOf(next, 4)];
  const ends = { sourceIp, targetIp, ports: bytesOf(next, 4), checksum: 'zero' as const };
  const parts = { sourceIp, targetIp, tos: next.below(256), ttl: next.below(256), protocol: 17 };
  return [...bytesOf(next, 12), 0x08, 0x00, ...ipv4({ ...parts, content: udp(ends, payload) })];
}

export function jobOf(next: Random, index: number, given: Partial<Job> = {}): Job {
  const size = payloadSizeOf(next);
  return {
    packet: packetOf(
      next,
      next.below(6) === 0 ? Array<number>(size).fill(0x41) : bytesOf(next, size),
    ),
    frame: index,
    receiveNs: 1_700_000_000_000_000_000n + BigInt(next.below(0xffffffff)) * 977n,
    row: index,
    targetMac: bytesOf(next, 6),
    sourceMac: bytesOf(next, 6),
    sourceIp: extremeBytes(next, 4),
    sourcePort: next.below(65536),
    targetIp: extremeBytes(next, 4),
    targetPort: next.below(65536),
    ttl: 1 + next.below(255),
    epoch: BigInt(next.below(1000)),
    set: 1n,
    param: '',
    checksum: next.below(2) === 0 ? 'zero' : 'full',
    ...given,
  };
}
