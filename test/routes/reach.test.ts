/**
 * How subscribers are reached: the decision over its whole table, the pool of kernel sockets with
 * pretended ones, and the whole of it on a real link with a host that is not there, and then is.
 *
 * needs: a link
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Endpoint, endpointText } from '../../src/domain/endpoint.js';
import { addon } from '../../src/memory/addon.js';
import { limits } from '../../src/memory/layout.js';
import { InterfaceWatch } from '../../src/routes/interface-watch.js';
import { KernelSockets } from '../../src/routes/kernel-sockets.js';
import { type NextHop, NextHops } from '../../src/routes/next-hops.js';
import { PROBE_MS, Reach, type ReachOptions } from '../../src/routes/reach.js';
import {
  DRAIN_MS,
  type Observed,
  PATIENCE_MS,
  type Plan,
  plan,
  type ReachState,
  STANDING_NEW,
  type Standing,
} from '../../src/routes/reach-plan.js';
import { packetOf } from '../rig/kinds.js';
import { HOSTS, Link, REPLICATOR_IP } from '../rig/link.js';
import { eventually, lackForNetwork, sleep } from '../rig/program.js';

const test = suite('reach');

// ---- the decision ----

const NOW_MS = 1_000_000;
const OBSERVED: Observed = {
  now_ms: NOW_MS,
  hop: 'reachable',
  hasSocket: false,
  socketFree: true,
  queued_bytes: 0,
};

/** What is decided, as `state socket`. */
function decided(standing: Partial<Standing>, observed: Partial<Observed>): string {
  const { state, socket } = plan({ ...STANDING_NEW, ...standing }, { ...OBSERVED, ...observed });
  return `${state} ${socket}`;
}

test('a new subscriber goes by what its neighbour is', () => {
  assert.is(decided({}, { hop: 'reachable' }), 'live keep');
  assert.is(decided({}, { hop: 'no_route' }), 'no_route keep');
  assert.is(decided({}, { hop: 'unresolved' }), 'kernel take');
  assert.is(decided({}, { hop: 'unresolved', socketFree: false }), 'unresolved keep');
});

test('copies go through the kernel for 3 s, then nowhere', () => {
  const early = { state: 'kernel', missingSince_ms: NOW_MS - PATIENCE_MS + 1 } as const;
  assert.is(decided(early, { hop: 'unresolved', hasSocket: true }), 'kernel keep');
  const late = { state: 'kernel', missingSince_ms: NOW_MS - PATIENCE_MS } as const;
  assert.is(decided(late, { hop: 'unresolved', hasSocket: true }), 'unresolved give_up');
  assert.is(decided({ ...late, state: 'unresolved' }, { hop: 'unresolved' }), 'unresolved keep');
});

test('a socket that comes free within the 3 s is taken, and not after', () => {
  const early = { missingSince_ms: NOW_MS - PATIENCE_MS + 1 };
  assert.is(decided(early, { hop: 'unresolved' }), 'kernel take');
  assert.is(
    decided({ missingSince_ms: NOW_MS - PATIENCE_MS }, { hop: 'unresolved' }),
    'unresolved keep',
  );
});

test('found again, it is live only when the kernel holds nothing of it', () => {
  const kernel: Partial<Standing> = { state: 'kernel', missingSince_ms: NOW_MS - 10 };
  assert.is(decided(kernel, { hasSocket: true, queued_bytes: 1 }), 'kernel keep');
  assert.is(decided(kernel, { hasSocket: true, queued_bytes: 0 }), 'live give_up');
  assert.is(decided({ state: 'unresolved' }, { queued_bytes: 1 }), 'unresolved keep');
  assert.is(decided({ state: 'no_route' }, { queued_bytes: 1 }), 'unresolved keep');
});

test('a socket that does not run empty beside the traffic makes the traffic wait', () => {
  const flowing = { state: 'kernel', drainingSince_ms: NOW_MS - DRAIN_MS + 1 } as const;
  assert.is(decided(flowing, { hasSocket: true, queued_bytes: 1 }), 'kernel keep');
  const draining = { state: 'kernel', drainingSince_ms: NOW_MS - DRAIN_MS } as const;
  assert.is(decided(draining, { hasSocket: true, queued_bytes: 1 }), 'unresolved keep');
  const waiting = { ...draining, state: 'unresolved' } as const;
  assert.is(decided(waiting, { hasSocket: true, queued_bytes: 1 }), 'unresolved keep');
  assert.is(decided(waiting, { hasSocket: true, queued_bytes: 0 }), 'live give_up');
  assert.is(decided(waiting, { hop: 'unresolved', hasSocket: true }), 'kernel keep');
});

