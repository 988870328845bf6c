/**
 * takes: 25 s
 *
 * Goal: an etcd that is restored from a backup (docs/fleet.md) is noticed by those who follow it,
 * and members go on by what it says. Method: snapshots that etcdctl saves and restores, for a real
 * etcd of three nodes; members with tables in memory.
 *
 * needs: a core
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Etcd as Client } from '../../../src/fleet/etcd/store.js';
import { GroupDesk } from '../../../src/fleet/registry/desk.js';
import { Follower } from '../../../src/fleet/registry/follower.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { Mirror } from '../../../src/fleet/registry/mirror.js';
import { Etcd, lackForEtcd } from '../../rig/fleet/etcd.js';
import { Line } from '../../rig/fleet/line.js';
import { Solo } from '../../rig/fleet/solo.js';
import { eventually } from '../../rig/program.js';

const test = suite('restore of etcd');
const lack = lackForEtcd();
const folder = mkdtempSync(join(tmpdir(), 'fantail-restore-'));
let etcd: Etcd;
let client: Client;
let saves = 0;

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local(3);
  client = new Client({ endpoints: [urlOf()], user: null, tls: null });
});
test.after(() => {
  client?.close();
  etcd?.close();
  rmSync(folder, { recursive: true });
});

/** Of one of its nodes. */
const urlOf = () => etcd.nodes[0]?.url ?? '';
const at = (port: number) => ({ ip: '127.0.0.1', port });
const FEED = '{"ip":"239.1.1.1","port":5000}';

function save(): string {
  const file = join(folder, `${++saves}.db`);
  etcd.save(file);
  return file;
}

/** A mirror that is kept true by way of a line. */
async function follow(keys: Keys) {
  const line = await Line.open(urlOf());
  const followed = new Client({ endpoints: [line.url], user: null, tls: null });
  const mirror = new Mirror(keys);
  const follower = new Follower(followed, keys, mirror, () => {});
  await follower.read();
  follower.start();
  const close = async () => {
    await follower.close();
    followed.close();
    line.close();
  };
  return { mirror, line, close };
}

function restoreTest(name: string, work: (keys: Keys) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    await work(new Keys(`restore${saves}`));
  });
}

restoreTest(
  'a store that is behind what was heard is read anew, and followed from there',
  async (keys) => {
    const { mirror, close } = await follow(keys);
    etcd.ctl('put', keys.of('feeds', 'b'), FEED);
    await eventually('it is heard', () => mirror.feeds.has('b'));
    const file = save();
    etcd.ctl('del', keys.of('feeds', 'b'));
    for (const name of ['c', 'd', 'e', 'f']) etcd.ctl('put', keys.of('feeds', name), FEED);
    await eventually('all is heard', () => mirror.feeds.has('f') && !mirror.feeds.has('b'));
    const known = mirror.revision;
    await etcd.restore(file, 'fantail-test'); // the name of the cluster that it was
    await eventually('it is as it was', () => [...mirror.feeds.keys()].join() === 'b');
    assert.ok(mirror.revision < known);
    // the next change has a revision that was heard before, of something else
    etcd.ctl('put', keys.of('feeds', 'g'), FEED);
    await eventually('what comes now is heard', () => mirror.feeds.has('g'));
    assert.ok(mirror.revision <= known);
    await close();
  },
);

restoreTest(
  'another cluster is known as one, also where it has made as many changes since',
  async (keys) => {
    const { mirror, line, close } = await follow(keys);
    etcd.ctl('put', keys.of('feeds', 'b'), FEED);
    const file = save();
    etcd.ctl('put', keys.of('feeds', 'c'), FEED);
    await eventually('it is heard', () => mirror.feeds.has('c'));
    line.cut();
    await etcd.restore(file, 'restored');
    for (let again = 0; again < 5; again++) etcd.ctl('put', keys.of('feeds', 'd'), FEED);
    assert.ok(((await client.get(keys.of('feeds', 'd')))?.modRevision ?? 0) > mirror.revision);
    line.mend();
    await eventually(
      'it is as it is there',
      () => [...mirror.feeds.keys()].sort().join() === 'b,d',
    );
    await close();
  },
);

restoreTest(
  'members serve whom the backup has, each by one, as soon as they have found each other',
  async (keys) => {
    const desk = new GroupDesk(client, keys);
    const options = { url: urlOf(), group: keys.group };
    for (let port = 9001; port <= 9010; port++) await desk.add(at(port), {});
    const a = await Solo.start({ ...options, name: 'a' });
    const solos = [a];
    try {
      await eventually('all are served', () => a.served.length === 10);
      const file = save();
      // after it: whoever is subscribed is another, and a member has come
      await desk.remove(at(9001));
      await desk.add(at(9011), {});
      const b = await Solo.start({ ...options, name: 'b' });
      solos.push(b);
      const all = () => [...a.served, ...b.served].sort();
      await eventually('both serve', () => {
        return b.served.length > 0 && all().length === 10 && all().includes('127.0.0.1:9011');
      });
      const lease = b.member.inheritance.lease;
      await etcd.restore(file, 'restored-again');
      const wanted = Array.from({ length: 10 }, (_, i) => `127.0.0.1:${9001 + i}`).sort();
      await eventually('those of the backup are served, by both', () => {
        return b.served.length > 0 && all().join() === wanted.join();
      });
      // the backup does not know its lease
      assert.is.not(b.member.inheritance.lease, lease);
      await eventually('each shard is one’s', async () => {
        const { free_shards, moving, members } = await desk.status();
        return free_shards + moving === 0 && members.length === 2;
      });
      assert.equal([a.failure, b.failure], [null, null]);
      await desk.add(at(9012), {});
      await eventually('a change is heard', () => all().includes('127.0.0.1:9012'));
    } finally {
      for (const solo of solos) await solo.close();
    }
  },
);

test.run();
