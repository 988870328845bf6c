/**
 * takes: 40 s
 *
 * Goal: a member's lease is kept alive and its fence follows from what etcd has acknowledged, by
 * when that was asked. Method: a real etcd behind a line that can be slow or deaf, whose lease is
 * looked at by a client of its own; peers are HTTP servers; the replicator is a table in memory.
 *
 * needs: a core
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Standing } from '../../../src/domain/fleet.js';
import { Etcd as Client } from '../../../src/fleet/etcd/store.js';
import { LEASE_S, MARGIN_NS } from '../../../src/fleet/member/fence.js';
import type { Peer } from '../../../src/fleet/member/inheritance.js';
import { Tenure } from '../../../src/fleet/member/tenure.js';
import { Etcd, lackForEtcd } from '../../rig/fleet/etcd.js';
import { Line } from '../../rig/fleet/line.js';
import { TableTarget } from '../../rig/fleet/target.js';
import { eventually } from '../../rig/program.js';

const test = suite('tenure of a member');
const lack = lackForEtcd();
const MS = 1_000_000n;
/** Peers are in this process, which may be without a core: whoever answers is waited for. */
const HANGS_MS = 60_000;
const LEASE_NS = BigInt(LEASE_S) * 1000n * MS;
let etcd: Etcd;
/** Straight to it. */
let direct: Client;

test.before(async () => {
  if (lack !== null) return;
  etcd = await Etcd.local();
  direct = new Client({ endpoints: [etcd.urls], user: null, tls: null });
});
test.after(() => {
  direct?.close();
  etcd?.close();
});

/** A peer that answers so, until it is closed. */
async function peerThatSays(status: number): Promise<{ peer: Peer; close: () => void }> {
  const server = createServer((_, response) => {
    response.writeHead(status, { Server: 'fantail' }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens to TCP
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { peer: { member: `of-port-${port}`, control: `http://127.0.0.1:${port}` }, close };
}

interface Scene {
  readonly line: Line;
  readonly target: TableTarget;
  readonly tenure: Tenure;
  /** As they were told. */
  readonly standings: Standing[];
  /** How often it was told that its lease is gone. */
  losses: number;
}

/** With peers that answer so. */
function tenureTest(name: string, statuses: number[], work: (scene: Scene) => Promise<void>): void {
  test(name, async () => {
    if (lack !== null) return console.log(`skip: ${lack}`);
    const peers = await Promise.all(statuses.map(peerThatSays));
    const members = peers.map(({ peer }) => peer);
    const line = await Line.open(etcd.urls);
    const client = new Client({ endpoints: [line.url], user: null, tls: null });
    const target = new TableTarget();
    const standings: Standing[] = [];
    const tenure = new Tenure({
      ...{ etcd: client, target, whenIsolated: 'serve' },
      peers: () => ({ group: 'g', members, answer_ms_max: HANGS_MS }),
      onStanding: (standing) => standings.push(standing),
      onLost: () => {
        scene.losses += 1;
      },
    });
    const scene: Scene = { line, target, tenure, standings, losses: 0 };
    try {
      await work(scene);
    } finally {
      tenure.close();
      client.close();
      line.close();
      for (const { close } of peers) close();
    }
  });
}

/** No answer of etcd comes any more. */
async function beCutOff({ tenure, line }: Scene): Promise<void> {
  await tenure.begin();
  line.isDeaf = true;
  await eventually('it is not joined', () => tenure.standing !== 'joined');
}

/** When the request was sent whose acknowledgement has moved the fence there. */
const sentOf = (fence_ns: bigint): bigint => fence_ns - LEASE_NS + MARGIN_NS;

tenureTest('without a lease it is not joined, and nothing is fenced', [], async (scene) => {
  const { tenure, target } = scene;
  assert.equal(
    [tenure.standing, tenure.isFenced, tenure.reachesRegistry],
    ['unsure', false, false],
  );
  assert.equal(target.fences, []);
});

tenureTest('a lease is kept for as long as it is wanted, and given back', [], async (scene) => {
  const { tenure, target } = scene;
  await tenure.begin();
  const { lease } = tenure;
  assert.is(tenure.standing, 'joined');
  assert.ok((await direct.timeToLive(lease)) > 0);
  await eventually('two more acknowledgements', () => target.fences.length >= 3);
  const [first = 0n, second = 0n, third = 0n] = target.fences;
  // a second apart, by the clock of the requests
  assert.ok(second - first > 500n * MS && third - second > 500n * MS, `${target.fences}`);
  assert.equal([scene.standings, scene.losses], [[], 0]);
  await tenure.release();
  assert.is(await direct.timeToLive(lease), -1);
  assert.is(tenure.lease, '0');
});

tenureTest('an acknowledgement that is late counts from its request', [], async (scene) => {
  const { tenure, target, line } = scene;
  line.late_ms = 600;
  const begun_ns = process.hrtime.bigint();
  await tenure.begin();
  assert.ok(sentOf(target.fence_ns) >= begun_ns, 'not from before it was asked');
  for (const count of [1, 2, 3]) {
    await eventually('so many are there', () => target.fences.length >= count);
    const late_ns = process.hrtime.bigint() - sentOf(target.fence_ns);
    assert.ok(late_ns >= 600n * MS, `counted from ${late_ns / MS} ms before its answer`);
  }
});

tenureTest('a lease that is gone is told once, and moves no fence', [200], async (scene) => {
  const { tenure, target } = scene;
  await tenure.begin();
  await direct.revoke(tenure.lease);
  await eventually('it is told', () => scene.losses > 0);
  const { fence_ns } = target;
  assert.is(tenure.lease, '0');
  await eventually('its time is over', () => tenure.isFenced);
  assert.is(target.fence_ns, fence_ns);
  assert.is(scene.losses, 1);
  await tenure.begin();
  assert.equal([tenure.standing, tenure.isFenced], ['joined', false]);
});

tenureTest(
  'a peer that reaches etcd holds the fence; the same lease lifts it',
  [503, 200],
  async (scene) => {
    const { tenure, target, line, standings } = scene;
    await beCutOff(scene);
    const { fence_ns } = target;
    await eventually('it is cut', () => tenure.standing === 'cut');
    await eventually('its time is over', () => tenure.isFenced);
    assert.is(target.fence_ns, fence_ns, 'nothing has moved it');
    // etcd heard what was asked, so that the lease lives: nobody has taken what goes with it
    assert.ok((await direct.timeToLive(tenure.lease)) > 0);
    line.isDeaf = false;
    await eventually('it is joined', () => tenure.standing === 'joined');
    assert.ok(target.fence_ns > process.hrtime.bigint());
    assert.equal(standings, ['unsure', 'cut', 'fenced', 'joined']);
    assert.is(scene.losses, 0);
  },
);

tenureTest('where all peers say that etcd is gone the fence goes on', [503, 503], async (scene) => {
  const { tenure, target, standings } = scene;
  await beCutOff(scene);
  const { fence_ns } = target;
  await eventually('etcd is gone', () => tenure.standing === 'registry_gone');
  await eventually('the lease is over', () => process.hrtime.bigint() > fence_ns + MARGIN_NS);
  assert.is(tenure.isFenced, false);
  assert.equal(standings, ['unsure', 'registry_gone']);
});

test.run();
