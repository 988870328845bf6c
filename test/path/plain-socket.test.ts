/**
 * A subscriber receives what an ordinary UDP socket in fantail's place would have received, byte
 * for byte. The oracle is such a socket: on a second link with the same addresses, to which the
 * same frames are sent.
 *
 * needs: a link
 */

import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Endpoint, isMulticast } from '../../src/domain/endpoint.js';
import { addon } from '../../src/memory/addon.js';
import {
  batchOf,
  KINDS,
  type Kind,
  longDatagram,
  type Target,
  withPriority,
} from '../rig/kinds.js';
import { GROUP, HOSTS, Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, ROOT, run, sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, flagsOf, networkTest, socketMode, withReplicator } from '../rig/scenario.js';
import { LISTEN_PORT } from '../rig/wire.js';

const test = suite('plain socket');

const SUBSCRIBER = { ip: HOSTS[0] ?? '', port: 9101 };
const WIRE_FRAMES = join(ROOT, 'native', 'build', 'wire-frames');
/** Nothing more comes after so long. */
const QUIET_MS = 200;
/** More than a fragment needs, and a batch. */
const PAYLOAD_SIZE = 64;
const BUFFER_SIZE = 8 << 20;

const EVERY_KIND: readonly Kind[] = [
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
      ? addon.openListener(namespace, { ip, port, device: 'rep0' })
      : addon.openUdp(namespace, { ip, port, device: null, drop: false, reuse: false });
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
    this.link = new Link(like.options);
    const { replicatorMac } = like;
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

function sendOn(link: Link, lines: readonly string[]): void {
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

const payloadOf = (number: number): Buffer =>
  Buffer.from(`[${number}]`.padEnd(PAYLOAD_SIZE, `${number} abcdefghijklmnopqrstuvwxyz`));

/** Every kind to both, and what each has received. */
async function compare(
  replicator: Replicator,
  target: Target,
  kinds: readonly Kind[],
): Promise<void> {
  const { link } = replicator;
  const oracle = new Oracle(link, target);
  const subscriber = new Receiver(link.net, SUBSCRIBER);
  try {
    await replicator.subscribe([SUBSCRIBER]);
    kinds.forEach(({ lines }, number) => {
      const frames = lines(target, payloadOf(number));
      oracle.send(frames);
      sendOn(link, frames);
    });
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

const RUNS = [
  ['copy, inline', copyMode('inline')],
  ['copy, split', copyMode('split')],
  ['skb, inline', flagsOf('skb')('inline')],
  ['socket, inline', socketMode('inline')],
] as const;

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `of ${EVERY_KIND.length} kinds of frame a subscriber receives what a socket would: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags }, (replicator) =>
        compare(
          replicator,
          { mac: link.replicatorMac, ip: REPLICATOR_IP, port: LISTEN_PORT },
          EVERY_KIND,
        ),
      );
    },
  );

networkTest(
  test,
  'who never sleeps receives what only the kernel can read, too, when nothing else comes',
  { queues: 1 },
  async (link) => {
    const flags = copyMode('inline', '--busy-poll');
    const target = { mac: link.replicatorMac, ip: REPLICATOR_IP, port: LISTEN_PORT };
    const unusual = KINDS.filter(({ name }) => /option|alert|fragments/.test(name));
    assert.ok(unusual.length > 5);
    await withReplicator({ link, flags }, (replicator) => compare(replicator, target, unusual));
  },
);

networkTest(
  test,
  'a datagram that is longer than the MTU, or than a frame, is counted by name',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      await replicator.subscribe([SUBSCRIBER]);
      const target = { mac: link.replicatorMac, ip: REPLICATOR_IP, port: LISTEN_PORT };
      for (const size of [1472, 1473, 3798, 3799, 20_000])
        sendOn(link, longDatagram(size).lines(target, payloadOf(size)));
      const counted = async () => {
        const { feed, subscribers } = await replicator.stats();
        const [row] = subscribers;
        return [feed.slow_path, feed.drops.invalid_too_long, row?.drops.too_big, row?.sent];
      };
      await eventually('all are counted', async () => (await counted())[0] === 4);
      await sleep(QUIET_MS);
      assert.equal(await counted(), [4, 2, 2, 1]);
      await replicator.check();
    });
  },
);

networkTest(
  test,
  'a new MAC of the interface is that of the feed from then on, whoever watches over it',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: copyMode('inline') };
    const macs = ['02:77:00:00:01:01', '02:77:00:00:01:02'];
    const kind = KINDS.filter(({ name }) => name === 'plain');
    const assertTaken = async (replicator: Replicator, mac: string, count: number) => {
      const frames = kind.flatMap(({ lines }) =>
        lines({ mac, ip: REPLICATOR_IP, port: LISTEN_PORT }, payloadOf(0)),
      );
      sendOn(link, frames);
      await eventually('AF_XDP has taken it', async () => {
        const { xdp } = await replicator.stats();
        return xdp.redirect === count && xdp.foreign_mac === 0;
      });
    };
    const first = await Replicator.start(options);
    const change = (mac: string) => link.ip('replicator', 'link', 'set', 'rep0', 'address', mac);
    change(macs[0] ?? '');
    await eventually('it is told', () => /has changed its mac/.test(first.told()));
    await assertTaken(first, macs[0] ?? '', 1);
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    change(macs[1] ?? '');
    const second = await Replicator.start(options);
    try {
      await assertTaken(second, macs[1] ?? '', 2);
      await second.stop();
    } finally {
      second.close();
      first.close();
    }
  },
);

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `of a group, too, it receives what a socket that has joined it would: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags, listenIp: GROUP.ip }, (replicator) =>
        compare(replicator, { ...GROUP, port: LISTEN_PORT }, EVERY_KIND),
      );
    },
  );

test.run();
