/**
 * Several feeds: each subscriber gets those that it chose, from each feed's own port, and a feed
 * that comes or goes costs the others nothing.
 *
 * needs: a link
 * takes: 50 s
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Question } from '../../src/control/operations.js';
import { isLater } from '../rig/channel.js';
import { GROUP, type Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, run } from '../rig/program.js';
import { kill, Replicator, replicatorProcesses } from '../rig/replicator.js';
import { copyMode, networkTest, RUNS, subscribersOf, withReplicator } from '../rig/scenario.js';
import {
  type Destination,
  faultsOf,
  LISTEN_PORT,
  type Route,
  replicatedRoute,
  type Sunk,
  startFeed,
  startSink,
} from '../rig/wire.js';

const test = suite('feeds');
const RATE = 4000;
const COUNT = 1000;
const B_PORT = 9100;
const SETTLE_MS = 10_000;

/** Sends the feed of that port, and tells what came of it from there. */
async function sent(
  link: Link,
  port: number,
  subscribers: readonly Destination[],
  extra: Partial<Parameters<typeof startFeed>[1]> = {},
): Promise<Sunk> {
  const route: Route = { ...replicatedRoute(link), sourcePort: port };
  const sink = await startSink(route, { subscribers, expect: COUNT });
  await startFeed(route, { rate: RATE, count: COUNT, port, ...extra }).result();
  return await sink.within(SETTLE_MS);
}

for (const [name, flags] of RUNS)
  networkTest(
    test,
    `a subscriber gets the feeds that it chose, from each one's own port, and no other: ${name}`,
    { queues: 1 },
    async (link) => {
      await withReplicator({ link, flags }, async (replicator) => {
        const [one, both, all] = subscribersOf(3) as [Destination, Destination, Destination];
        const add = (to: Destination, feeds: string) =>
          replicator.cli('add', to.ip, String(to.port), '--feed', feeds);
        await add(all, 'all');
        await replicator.cli('feed', 'add', 'b', `10.77.0.1:${B_PORT}`);
        await add(one, 'main');
        await add(both, 'main,b');
        assert.equal(faultsOf(await sent(link, LISTEN_PORT, [one, both, all]), COUNT), []);
        // by AF_XDP, then by the kernel
        for (const unusual of [{}, { unusualEvery: 1 }]) {
          const ofB = await sent(link, B_PORT, [both, all], unusual);
          assert.equal(faultsOf(ofB, COUNT), []);
          assert.is(ofB.unexpected, 0, 'copies of b for who did not choose it');
        }
        const { feeds, feed, subscribers } = await replicator.stats();
        assert.equal(
          feeds.map((each) => [each.name, each.received, each.subscribers]),
          [
            ['main', COUNT, 3],
            ['b', 2 * COUNT, 2],
          ],
        );
        assert.equal(feed, feeds[0]);
        assert.equal(
          subscribers.map(({ received, sent: copies }) => [received, copies]),
          [
            [3 * COUNT, 3 * COUNT],
            [COUNT, COUNT],
            [3 * COUNT, 3 * COUNT],
          ],
        );
        await replicator.cli('feed', 'remove', 'b');
        const after = await replicator.stats();
        assert.equal([after.feeds.length, after.removed_feeds.received], [1, 2 * COUNT]);
        await replicator.check();
      });
    },
  );

networkTest(
  test,
  'feeds are asked for by typed lines, and each wrong one is told why',
  { queues: 1 },
  async (link) => {
    const flags = ['--mode', 'copy', '--feed', `c=${GROUP.ip}:9300@10.77.0.2`];
    await withReplicator({ link, flags, inside: true }, async (replicator) => {
      const says = (line: string, answer: RegExp) => replicator.wscat(line, answer);
      await says(`feed add b 10.77.0.1:${B_PORT}`, /ok feed b added/);
      await says(`feed add b 10.77.0.1:${B_PORT}`, /ok feed b was there already/);
      await says('feed add b 10.77.0.1:9101', /error BAD_REQUEST feed b is 10\.77\.0\.1:9100; /);
      await says(
        `feed add d 10.77.0.1:${B_PORT}`,
        /error BAD_REQUEST feed b is .* another address/,
      );
      await says('feed add d 10.77.0.99:9101', /error BAD_ADDRESS .*ip addr add 10\.77\.0\.99/);
      await says(
        'feed add all 10.77.0.1:9101',
        /error BAD_REQUEST "all" is not the name of a feed/,
      );
      await says('feed add d 10.77.0.1', /error BAD_ADDRESS/);
      await says('feed remove main', /error BAD_REQUEST the feed main is there as long/);
      await says('feed remove nobody', /ok feed nobody was not there/);
      await says('add 10.77.0.101 9101 feed=main,b lease=60', /ok 10\.77\.0\.101 9101 added/);
      await says('add 10.77.0.101 9101 feed=nobody', /error NOT_FOUND there is no feed nobody/);
      await says('add 10.77.0.101 9101', /ok 10\.77\.0\.101 9101 was there already/);
      await says('list', /10\.77\.0\.101 9101 .* feeds main,b/);
      await says('add 10.77.0.1 9100', /error NOT_ALLOWED/);
      await says('feed list', /feed 239\.205\.1\.2 9300 .* name c from 10\.77\.0\.2 subscribers 0/);
      await says('feed list', /ok 3 feeds/);
    });
  },
);

