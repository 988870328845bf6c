/**
 * A subscriber receives what an ordinary UDP socket in fantail's place would have received, byte
 * for byte. The oracle is such a socket: on a second link with the same addresses, to which the
 * same frames are sent.
 *
 * needs: a link
 * takes: 20 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KINDS, longDatagram } from '../rig/kinds.js';
import { GROUP, REPLICATOR_IP } from '../rig/link.js';
import {
  compare,
  EVERY_KIND,
  payloadOf,
  QUIET_MS,
  SUBSCRIBER,
  sendOn,
} from '../rig/plain-socket.js';
import { eventually, sleep } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, withReplicator } from '../rig/scenario.js';
import { LISTEN_PORT } from '../rig/wire.js';

const test = suite('plain socket');

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
