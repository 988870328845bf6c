/**
 * An ordinary UDP socket as the oracle of what a subscriber must receive: on a second link, with
 * the replicator's addresses, to which the same frames are sent.
 */

import { closeSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Endpoint, isMulticast } from '../../src/domain/endpoint.js';
import { addon } from '../../src/memory/addon.js';
import { batchOf, KINDS, type Kind, type Target, withPriority } from './kinds.js';
import { HOSTS, Link } from './link.js';
import { eventually, ROOT, run, sleep } from './program.js';
import type { Replicator } from './replicator.js';

export const SUBSCRIBER = { ip: HOSTS[0] ?? '', port: 9101 };
const WIRE_FRAMES = join(ROOT, 'native', 'build', 'wire-frames');
/** Nothing more comes after so long. */
export const QUIET_MS = 200;
/** More than a fragment needs, and a batch. */
const PAYLOAD_SIZE = 64;
const BUFFER_SIZE = 8 << 20;

export const EVERY_KIND: readonly Kind[] = [
  ...KINDS,
  ...KINDS.map(withPriority),
  batchOf(PAYLOAD_SIZE),
  batchOf(PAYLOAD_SIZE / 2),
];

/** A UDP socket of a namespace that keeps what it receives. */
class Receiver {
  readonly datagrams: string[] = [];
  private readonly fd: number;
  private readonly buffer = new Uint8Array(0x10000);

  constructor(namespace: string, { ip, port }: Endpoint) {
    this.fd = isMulticast(ip)
      ? addon.openListener(namespace, {
          ...{ ip, port, device: 'rep0' },
          ...{ joins: true, source: null, ofOthers: false },
        })
      : addon.openUdp(namespace, { ip, port });
    addon.setReceiveBuffer(this.fd, BUFFER_SIZE);
  }

  /** Takes what has come. */
  take(): void {
    for (;;) {
      const length = addon.receiveUdp(this.fd, this.buffer, 0);
      if (length < 0) return;
      this.datagrams.push(Buffer.from(this.buffer.subarray(0, length)).toString('latin1'));
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Another link with a socket in the replicator's place, its MAC and addresses the same. */
class Oracle {
  readonly receiver: Receiver;
  private readonly link: Link;

  constructor(like: Link, target: Target) {
    const { devices: _, ...options } = like.options;
    const { replicatorMac } = like;
    this.link = new Link(options);
    this.link.ip('replicator', 'link', 'set', 'rep0', 'address', replicatorMac);
    this.receiver = new Receiver(this.link.replicator, target);
  }

  send(lines: readonly string[]): void {
    sendOn(this.link, lines);
  }

  close(): void {
    this.receiver.close();
    this.link.close();
  }
}

/** Frames of kinds.ts, from net0. */
export function sendOn(link: Link, lines: readonly string[]): void {
  const command = ['netns', 'exec', link.net, WIRE_FRAMES, '--interface', 'net0'];
  run('ip', command, `${lines.join('\n')}\n`);
}

/** By the kind that a datagram's payload names. */
function byKind(datagrams: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const datagram of datagrams) {
    const name = /^\[(\d+)\]/.exec(datagram)?.[1] ?? 'none';
    found.set(name, [...(found.get(name) ?? []), datagram].sort());
  }
  return found;
}

/** That names its kind. */
export const payloadOf = (number: number): Buffer =>
  Buffer.from(`[${number}]`.padEnd(PAYLOAD_SIZE, `${number} abcdefghijklmnopqrstuvwxyz`));

/** Sends every kind to both, and demands that a subscriber receives what the socket does. */
export async function compare(
  replicator: Replicator,
  target: Target,
  kinds: readonly Kind[],
): Promise<void> {
  const { link } = replicator;
  const oracle = new Oracle(link, target);
  const subscriber = new Receiver(link.net, SUBSCRIBER);
  try {
    await replicator.subscribe([SUBSCRIBER]);
    const frames = kinds.flatMap(({ lines }, number) => lines(target, payloadOf(number)));
    oracle.send(frames);
    sendOn(link, frames);
    const both = [oracle.receiver, subscriber];
    const count = () => {
      for (const each of both) each.take();
      return both.map(({ datagrams }) => datagrams.length);
    };
    await eventually('as many have come to the one as to the other', () => {
      const [expected, received] = count();
      return expected === received;
    }).catch(() => {}); // what is missing is told below
    await sleep(QUIET_MS);
    count();
    const [expected, received] = both.map(({ datagrams }) => byKind(datagrams));
    const nameOf = (number: string) => kinds[Number(number)]?.name ?? 'the rest of batches';
    const numbers = new Set([expected, received].flatMap((each) => [...(each?.keys() ?? [])]));
    const different = [...numbers].flatMap((number) => {
      const [wanted, got] = [expected, received].map((each) =>
        JSON.stringify(each?.get(number) ?? []),
      );
      if (wanted === got) return [];
      return [`${nameOf(number)}: a socket receives ${wanted}, not ${got}`];
    });
    assert.equal(different, []);
    assert.ok(
      (expected?.size ?? 0) > kinds.length / 3,
      'a socket does receive a good part of them',
    );
    await replicator.check();
  } finally {
    subscriber.close();
    oracle.close();
  }
}