test('a live subscriber whose neighbour is lost gets 3 s of its own', () => {
  const next = plan({ ...STANDING_NEW, state: 'live' }, { ...OBSERVED, hop: 'unresolved' });
  assert.equal(next, {
    state: 'kernel',
    missingSince_ms: NOW_MS,
    drainingSince_ms: null,
    socket: 'take',
  });
  const none = plan({ ...STANDING_NEW, state: 'no_route' }, { ...OBSERVED, hop: 'unresolved' });
  assert.is(none.missingSince_ms, NOW_MS);
});

/** All objects whose fields are taken from the lists given. */
function cross<T extends object>(lists: { readonly [K in keyof T]: readonly T[K][] }): T[] {
  // its own fields, by construction
  const entries = Object.entries(lists) as [string, readonly unknown[]][];
  const rows = entries.reduce<object[]>(
    (made, [name, values]) =>
      made.flatMap((row) => values.map((value) => ({ ...row, [name]: value }))),
    [{}],
  );
  return rows as T[]; // every field has been set
}

/** Every standing and observation that differ in anything that could matter. */
function table(): [Standing, Observed][] {
  const ages = [null, 0, DRAIN_MS - 1, DRAIN_MS, PATIENCE_MS - 1, PATIENCE_MS, 10 * PATIENCE_MS];
  const times = ages.map((age) => (age === null ? null : NOW_MS - age));
  const standings = cross({
    state: ['live', 'kernel', 'unresolved', 'no_route'] as const,
    missingSince_ms: times,
    drainingSince_ms: times,
  });
  const observations = cross({
    now_ms: [NOW_MS],
    hop: ['reachable', 'unresolved', 'no_route'] as const,
    hasSocket: [false, true],
    socketFree: [false, true],
    queued_bytes: [0, 1, 100_000],
  });
  return standings.flatMap((standing) =>
    observations.map((seen): [Standing, Observed] => [standing, seen]),
  );
}

/** What must hold of every decision, by name. */
const laws: Record<string, (standing: Standing, observed: Observed, next: Plan) => boolean> = {
  'no route means no_route, and nothing else does': (_, observed, next) =>
    (observed.hop === 'no_route') === (next.state === 'no_route'),
  'only a neighbour that is there makes live': (_, observed, next) =>
    next.state !== 'live' || observed.hop === 'reachable',
  'nobody overtakes what the kernel holds': (standing, observed, next) =>
    standing.state === 'live' || next.state !== 'live' || observed.queued_bytes === 0,
  'who is live stays live while the neighbour is there': (standing, observed, next) =>
    standing.state !== 'live' || observed.hop !== 'reachable' || next.state === 'live',
  'kernel has a socket after it': (_, observed, next) =>
    next.state !== 'kernel' ||
    (observed.hasSocket
      ? next.socket === 'keep'
      : next.socket === 'take' || observed.hop === 'reachable'),
  'only a free socket is taken, by one who has none': (_, observed, next) =>
    next.socket !== 'take' || (observed.socketFree && !observed.hasSocket),
  'only who has a socket gives one up': (_, observed, next) =>
    next.socket !== 'give_up' || observed.hasSocket,
  'live and no_route hold no socket': (_, observed, next) =>
    (next.state !== 'live' && next.state !== 'no_route') ||
    !observed.hasSocket ||
    next.socket === 'give_up',
  'a neighbour is missing from its first absence until it is there': (standing, observed, next) =>
    next.missingSince_ms ===
    (observed.hop === 'unresolved' ? (standing.missingSince_ms ?? NOW_MS) : null),
  'deciding again changes nothing': (_, observed, next) => {
    const hasSocket = next.socket === 'take' || (next.socket === 'keep' && observed.hasSocket);
    const again = plan(next, { ...observed, hasSocket });
    return again.state === next.state && again.socket === 'keep';
  },
};