networkTest(
  test,
  'of a feed with a source nothing comes from another host, by AF_XDP or by the kernel',
  { queues: 1 },
  async (link) => {
    const [from, other] = ['10.77.0.2', '10.77.0.77'];
    for (const [ip, mac] of [
      [GROUP.ip, GROUP.mac],
      ['10.77.0.1', replicatedRoute(link).targetMac],
    ] as const)
      for (const unusual of [{}, { unusualEvery: 1 }])
        await withReplicator({ link, flags: ['--mode', 'copy'] }, async (replicator) => {
          const [to] = subscribersOf(1) as [Destination];
          const added = { name: 'b', ip, port: B_PORT, source: from };
          await replicator.change({ op: 'feed.add', ...added });
          const { ip: toIp, port } = to;
          await replicator.change({ op: 'add', ip: toIp, port, feeds: ['b'] });
          const route = { ...replicatedRoute(link), targetIp: ip, targetMac: mac };
          const sink = await startSink(
            { ...route, sourcePort: B_PORT },
            { subscribers: [to], expect: COUNT },
          );
          const feed = { rate: RATE, count: COUNT, port: B_PORT, ...unusual };
          await startFeed({ ...route, feedIp: other }, { ...feed, first: 1_000_000 }).result();
          await startFeed({ ...route, feedIp: from }, feed).result();
          assert.equal(faultsOf(await sink.within(SETTLE_MS), COUNT), []);
          const [, b] = (await replicator.stats()).feeds;
          assert.is(b?.received, COUNT);
        });
  },
);

networkTest(
  test,
  'a feed that a worker was slow to follow comes by AF_XDP once it is asked for again',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: copyMode('split') }, async (replicator) => {
      const [worker] = (await replicator.stats()).workers;
      assert.ok(worker !== undefined);
      const added: Question = { op: 'feed.add', name: 'b', ip: REPLICATOR_IP, port: B_PORT };
      process.kill(worker.pid, 'SIGSTOP');
      try {
        await replicator.ask(added).then(
          () => assert.unreachable('the worker stands still'),
          (error) => assert.ok(isLater(error), String(error)),
        );
      } finally {
        kill(worker.pid, 'SIGCONT');
      }
      await replicator.followed(added);
      await startFeed(replicatedRoute(link), { rate: 5000, count: COUNT, port: B_PORT }).result();
      await replicator.settled(({ feeds }) => feeds[1]?.received === COUNT);
      const [, { received, slow_path } = { received: 0, slow_path: 0 }] = (await replicator.stats())
        .feeds;
      assert.equal([received, slow_path], [COUNT, 0]);
    });
  },
);

networkTest(
  test,
  'feeds that come and go a hundred times cost another one nothing',
  { queues: 1 },
  async (link) => {
    await withReplicator({ link, flags: ['--mode', 'copy'] }, async (replicator) => {
      const subscribers = subscribersOf(2);
      await replicator.subscribe(subscribers);
      const count = 20_000;
      const sink = await startSink(replicatedRoute(link), { subscribers, expect: count });
      const feed = startFeed(replicatedRoute(link), { rate: 5000, count }).result();
      for (let turn = 0; turn < 100; turn++) {
        const name = `f${turn % 3}`;
        const ip = turn % 2 === 0 ? GROUP.ip : '10.77.0.1';
        const port = 9200 + (turn % 5);
        await replicator.change({ op: 'feed.add', name, ip, port });
        await replicator.change({ op: 'feed.remove', name });
        const { removed_feeds: removed } = await replicator.stats();
        assert.is(removed.received, 0, 'nothing came of them, and what came of main is not theirs');
      }
      await feed;
      assert.equal(faultsOf(await sink.within(SETTLE_MS), count), [], link.drops().join());
      const ports = run('ip', ['netns', 'exec', link.replicator, 'ss', '-lun']);
      assert.not.match(ports, /:92\d\d\b/, 'their ports are free');
      await replicator.check();
    });
  },
);

networkTest(
  test,
  'a feed outlives the deaths of worker, fantail-rx and supervisor, and leaves with the last',
  { queues: 1 },
  async (link) => {
    const options = { link, flags: ['--mode', 'copy'] };
    const first = await Replicator.start(options);
    const [to] = subscribersOf(1) as [Destination];
    await first.change({ op: 'feed.add', name: 'b', ip: '10.77.0.1', port: B_PORT });
    const feeds = ['b'];
    await first.change({ op: 'add', ip: to.ip, port: to.port, feeds });
    const serves = async (why: string) => {
      for (const unusual of [{}, { unusualEvery: 1 }])
        assert.equal(faultsOf(await sent(link, B_PORT, [to], unusual), COUNT), [], why);
    };
    await serves('at first');
    for (const { pid } of replicatorProcesses().filter((each) => each.pid !== first.program.pid))
      process.kill(pid, 'SIGKILL');
    await eventually('both are replaced', async () => {
      const { workers } = await first.stats();
      return workers.every(({ restarts }) => restarts > 0);
    });
    await serves('by successors');
    process.kill(first.program.pid, 'SIGKILL');
    await first.program.wait();
    await serves('without a supervisor');
    const second = await Replicator.start(options);
    try {
      await serves('adopted');
      assert.equal(
        (await second.stats()).feeds.map(({ name }) => name),
        ['main', 'b'],
      );
      await second.change({ op: 'feed.remove', name: 'b' });
      const ports = run('ip', ['netns', 'exec', link.replicator, 'ss', '-lun']);
      assert.not.match(ports, /:9100\b/, 'its port is free');
    } finally {
      second.close();
      first.close();
    }
  },
);

test.run();
