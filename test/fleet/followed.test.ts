/**
 * takes: 8 s
 *
 * Goal: a member answers from what it follows, and nobody can tell that from a read of the whole
 * group. Method: a real etcd of one node on loopback; what is written is drawn by a seed, also keys
 * that are none and values that are wrong; the oracle is the whole read.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EtcdAway } from '../../src/fleet/etcd/answers.js';
import { Etcd as Client, type Write } from '../../src/fleet/etcd/store.js';
import { followed } from '../../src/fleet/registry/followed.js';
import { Follower, readGroup } from '../../src/fleet/registry/follower.js';
import { Keys } from '../../src/fleet/registry/keys.js';
import { Mirror } from '../../src/fleet/registry/mirror.js';
import { statusOf, subscriberRows } from '../../src/fleet/registry/status.js';
import { Etcd, lackForEtcd } from '../rig/fleet/etcd.js';
import { random } from '../rig/random.js';

const test = suite('a group that is followed');
const lack = lackForEtcd();
const ROUNDS = 150;
/** Of each kind: so few that what is there is often written again, or removed. */
const NAMES = 20;
let etcd: Etcd;
let client: Client;

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local();
  client = new Client({ endpoints: [etcd.urls], user: null, tls: null });
});
test.after(() => {
  client?.close();
  etcd?.close();
});

function etcdTest(name: string, work: () => Promise<void>): void {
  test(name, async () => {
    if (lack === null) await work();
    else console.log(`skip: ${lack}`);
  });
}

/** A mirror that is kept true until it is closed. */
async function follow(keys: Keys): Promise<{ mirror: Mirror; close(): Promise<void> }> {
  const mirror = new Mirror(keys);
  const follower = new Follower(client, keys, mirror, () => {});
  await follower.read();
  follower.start();
  return { mirror, close: () => follower.close() };
}

/** What is told of it, in one order; of which revision it is, is the reader's. */
function told(mirror: Mirror): unknown {
  const byText = (a: string, b: string) => (a < b ? -1 : 1);
  const { faults, ...status } = statusOf('g', mirror);
  return {
    status: { ...status, revision: 0 },
    faults: faults.map(({ key, wrong }) => `${key} ${wrong}`).sort(byText),
    subscribers: subscriberRows(mirror),
  };
}

const KINDS = [
  ['feeds/f', '{"ip":"239.1.1.1","port":5000}'],
  ['subscribers/10.0.0.1:', '{}'],
  ['subscribers/10.0.0.2:', '{"paused":true}'],
  ['filters/f', '{"sha256":"wrong"}'],
  ['modules/', 'a name that is none'],
  ['pins/0', '{"member":"m"}'],
  ['lasting/m', '1'],
  ['reports/m', 'no JSON'],
  ['shards/0', '{"owner":"m"}'],
  ['nothing/', 'that is known'],
] as const;

etcdTest(
  'it is at once what a whole read finds, whatever was put or removed just before',
  async () => {
    const keys = new Keys('followed');
    const { mirror, close } = await follow(keys);
    const { below } = random('followed');
    let compared = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const writes = new Map<string, Write>();
      for (let count = below(4); count >= 0; count--) {
        const [kind, value] = KINDS[below(KINDS.length)] ?? KINDS[0];
        const key = `${keys.prefix}${kind}${10 + below(NAMES)}`;
        writes.set(key, below(3) === 0 ? { remove: key } : { put: key, value });
      }
      await client.transact({ when: [], write: [...writes.values()] });
      const known = await followed(client, keys, mirror);
      if (known === null) continue; // this machine was late by a second: all is read then
      compared += 1;
      const whole = new Mirror(keys);
      const { entries, revision } = await readGroup(client, keys);
      whole.fill(entries, revision);
      assert.equal(told(known), told(whole), `round ${round}`);
    }
    assert.ok(compared > ROUNDS / 2, `${compared} rounds were followed`);
    await close();
  },
);

etcdTest(
  'what is followed no more, or was never read, is not taken for what there is',
  async () => {
    const keys = new Keys('left');
    assert.is(await followed(client, keys, new Mirror(keys)), null);
    const { mirror, close } = await follow(keys);
    const key = keys.of('feeds', 'b');
    const write = [{ put: key, value: '{"ip":"239.1.1.1","port":5000}' }];
    await client.transact({ when: [], write });
    assert.is((await followed(client, keys, mirror))?.feeds.size, 1);
    await close();
    await client.transact({ when: [], write: [{ remove: key }] });
    assert.is(await followed(client, keys, mirror), null, 'a removal leaves no key behind');
    await client.transact({ when: [], write });
    assert.is(await followed(client, keys, mirror), null);
    await etcd.end();
    const thrown = await followed(client, keys, mirror).catch((error: unknown) => error);
    assert.instance(thrown, EtcdAway);
  },
);

test.run();