test('every law holds in the whole table', () => {
  let cases = 0;
  for (const [standing, observed] of table()) {
    // Kernel without a socket cannot be: whoever has none is put to unresolved.
    if (standing.state === 'kernel' && !observed.hasSocket) continue;
    const next = plan(standing, observed);
    cases++;
    for (const [name, holds] of Object.entries(laws)) {
      assert.ok(
        holds(standing, observed, next),
        `${name}: ${JSON.stringify({ standing, observed, next })}`,
      );
    }
  }
  assert.ok(cases > 5000, String(cases));
});

// ---- the pool, pretended ----

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);

/** Next hops, kernel sockets and a clock that do as they are told. */
class Pretended implements Pick<NextHops, keyof ReachOptions['nextHops']> {
  now_ms = NOW_MS;
  readonly hops = new Map<string, NextHop>();
  readonly watched: string[] = [];
  readonly probed: string[] = [];
  readonly connected = new Map<number, string>();
  readonly queues = new Map<number, number>();
  readonly changes: string[] = [];
  refuse = false;
  readonly sockets: KernelSockets;
  readonly reach: Reach;

  constructor(fds: readonly (readonly number[])[], onChange: (key: string) => void = () => {}) {
    this.sockets = new KernelSockets(fds, {
      connectRaw: (fd, ip) => {
        if (this.refuse) throw new Error('ENETUNREACH');
        this.connected.set(fd, ip);
      },
      queuedBytes: (fd) => this.queues.get(fd) ?? 0,
    });
    this.reach = new Reach({
      nextHops: this,
      sockets: this.sockets,
      onChange: (subscriber) => {
        this.changes.push(endpointText(subscriber));
        onChange(endpointText(subscriber));
      },
      now_ms: () => this.now_ms,
    });
  }

  /** Sockets that were given up, as `worker:index`. */
  leaving(): string {
    return this.sockets
      .leaving()
      .map(({ worker, index }) => `${worker}:${index}`)
      .join(' ');
  }

  watch(ip: string): void {
    this.watched.push(ip);
  }
  unwatch(ip: string): void {
    this.watched.splice(this.watched.indexOf(ip), 1);
  }
  nextHop(ip: string): NextHop {
    return this.hops.get(ip) ?? { state: 'unresolved', mac: null, via: ip };
  }
  probe(ip: string): void {
    this.probed.push(ip);
  }

  /** Changes a next hop and lets the turn that follows be taken. */
  async set(ip: string, hop: NextHop | null): Promise<void> {
    if (hop === null) this.hops.delete(ip);
    else this.hops.set(ip, hop);
    this.reach.nextHopChanged(ip);
    await sleep(5);
  }

  states(count: number): ReachState[] {
    return Array.from(
      { length: count },
      (_, port) => this.reach.of({ ip: '10.0.0.1', port }).state,
    );
  }
}

const found = (ip: string): NextHop => ({ state: 'reachable', mac: MAC, via: ip });
const target = (port: number, worker = 0) => ({ ip: '10.0.0.1', port, worker });

async function pretend(
  sockets: readonly (readonly number[])[],
  work: (world: Pretended) => Promise<void>,
) {
  const world = new Pretended(sockets);
  try {
    await work(world);
  } finally {
    world.reach.close();
  }
}

test('sockets go to who comes first, and to who waits when they are released', () =>
  pretend([[50, 51]], async (world) => {
    const { reach } = world;
    assert.equal(reach.track(target(0)), { state: 'kernel', mac: null, kernelSocket: 0 });
    assert.equal(reach.track(target(1)), { state: 'kernel', mac: null, kernelSocket: 1 });
    assert.equal(reach.track(target(2)), { state: 'unresolved', mac: null, kernelSocket: null });
    assert.equal(
      [...world.connected],
      [
        [50, '10.0.0.1'],
        [51, '10.0.0.1'],
      ],
    );
    assert.is(world.leaving(), '');

    reach.untrack(target(0));
    assert.is(world.leaving(), '0:0');
    await sleep(100);
    assert.is(reach.of(target(2)).state, 'unresolved');

    world.sockets.release({ worker: 0, index: 0 });
    await eventually('it is taken', () => reach.of(target(2)).kernelSocket === 0);
    assert.equal(world.changes, ['10.0.0.1:2']);
    assert.throws(() => world.sockets.release({ worker: 0, index: 0 }), /not leaving/);
    assert.throws(() => world.sockets.release({ worker: 9, index: 0 }), /not leaving/);
  }));

