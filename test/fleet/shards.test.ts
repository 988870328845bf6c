/**
 * Goal: all members find the same owner for each shard, shares follow weights, and whatever happens
 * in whatever order, no shard is served by two but for a handover and none is left. Method: the
 * pure decisions, carried out on a table in memory that does what etcd's transactions do, by
 * members that see it late, in an order drawn by a seed.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  fenceOf,
  LEASE_S,
  MARGIN_NS,
  SILENT_NS,
  STEP_NS,
  standingOf,
} from '../../src/fleet/member/fence.js';
import {
  changesOf,
  type HeldShard,
  isFree,
  OFFERS_MAX,
  type View,
  wantedOf,
} from '../../src/fleet/shards/plan.js';
import { SHARDS, shardOf, winnerOf } from '../../src/fleet/shards/rendezvous.js';
import { random } from '../rig/random.js';

const test = suite('shards and fence');
const S = 1_000_000_000n;
/** Of some 700 ms each. */
const ROUNDS = 6;

test('a subscriber is always of the same shard, and many are spread over all', () => {
  assert.is(shardOf({ ip: '10.0.0.34', port: 9001 }), shardOf({ ip: '10.0.0.34', port: 9001 }));
  const counts = new Array<number>(SHARDS).fill(0);
  for (let port = 1; port <= 25_600; port++) {
    const shard = shardOf({ ip: '10.0.0.34', port });
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  // binomial with a mean of 100: six deviations
  assert.ok(Math.min(...counts) > 40 && Math.max(...counts) < 160, counts.join());
});

/** How many of all shards each wins. */
function shares(candidates: { name: string; weight: number }[]): Map<string, Set<number>> {
  const won = new Map(candidates.map(({ name }) => [name, new Set<number>()]));
  for (let shard = 0; shard < SHARDS; shard++)
    won.get(winnerOf(shard, candidates) ?? '')?.add(shard);
  return won;
}

test('shares follow weights; who comes or goes changes nothing between the others', () => {
  const members = [
    { name: 'a', weight: 1 },
    { name: 'b', weight: 1 },
    { name: 'c', weight: 2 },
    { name: 'd', weight: 4 },
  ];
  const before = shares(members);
  for (const { name, weight } of members) {
    const share = (before.get(name)?.size ?? 0) / SHARDS;
    // six deviations of a binomial
    const expected = weight / 8;
    assert.ok(
      Math.abs(share - expected) < 6 * Math.sqrt((expected * (1 - expected)) / SHARDS),
      name,
    );
  }
  const after = shares(members.filter(({ name }) => name !== 'b'));
  for (const name of ['a', 'c', 'd'])
    for (const shard of before.get(name) ?? []) assert.ok(after.get(name)?.has(shard), `${shard}`);
  assert.is(winnerOf(3, []), null);
});

// ---- a group in memory ----

interface Node {
  readonly name: string;
  lease: string;
  isUp: boolean;
  isDraining: boolean;
  /** As it has heard of them. */
  seen: ReadonlyMap<number, HeldShard>;
  /** By shard: revision of the nonsense in it, and of which of its passes it heard that. */
  broken: ReadonlyMap<number, { readonly revision: number; readonly pass: number }>;
  members: View['members'];
  serving: Set<number>;
  /** What it had heard of at its last pass. */
  done: ReadonlyMap<number, HeldShard>;
  passes: number;
}

/** Passes of a member after which nonsense counts as old; settle() waits for more. */
const OLD_PASSES = 2;

class Group {
  revision = 1;
  readonly shards = new Map<number, HeldShard>();
  /** Shards with nonsense in their keys, and the revision of that. */
  readonly broken = new Map<number, number>();
  readonly pins = new Map<number, string>();
  readonly nodes: Node[] = [];

  join(name: string): Node {
    const node: Node = {
      ...{ name, lease: `${name}-${this.revision}`, isUp: true, isDraining: false },
      ...{ seen: new Map(), broken: new Map(), members: new Map(), done: new Map() },
      ...{ serving: new Set<number>(), passes: 0 },
    };
    this.nodes.push(node);
    return node;
  }

  /** Its lease ends at once. */
  die(node: Node): void {
    node.isUp = false;
    node.serving.clear();
    for (const [shard, { lease }] of this.shards)
      if (lease === node.lease) this.shards.delete(shard);
  }

  get members(): View['members'] {
    const up = this.nodes.filter(({ isUp }) => isUp);
    return new Map(up.map(({ name, isDraining }) => [name, { weight: 1, isDraining }]));
  }

  /** Somebody writes nonsense there, without a lease. */
  vandalize(shard: number): void {
    this.revision += 1;
    this.shards.delete(shard);
    this.broken.set(shard, this.revision);
  }

  hear(node: Node): void {
    node.seen = new Map(this.shards);
    node.broken = new Map(
      [...this.broken].map(([shard, revision]) => {
        const known = node.broken.get(shard);
        const isSame = known?.revision === revision;
        return [shard, isSame ? known : { revision, pass: node.passes }];
      }),
    );
    node.members = this.members;
  }

  viewOf(node: Node): View {
    return {
      ...{ me: node.name, lease: node.lease, members: node.members, pins: this.pins },
      ...{ shards: node.seen, serving: node.serving, ready: node.serving, mayClaim: true },
      broken: new Map(
        [...node.broken].map(([shard, { revision, pass }]) => [
          shard,
          { modRevision: revision, isOld: node.passes - pass >= OLD_PASSES },
        ]),
      ),
      // one that was taken over is held for some passes
      released: new Set([...node.serving].filter((shard) => (shard + node.passes) % 3 === 0)),
    };
  }

  /** One pass, on what it has heard of. True: it had something to write. */
  pass(node: Node): boolean {
    node.serving = wantedOf(this.viewOf(node));
    node.done = node.seen;
    node.passes += 1;
    const changes = changesOf(this.viewOf(node));
    for (const { shard, record, modRevision, keepsLease } of changes) {
      const held = this.shards.get(shard);
      if ((held?.modRevision ?? this.broken.get(shard) ?? null) !== modRevision) continue;
      this.broken.delete(shard);
      this.revision += 1;
      const lease = keepsLease ? (held?.lease ?? '') : node.lease;
      this.shards.set(shard, { ...record, modRevision: this.revision, lease });
    }
    return changes.length > 0;
  }

  settle(): void {
    let quiet = 0;
    for (let round = 0; round < 200; round++) {
      let isBusy = false;
      for (const node of this.nodes.filter(({ isUp }) => isUp)) {
        this.hear(node);
        isBusy = this.pass(node) || isBusy;
      }
      // what is held for some passes is held for no more
      quiet = isBusy ? 0 : quiet + 1;
      if (quiet > 3) return;
    }
    throw new Error('it does not come to rest');
  }

  serversOf(shard: number): Node[] {
    return this.nodes.filter(({ serving }) => serving.has(shard));
  }
}

test('a group comes to rest with each shard served by its winner alone', () => {
  const group = new Group();
  const a = group.join('a');
  group.settle();
  assert.is(a.serving.size, SHARDS);
  group.join('b');
  const c = group.join('c');
  group.settle();
  const candidates = ['a', 'b', 'c'].map((name) => ({ name, weight: 1 }));
  for (let shard = 0; shard < SHARDS; shard++) {
    const servers = group.serversOf(shard).map(({ name }) => name);
    assert.equal(servers, [winnerOf(shard, candidates)]);
  }
  group.pins.set(9, 'c');
  c.isDraining = true;
  group.settle();
  assert.is(c.serving.size, 0);
  assert.ok(isFree(group.viewOf(c)));
  group.die(c);
  a.isDraining = true;
  group.settle();
  assert.is(a.serving.size, 0);
  // nobody else is there: the last one keeps what it has, however much it drains
  const b = group.nodes[1];
  if (b !== undefined) b.isDraining = true;
  group.settle();
  assert.is(b?.serving.size, SHARDS);
});

test('where all drain, what a dead one had goes to those that are left, and on to who comes', () => {
  const group = new Group();
  const [a, b] = [group.join('a'), group.join('b')];
  const c = group.join('c');
  group.settle();
  for (const node of group.nodes) node.isDraining = true;
  group.settle();
  const kept = new Set(a.serving);
  assert.ok(kept.size > 0 && kept.size < SHARDS, 'nobody is there to take what each has');
  group.die(c);
  group.settle();
  assert.is(a.serving.size + b.serving.size, SHARDS);
  assert.ok([...kept].every((shard) => a.serving.has(shard)));
  const d = group.join('d');
  group.settle();
  assert.is(d.serving.size, SHARDS);
  assert.ok([a, b].every((node) => isFree(group.viewOf(node))));
});

test('not more than so many shards of one member are on their way at a time', () => {
  const group = new Group();
  const a = group.join('a');
  group.settle();
  group.join('b');
  group.hear(a);
  group.pass(a);
  const offered = [...group.shards.values()].filter(({ to }) => to === 'b').length;
  assert.is(offered, OFFERS_MAX);
});

test('nonsense in the key of a shard is mended by who serves it, or by the winner after a while', () => {
  const group = new Group();
  const a = group.join('a');
  group.join('b');
  group.settle();
  const winners = ['a', 'b'].map((name) => ({ name, weight: 1 }));
  const [ofA = 0] = a.serving;
  group.vandalize(ofA);
  for (const node of group.nodes) group.hear(node);
  // the other one first: it leaves the shard to who serves it
  for (const node of [...group.nodes].reverse()) group.pass(node);
  assert.is(group.shards.get(ofA)?.owner, 'a');
  assert.is(group.broken.size, 0);
  // nobody serves what a dead one had; its lease ends, and the nonsense stays
  group.vandalize(ofA);
  group.die(a);
  assert.is(winnerOf(ofA, winners), 'a');
  group.settle();
  assert.is(group.shards.get(ofA)?.owner, 'b');
  assert.equal(
    group.serversOf(ofA).map(({ name }) => name),
    ['b'],
  );
});

/** What must hold of a shard at any moment. */
function checkShard(group: Group, shard: number, when: string): void {
  const held = group.shards.get(shard);
  if (held === undefined) return; // its owner has just died
  const servers = group.serversOf(shard);
  const by = servers.map(({ name }) => name);
  const why = `${when} shard ${shard} ${JSON.stringify(held)} by ${by}`;
  const owner = group.nodes.find(({ name, isUp }) => isUp && name === held.owner);
  // whoever has made one that was nobody's serves it from its next pass on
  const isFresh = owner?.done.has(shard) === false;
  assert.ok(owner !== undefined && (owner.serving.has(shard) || isFresh), why);
  // others: who it is offered to, and who it came from; or who has not heard yet
  for (const { name, seen, done } of servers) {
    const isPart = [held.owner, held.to, held.from].includes(name);
    const isLate = [seen, done].some((each) => each.get(shard)?.modRevision !== held.modRevision);
    assert.ok(isPart || isLate, why);
  }
}

/** One thing that happens, drawn. */
function happen(group: Group, pick: (count: number) => number, step: number): void {
  const up = group.nodes.filter(({ isUp }) => isUp);
  const node = up[pick(up.length)];
  if (node === undefined) return;
  const dice = pick(1000);
  if (dice < 10 && up.length > 2) group.die(node);
  else if (dice < 20) group.join(`n${step}`);
  else if (dice < 30) node.isDraining = !node.isDraining;
  else if (dice < 50) group.pins.set(pick(SHARDS), node.name);
  else if (dice < 60) group.vandalize(pick(SHARDS));
  else if (dice < 500) group.hear(node);
  else group.pass(node);
}

test('in any order of passes, late news, deaths, drains and nonsense, a live shard is never without a server, nor has two but in a handover', () => {
  const { seed, below } = random('shards');
  for (let round = 1; round <= ROUNDS; round++) {
    const group = new Group();
    for (const name of ['a', 'b', 'c', 'd']) group.join(name);
    group.settle();
    for (let step = 0; step < 400; step++) {
      happen(group, below, step);
      const when = `seed ${seed} round ${round} step ${step}`;
      for (let shard = 0; shard < SHARDS; shard++) checkShard(group, shard, when);
    }
    group.settle();
    for (let shard = 0; shard < SHARDS; shard++)
      assert.is(group.serversOf(shard).length, 1, `seed ${seed} round ${round} shard ${shard}`);
  }
});

// ---- the fence ----

const contact = {
  now_ns: 100n * S,
  acked_ns: 99n * S,
  evidence: null,
  whenIsolated: 'serve',
} as const;
const evidence = (peers: number, answering: number, reaching: number) => {
  return { asked_ns: 100n * S, peers, answering, reaching };
};

test('the fence is the lease from the sending of the last acknowledged request, less a margin', () => {
  assert.is(standingOf(contact), 'joined');
  assert.is(fenceOf(contact), 99n * S + BigInt(LEASE_S) * S - MARGIN_NS);
});

test('once etcd is silent, the peers decide whether it moves on', () => {
  const silent = { ...contact, acked_ns: 100n * S - SILENT_NS - 1n };
  const ofLease = silent.acked_ns + BigInt(LEASE_S) * S - MARGIN_NS;
  assert.ok(ofLease > 100n * S + STEP_NS);
  const cases = [
    [null, 'unsure', ofLease, ofLease],
    [evidence(3, 3, 1), 'cut', ofLease, ofLease],
    [evidence(3, 1, 1), 'cut', ofLease, ofLease],
    [evidence(3, 3, 0), 'registry_gone', null, null],
    [evidence(3, 2, 0), 'isolated', null, ofLease],
    [evidence(3, 0, 0), 'isolated', null, ofLease],
    [evidence(0, 0, 0), 'registry_gone', null, null],
  ] as const;
  for (const [known, standing, serve, stop] of cases) {
    const now = { ...silent, evidence: known };
    assert.is(standingOf(now), standing);
    // later than the lease, so that it is the step that counts
    const late = { ...now, acked_ns: 0n };
    const lateLease = BigInt(LEASE_S) * S - MARGIN_NS;
    const step = 100n * S + STEP_NS;
    assert.is(fenceOf(now), ofLease, `${standing}: a step is never back`);
    assert.is(fenceOf(late), serve === null ? step : lateLease, standing);
    const stopping = { ...late, whenIsolated: 'stop' } as const;
    assert.is(fenceOf(stopping), stop === null ? step : lateLease, standing);
  }
  const unknown = { ...silent, acked_ns: null };
  assert.is(fenceOf(unknown), null);
  assert.is(fenceOf({ ...unknown, evidence: evidence(1, 1, 0) }), 100n * S + STEP_NS);
});

test.run();