test('each worker has a pool of its own', () =>
  pretend([[50], [60]], async ({ reach, connected }) => {
    assert.is(reach.track(target(0, 1)).kernelSocket, 0);
    assert.is(reach.track(target(1, 0)).kernelSocket, 0);
    assert.is(reach.track(target(2, 0)).state, 'unresolved');
    assert.equal([...connected.keys()], [60, 50]);
  }));

test('who is found is live once the socket is empty, at once when asked and told once', () =>
  pretend([[50]], async (world) => {
    const { reach, changes } = world;
    reach.track(target(0));
    world.queues.set(50, 700);
    await world.set('10.0.0.1', found('10.0.0.1'));
    assert.is(reach.of(target(0)).state, 'kernel');
    world.queues.set(50, 0);
    await eventually('it is live', () => reach.of(target(0)).state === 'live');
    assert.equal(reach.of(target(0)), { state: 'live', mac: MAC, kernelSocket: null });
    assert.equal(changes, ['10.0.0.1:0']);
    assert.is(world.leaving(), '0:0');
  }));

test('when one is told of, no socket is leaving whose subscriber has not been', async () => {
  const told = new Set<string>();
  const seen: number[] = [];
  const world = new Pretended([[50, 51, 52]], (key) => {
    told.add(key);
    const leaving = world.sockets.leaving();
    seen.push(leaving.length);
    assert.ok(leaving.every(({ index }) => told.has(`10.0.0.1:${index}`)));
  });
  for (let port = 0; port < 3; port++)
    assert.is(world.reach.track(target(port)).kernelSocket, port);
  await world.set('10.0.0.1', found('10.0.0.1'));
  assert.equal(seen, [1, 2, 3]);
  world.reach.close();
});

test('who is told may let another go in the same turn', async () => {
  const world: Pretended = new Pretended([[]], () => world.reach.untrack(target(1)));
  for (let port = 0; port < 2; port++) world.reach.track(target(port));
  await world.set('10.0.0.1', found('10.0.0.1'));
  assert.equal(world.changes, ['10.0.0.1:0']);
  world.reach.close();
});

test('the socket that was given up counts until it is released', () =>
  pretend([[50]], async (world) => {
    const { reach } = world;
    reach.track(target(0));
    world.queues.set(50, 700);
    world.now_ms += PATIENCE_MS;
    await eventually('it is given up', () => reach.of(target(0)).state === 'unresolved');
    assert.is(world.leaving(), '0:0');
    await world.set('10.0.0.1', found('10.0.0.1'));
    assert.is(reach.of(target(0)).state, 'unresolved');
    world.sockets.release({ worker: 0, index: 0 });
    await eventually('it is live', () => reach.of(target(0)).state === 'live');
  }));

test('a MAC that changes is told; news that change nothing are not', () =>
  pretend([[50]], async (world) => {
    await world.set('10.0.0.1', found('10.0.0.1'));
    assert.equal(world.reach.track(target(0)), { state: 'live', mac: MAC, kernelSocket: null });
    await world.set('10.0.0.1', { ...found('10.0.0.1'), mac: Uint8Array.from(MAC) });
    assert.equal(world.changes, []);
    const other = Uint8Array.of(2, 0, 0, 0, 0, 2);
    await world.set('10.0.0.1', { ...found('10.0.0.1'), mac: other });
    assert.equal(world.changes, ['10.0.0.1:0']);
    assert.equal(world.reach.of(target(0)).mac, other);
    await world.set('10.0.0.1', { state: 'no_route', mac: null, via: '' });
    assert.equal(world.reach.of(target(0)), { state: 'no_route', mac: null, kernelSocket: null });
  }));

test('a socket that cannot be connected stays free', () =>
  pretend([[50]], async (world) => {
    world.refuse = true;
    assert.equal(world.reach.track(target(0)), {
      state: 'unresolved',
      mac: null,
      kernelSocket: null,
    });
    assert.is(world.leaving(), '');
    world.refuse = false;
    await eventually('it is connected', () => world.reach.of(target(0)).kernelSocket === 0);
  }));

test('a missing neighbour is asked for once a second, however many share it', () =>
  pretend([[]], async (world) => {
    for (let port = 0; port < 10; port++) world.reach.track(target(port));
    world.reach.track({ ip: '10.0.0.2', port: 1, worker: 0 });
    await eventually('both are asked for', () => world.probed.length >= 2);
    assert.equal(world.probed, ['10.0.0.1', '10.0.0.2']);
    await world.set('10.0.0.1', null);
    assert.is(world.probed.length, 2);
    for (const round of [2, 3]) {
      world.now_ms += PROBE_MS;
      await eventually('both are asked for', () => world.probed.length >= 2 * round);
      await sleep(100);
      assert.equal(world.probed.slice(2 * round - 2), ['10.0.0.1', '10.0.0.2']);
    }
    await world.set('10.0.0.1', found('10.0.0.1'));
    assert.equal(world.states(10), Array<ReachState>(10).fill('live'));
  }));

test('a burst of missing neighbours is asked for in turns', () =>
  pretend([[]], async (world) => {
    for (let i = 0; i < 1000; i++) world.hops.set(`10.0.1.${i}`, found(`10.0.1.${i}`));
    for (let i = 0; i < 1000; i++) world.reach.track({ ip: `10.0.1.${i}`, port: 1, worker: 0 });
    assert.is(world.probed.length, 0);
    world.hops.clear();
    for (let i = 0; i < 1000; i++) world.reach.nextHopChanged(`10.0.1.${i}`);
    assert.ok(world.probed.length < 1000, `${world.probed.length} in one turn`);
    await eventually('all are asked for', () => new Set(world.probed).size === 1000);
    assert.is(world.probed.length, 1000);
  }));

test('watching ends with the subscriber, and a stranger may be untracked', () =>
  pretend([[50]], async (world) => {
    world.reach.track(target(0));
    world.reach.track(target(1));
    assert.equal(world.watched, ['10.0.0.1', '10.0.0.1']);
    assert.throws(() => world.reach.track(target(1)), /tracked already/);
    assert.throws(() => world.reach.track(target(2, 5)), /no worker 5/);
    world.reach.untrack(target(0));
    world.reach.untrack(target(0));
    world.reach.untrack(target(1));
    assert.equal(world.watched, []);
    await world.set('10.0.0.1', found('10.0.0.1'));
    assert.equal(world.changes, []);
  }));

test('a pool has at most KERNEL_SOCKETS_MAX sockets', () => {
  assert.throws(
    () => new Pretended([Array<number>(limits.KERNEL_SOCKETS_MAX + 1).fill(1)]),
    /at most/,
  );
});

// ---- on a link ----

const ABSENT = '10.77.0.200';
const PORT = 7001;

/** The IP packet of a copy, as a worker sends it. */
const copyFor = ({ ip, port }: Endpoint, payload: string): Buffer =>
  packetOf({ ip, port }, Buffer.from(payload), { source: REPLICATOR_IP });

interface Wired {
  readonly link: Link;
  readonly reach: Reach;
  readonly pool: readonly number[];
  readonly sockets: KernelSockets;
  readonly leaving: () => string;
  /** States in order, without the first. */
  readonly states: ReachState[];
}

/** A test on a link with a pool of sockets; all of it goes with the test. */
function withReach(name: string, work: (world: Wired) => Promise<void>): void {
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    const link = new Link({ queues: 1 });
    const closers: (() => void)[] = [() => link.close()];
    try {
      const states: ReachState[] = [];
      const at = { netns: link.replicator, interfaceName: 'rep0' };
      const sockets = KernelSockets.open({ ...at, source: REPLICATOR_IP, workers: 1 });
      closers.push(() => sockets.close());
      const pool = sockets.fdsOf(0);
      const watch = new InterfaceWatch({ ...at, onEvent: () => {} });
      closers.push(() => watch.close());
      const nextHops = new NextHops({
        netns: link.replicator,
        watch,
        source: REPLICATOR_IP,
        onChange: (ip) => reach.nextHopChanged(ip),
        onProblem: (sentence) => assert.unreachable(sentence),
      });
      closers.push(() => nextHops.close());
      const reach = new Reach({
        nextHops,
        sockets,
        onChange: (subscriber: Endpoint) => states.push(reach.of(subscriber).state),
      });
      closers.push(() => reach.close());
      const leaving = () =>
        sockets
          .leaving()
          .map(({ worker, index }) => `${worker}:${index}`)
          .join(' ');
      await work({ link, reach, pool, sockets, leaving, states });
    } finally {
      for (const close of closers.reverse()) close();
    }
  });
}

withReach('a host that is there is live at once, or as soon as it has answered', async (world) => {
  const { link, reach, states } = world;
  const there = { ip: HOSTS[0] ?? '', port: PORT, worker: 0 };
  assert.is(reach.track(there).state, 'kernel');
  await eventually('it answers', () => reach.of(there).state === 'live');
  assert.equal(states, ['live']);
  assert.is(
    Buffer.from(reach.of(there).mac ?? []).toString('hex'),
    link.netMac.replaceAll(':', ''),
  );
  reach.untrack(there);
  assert.is(reach.track(there).state, 'live');
});

withReach(
  'a host that does not answer is given up after 3 s, and live when it appears',
  async (world) => {
    const { link, reach, pool, states } = world;
    const absent = { ip: ABSENT, port: PORT, worker: 0 };
    const start = performance.now();
    assert.equal(reach.track(absent), { state: 'kernel', mac: null, kernelSocket: 0 });
    writeSync(pool[0] ?? -1, copyFor(absent, 'waits for a neighbour'));
    await eventually('it is given up', () => reach.of(absent).state === 'unresolved');
    const took_ms = performance.now() - start;
    assert.ok(took_ms >= PATIENCE_MS, String(took_ms));
    assert.is(world.leaving(), '0:0');
    world.sockets.release({ worker: 0, index: 0 });
    link.ip('net', 'addr', 'add', `${ABSENT}/24`, 'dev', 'net0');
    await eventually('a probe finds it', () => reach.of(absent).state === 'live');
    assert.equal(states, ['unresolved', 'live']);
  },
);

withReach(
  'what waited in the socket arrives before the subscriber is live, in order',
  async (world) => {
    const { link, reach, pool, states } = world;
    const absent = { ip: ABSENT, port: PORT, worker: 0 };
    reach.track(absent);
    const socket = pool[0] ?? -1;
    for (let i = 0; i < 50; i++) writeSync(socket, copyFor(absent, String(i)));
    assert.ok(addon.queuedBytes(socket) > 0);
    await sleep(200);
    assert.is(reach.of(absent).state, 'kernel');
    link.ip('net', 'addr', 'add', `${ABSENT}/24`, 'dev', 'net0');
    const sink = addon.openUdp(link.net, { ip: ABSENT, port: PORT });
    try {
      await eventually('it is live', () => {
        const live = reach.of(absent).state === 'live';
        if (live) assert.is(addon.queuedBytes(socket), 0);
        return live;
      });
      const buffer = Buffer.alloc(100);
      for (let i = 0; i < 50; i++) {
        assert.is(buffer.toString('utf8', 0, readSync(sink, buffer)), String(i));
      }
      assert.equal(states, ['live']);
    } finally {
      closeSync(sink);
    }
  },
);

withReach(
  'a host that dies goes through the kernel, then nowhere; its route goes, and it has none',
  async (world) => {
    const { link, reach, states } = world;
    const there = { ip: HOSTS[0] ?? '', port: PORT, worker: 0 };
    reach.track(there);
    await eventually('it answers', () => reach.of(there).state === 'live');
    link.ip('net', 'addr', 'del', `${there.ip}/24`, 'dev', 'net0');
    link.ip(
      'replicator',
      'neigh',
      'replace',
      there.ip,
      'lladdr',
      link.netMac,
      'dev',
      'rep0',
      'nud',
      'probe',
    );
    await eventually('it is given up', () => reach.of(there).state === 'unresolved', 12_000);
    assert.equal(states, ['live', 'kernel', 'unresolved']);
    link.ip('replicator', 'addr', 'del', `${REPLICATOR_IP}/24`, 'dev', 'rep0');
    await eventually('it has no route', () => reach.of(there).state === 'no_route');
  },
);

test.run();
