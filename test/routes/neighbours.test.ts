/**
 * The mirror of routes and neighbours against a real link and real ARP: what becomes reachable,
 * changes, dies, loses its route; and what happens to the interface.
 *
 * needs: a link
 */
import { closeSync, readdirSync, readlinkSync, writeSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addon } from '../../src/memory/addon.js';
import { type InterfaceEvent, InterfaceWatch } from '../../src/routes/interface-watch.js';
import { NextHops } from '../../src/routes/next-hops.js';
import { FEED_IP, HOSTS, Link, NEIGHBOURS, NOBODY_IP, REPLICATOR_IP } from '../rig/link.js';
import { eventually, lackForNetwork, run, sleep } from '../rig/program.js';

const test = suite('neighbours');

const HOST = HOSTS[0] ?? '';
/** A host behind a gateway, on no network here. */
const FAR_IP = '10.88.0.1';

interface World {
  readonly link: Link;
  readonly watch: InterfaceWatch;
  readonly nextHops: NextHops;
  readonly changes: string[];
  readonly events: InterfaceEvent[];
  readonly problems: string[];
  /** State, MAC and next hop of a destination as one line. */
  readonly at: (ip: string) => string;
}

/** One of the permanent entries of the link. */
function neighbour(index: number): { ip: string; mac: string } {
  const entry = NEIGHBOURS[index];
  if (entry === undefined) throw new Error(`the link has no neighbour ${index}`);
  return entry;
}

function macText(mac: Uint8Array | null): string {
  return mac === null
    ? '-'
    : Buffer.from(mac)
        .toString('hex')
        .replace(/..(?!$)/g, '$&:');
}

/** A test with a link and the mirror of rep0; both go with the test, however that ends. */
function withWorld(
  name: string,
  work: (world: World) => Promise<void>,
  options: { source?: string; prepare?: (link: Link) => void } = {},
): void {
  test(name, async () => {
    const lack = lackForNetwork();
    if (lack !== null) {
      console.log(`skip: ${lack}`);
      return;
    }
    const link = new Link({ queues: 1 });
    const closers = [() => link.close()];
    try {
      options.prepare?.(link);
      const changes: string[] = [];
      const events: InterfaceEvent[] = [];
      const problems: string[] = [];
      const netns = link.replicator;
      const onEvent = (event: InterfaceEvent) => events.push(event);
      const watch = new InterfaceWatch({ netns, interfaceName: 'rep0', onEvent });
      closers.push(() => watch.close());
      const nextHops = new NextHops({
        netns,
        watch,
        source: options.source ?? null,
        onChange: (ip) => changes.push(ip),
        onProblem: (sentence) => problems.push(sentence),
      });
      closers.push(() => nextHops.close());
      const at = (ip: string) => {
        const { state, mac, via } = nextHops.nextHop(ip);
        return `${state} ${macText(mac)} ${via}`;
      };
      await work({ link, watch, nextHops, changes, events, problems, at });
      assert.equal(problems, []);
      for (const each of [nextHops, nextHops, watch, watch]) each.close(); // twice is fine
    } finally {
      for (const close of closers.reverse()) close();
    }
  });
}

test('a missing interface or namespace is refused, and nothing stays open', () => {
  const onEvent = () => {};
  // Node itself may close one of its own meanwhile, but what is new would be ours. They are told by
  // what they are: a program that lists them would have pipes of its own among them.
  const open = () =>
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)];
      } catch {
        return []; // that of the list itself
      }
    });
  const before = open();
  assert.throws(
    () => new InterfaceWatch({ netns: null, interfaceName: 'ftd-none', onEvent }),
    /no interface 'ftd-none'/,
  );
  assert.throws(
    () => new InterfaceWatch({ netns: 'ftd-none', interfaceName: 'lo', onEvent }),
    /no network namespace/,
  );
  assert.equal(
    open().filter((what) => !before.includes(what)),
    [],
  );
});

test('on the loopback everything that is routed there is reachable, without a MAC to speak of', () => {
  const netns = null;
  const watch = new InterfaceWatch({ netns, interfaceName: 'lo', onEvent: () => {} });
  const nextHops = new NextHops({
    netns,
    watch,
    source: null,
    onChange: () => {},
    onProblem: () => {},
  });
  assert.equal(nextHops.nextHop('127.0.0.2'), {
    state: 'reachable',
    mac: new Uint8Array(6),
    via: '127.0.0.2',
  });
  nextHops.close();
  watch.close();
});

withWorld('a host on the link is unresolved until it has been asked for', async (world) => {
  const { nextHops, changes, link, at } = world;
  nextHops.watch(HOST);
  assert.is(at(HOST), `unresolved - ${HOST}`);
  nextHops.probe(HOST);
  await eventually('it answers', () => at(HOST) === `reachable ${link.netMac} ${HOST}`);
  assert.equal(changes, [HOST]);
});

withWorld('entries that were there before are known at once', async ({ nextHops, changes, at }) => {
  for (const { ip, mac } of NEIGHBOURS) {
    nextHops.watch(ip);
    assert.is(at(ip), `reachable ${mac} ${ip}`);
  }
  assert.equal(changes, []);
});

withWorld('a probe leaves a permanent entry permanent', async ({ nextHops, link }) => {
  const { ip, mac } = neighbour(0);
  nextHops.watch(ip);
  nextHops.probe(ip);
  assert.match(link.ip('replicator', 'neigh', 'show', ip), new RegExp(`${mac} PERMANENT`));
});

withWorld('a MAC that changes is told, and only to those who watch', async (world) => {
  const { nextHops, changes, link, at } = world;
  nextHops.watch(HOST);
  const set = (mac: string, state: string) =>
    link.ip('replicator', 'neigh', 'replace', HOST, 'lladdr', mac, 'dev', 'rep0', 'nud', state);
  for (const [mac, state] of [
    ['02:00:00:00:00:01', 'reachable'],
    ['02:00:00:00:00:02', 'permanent'],
    ['02:00:00:00:00:03', 'noarp'],
  ] as const) {
    set(mac, state);
    await eventually(`${state} is usable`, () => at(HOST) === `reachable ${mac} ${HOST}`);
  }
  assert.equal(changes, [HOST, HOST, HOST]);
  nextHops.unwatch(HOST);
  set('02:00:00:00:00:04', 'permanent');
  await eventually('the table follows', () => at(HOST).includes('00:04'));
  assert.is(changes.length, 3);
});

withWorld('watching is counted', async ({ nextHops, changes, link }) => {
  nextHops.watch(HOST);
  nextHops.watch(HOST);
  nextHops.unwatch(HOST);
  link.ip(
    'replicator',
    'neigh',
    'replace',
    HOST,
    'lladdr',
    '02:00:00:00:00:01',
    'dev',
    'rep0',
    'nud',
    'permanent',
  );
  await eventually('a change', () => changes.length === 1);
  nextHops.unwatch(HOST);
  nextHops.unwatch(HOST);
});

withWorld("a host's new MAC is learnt from its own ARP", async ({ nextHops, link, at }) => {
  nextHops.watch(HOST);
  nextHops.probe(HOST);
  await eventually('it answers', () => at(HOST).startsWith('reachable'));
  link.ip('net', 'link', 'set', 'net0', 'address', '02:00:00:00:00:77');
  // Its own question for our MAC carries its new one.
  const fd = addon.openUdp(link.net, { ip: HOST, port: 0 });
  addon.connectUdp(fd, REPLICATOR_IP, 9);
  writeSync(fd, 'hello');
  closeSync(fd);
  await eventually('its new MAC', () => at(HOST) === `reachable 02:00:00:00:00:77 ${HOST}`);
});

withWorld(
  'a stale entry is usable, and confirmed in the end',
  async ({ nextHops, changes, link, at }) => {
    link.ip(
      'replicator',
      'neigh',
      'add',
      HOST,
      'lladdr',
      link.netMac,
      'dev',
      'rep0',
      'nud',
      'stale',
    );
    nextHops.watch(HOST);
    await eventually('the entry', () => at(HOST) === `reachable ${link.netMac} ${HOST}`);
    const shown = () => link.ip('replicator', 'neigh', 'show', HOST);
    await eventually('the kernel confirms it', () => shown().includes('REACHABLE'), 12_000);
    assert.ok(changes.length <= 1, 'it was usable all the time');
  },
);

withWorld(
  'a deleted entry of a live host is asked for, and its MAC used meanwhile',
  async (world) => {
    const { nextHops, changes, link, at } = world;
    nextHops.watch(HOST);
    nextHops.probe(HOST);
    await eventually('it answers', () => at(HOST).startsWith('reachable'));
    changes.length = 0;
    for (let i = 0; i < 5; i++) {
      link.ip('replicator', 'neigh', 'del', HOST, 'dev', 'rep0');
      await eventually('the kernel knows it again', () =>
        link.ip('replicator', 'neigh', 'show', HOST).includes('REACHABLE'),
      );
      await sleep(20);
    }
    assert.equal(changes, []);
    assert.is(at(HOST), `reachable ${link.netMac} ${HOST}`);
  },
);

withWorld('a deleted entry of a dead host is given up once it has not answered', async (world) => {
  const { nextHops, changes, link, at } = world;
  nextHops.watch(NOBODY_IP);
  link.ip(
    'replicator',
    'neigh',
    'add',
    NOBODY_IP,
    'lladdr',
    '02:00:00:00:00:01',
    'dev',
    'rep0',
    'nud',
    'reachable',
  );
  await eventually('the entry', () => at(NOBODY_IP).startsWith('reachable'));
  link.ip('replicator', 'neigh', 'del', NOBODY_IP, 'dev', 'rep0');
  await sleep(500);
  assert.is(at(NOBODY_IP), `reachable 02:00:00:00:00:01 ${NOBODY_IP}`);
  await eventually('it is given up', () => at(NOBODY_IP) === `unresolved - ${NOBODY_IP}`, 6000);
  assert.is(changes.length, 2);
});

withWorld('a host that is switched off becomes unresolved, and comes back', async (world) => {
  const { nextHops, link, at } = world;
  nextHops.watch(HOST);
  nextHops.probe(HOST);
  await eventually('it answers', () => at(HOST).startsWith('reachable'));
  link.ip('net', 'addr', 'del', `${HOST}/24`, 'dev', 'net0');
  link.ip(
    'replicator',
    'neigh',
    'replace',
    HOST,
    'lladdr',
    link.netMac,
    'dev',
    'rep0',
    'nud',
    'probe',
  );
  await eventually('it is given up', () => at(HOST) === `unresolved - ${HOST}`, 8000);
  link.ip('net', 'addr', 'add', `${HOST}/24`, 'dev', 'net0');
  nextHops.probe(HOST);
  await eventually('it answers again', () => at(HOST).startsWith('reachable'));
});

withWorld('a destination beyond the subnet goes by the gateway, and follows it', async (world) => {
  const { nextHops, changes, link, at } = world;
  const [first, second] = [neighbour(0), neighbour(1)];
  nextHops.watch(FAR_IP);
  assert.is(at(FAR_IP), 'no_route - ');
  link.ip('replicator', 'route', 'add', 'default', 'via', first.ip);
  await eventually('the route', () => at(FAR_IP) === `reachable ${first.mac} ${first.ip}`);
  link.ip('replicator', 'route', 'add', '10.88.0.0/16', 'via', second.ip);
  await eventually('the better route', () => at(FAR_IP) === `reachable ${second.mac} ${second.ip}`);
  link.ip('replicator', 'route', 'del', '10.88.0.0/16');
  await eventually('the first again', () => at(FAR_IP) === `reachable ${first.mac} ${first.ip}`);
  link.ip('replicator', 'route', 'add', 'prohibit', '10.88.0.0/16');
  await eventually('a prohibition', () => at(FAR_IP) === 'no_route - ');
  link.ip('replicator', 'route', 'replace', 'blackhole', '10.88.0.0/16');
  await sleep(100);
  assert.is(at(FAR_IP), 'no_route - ');
  link.ip('replicator', 'route', 'del', 'blackhole', '10.88.0.0/16');
  await eventually('the first again', () => at(FAR_IP) === `reachable ${first.mac} ${first.ip}`);
  link.ip('replicator', 'route', 'del', 'default');
  await eventually('no route', () => at(FAR_IP) === 'no_route - ');
  assert.ok(changes.every((ip) => ip === FAR_IP));
});

withWorld(
  'many destinations share a gateway, and all hear of it',
  async ({ nextHops, changes, link, at }) => {
    const ips = Array.from({ length: 200 }, (_, index) => `10.88.1.${index}`);
    for (const ip of ips) nextHops.watch(ip);
    link.ip('replicator', 'route', 'add', 'default', 'via', FEED_IP);
    await eventually('the route', () => changes.length === ips.length);
    assert.ok(ips.every((ip) => at(ip) === `unresolved - ${FEED_IP}`));
    nextHops.probe(ips[0] ?? '');
    await eventually('the gateway answers', () => changes.length === 2 * ips.length);
    assert.ok(ips.every((ip) => at(ip) === `reachable ${link.netMac} ${FEED_IP}`));
  },
);

withWorld('a route out of another interface is none', async ({ nextHops, link, at }) => {
  link.ip('replicator', 'link', 'add', 'oth0', 'type', 'veth', 'peer', 'name', 'oth1');
  link.ip('replicator', 'link', 'set', 'oth0', 'up');
  link.ip('replicator', 'route', 'add', '10.88.0.0/16', 'dev', 'oth0');
  nextHops.watch(FAR_IP);
  assert.is(at(FAR_IP), 'no_route - ');
});

withWorld('own and broadcast addresses have no next hop', async ({ at }) => {
  for (const ip of [REPLICATOR_IP, '10.77.0.255', '255.255.255.255'])
    assert.is(at(ip), 'no_route - ');
});

withWorld('a group has the MAC of RFC 1112, whatever routes say', async ({ at, link }) => {
  for (const [ip, mac] of [
    ['239.1.2.3', '01:00:5e:01:02:03'],
    // the upper five bits of the 28 are not in it
    ['239.129.2.3', '01:00:5e:01:02:03'],
    ['224.0.1.255', '01:00:5e:00:01:ff'],
  ] as const) {
    assert.is(at(ip), `reachable ${mac} ${ip}`);
    link.ip('replicator', 'route', 'add', 'unreachable', `${ip}/32`);
    assert.is(at(ip), `reachable ${mac} ${ip}`);
  }
});

withWorld(
  'a rule may choose the route by the address that copies leave with',
  async ({ nextHops, link, at }) => {
    const gateway = neighbour(0);
    nextHops.watch(FAR_IP);
    link.ip('replicator', 'route', 'add', 'default', 'via', gateway.ip, 'table', '77');
    await sleep(100);
    assert.is(at(FAR_IP), 'no_route - ');
    link.ip('replicator', 'rule', 'add', 'from', REPLICATOR_IP, 'lookup', '77');
    await eventually('the rule', () => at(FAR_IP) === `reachable ${gateway.mac} ${gateway.ip}`);
  },
  { source: REPLICATOR_IP },
);

withWorld('what happens to the interface is told once each', async ({ watch, events, link }) => {
  const told = async (expected: InterfaceEvent) => {
    await eventually(JSON.stringify(expected), () => events.length > 0);
    assert.equal(events.shift(), expected);
    await sleep(30);
    assert.equal(events, []);
  };
  link.ip('net', 'link', 'set', 'net0', 'down');
  await told({ kind: 'state', up: false });
  link.ip('net', 'link', 'set', 'net0', 'up');
  await told({ kind: 'state', up: true });
  link.ip('replicator', 'link', 'set', 'rep0', 'mtu', '1400');
  await told({ kind: 'mtu', mtu: 1400 });
  link.ip('replicator', 'link', 'set', 'rep0', 'address', '02:00:00:00:00:09');
  await told({ kind: 'mac', mac: '02:00:00:00:00:09' });
  link.ip('replicator', 'addr', 'add', '10.66.0.1/16', 'dev', 'rep0');
  await told({ kind: 'address', ip: '10.66.0.1', prefix: 16, present: true });
  link.ip(
    'replicator',
    'addr',
    'change',
    '10.66.0.1/16',
    'dev',
    'rep0',
    'valid_lft',
    '100',
    'preferred_lft',
    '100',
  );
  link.ip('replicator', 'addr', 'del', '10.66.0.1/16', 'dev', 'rep0');
  await told({ kind: 'address', ip: '10.66.0.1', prefix: 16, present: false });
  assert.is(watch.interface.mtu, 1400);
  link.ip('replicator', 'link', 'del', 'rep0');
  await eventually('its end', () => events.some((event) => event.kind === 'gone'));
  assert.is(events.filter((event) => event.kind === 'gone').length, 1);
});

withWorld('an interface that is switched off has no routes, and has them again', async (world) => {
  const { nextHops, link, at, events } = world;
  nextHops.watch(HOST);
  link.ip('replicator', 'link', 'set', 'rep0', 'down');
  await eventually('no route', () => at(HOST) === 'no_route - ');
  link.ip('replicator', 'link', 'set', 'rep0', 'up');
  await eventually('a route', () => at(HOST) === `unresolved - ${HOST}`);
  await eventually('both events', () => events.length === 2);
  assert.equal(
    events.map((event) => event.kind === 'state' && event.up),
    [false, true],
  );
});

withWorld('an address that is removed takes its routes along', async ({ nextHops, link, at }) => {
  nextHops.watch(HOST);
  link.ip('replicator', 'addr', 'del', `${REPLICATOR_IP}/24`, 'dev', 'rep0');
  await eventually('no route', () => at(HOST) === 'no_route - ');
});

withWorld(
  'an interface that goes takes everything along, and a new one of its name is another',
  async (world) => {
    const { nextHops, link, at, changes } = world;
    nextHops.watch(HOST);
    nextHops.watch(FAR_IP);
    link.ip('replicator', 'link', 'del', 'rep0');
    await eventually('the end', () => changes.includes(HOST));
    link.ip('replicator', 'link', 'add', 'rep0', 'type', 'veth', 'peer', 'name', 'oth1');
    assert.is(at(HOST), 'no_route - ');
    nextHops.probe(HOST);
  },
);

withWorld('lost events are made up for by reading everything again', async (world) => {
  const { nextHops, link, at, events } = world;
  nextHops.watch(HOST);
  nextHops.watch(FAR_IP);
  // All within one turn of the event loop, so that nothing is read meanwhile: some 25 MB of events
  // in a 4 MiB buffer.
  const flood = Array.from({ length: 30_000 }, (_, index) => {
    const mac = `02:00:00:00:${((index >> 8) & 0xff).toString(16)}:${(index & 0xff).toString(16)}`;
    return `neigh replace ${HOST} lladdr ${mac} dev rep0 nud permanent`;
  });
  const last = [
    `neigh replace ${HOST} lladdr 02:00:00:00:ff:01 dev rep0 nud permanent`,
    'addr add 10.66.0.1/16 dev rep0',
    'link set rep0 mtu 1400',
    `route add default via ${HOST}`,
  ];
  run('ip', ['-n', link.replicator, '-batch', '-'], `${[...flood, ...last].join('\n')}\n`);
  await eventually('the last MAC', () => at(HOST) === `reachable 02:00:00:00:ff:01 ${HOST}`);
  await eventually('the route', () => at(FAR_IP) === `reachable 02:00:00:00:ff:01 ${HOST}`);
  assert.equal(events.map(({ kind }) => kind).sort(), ['address', 'mtu']);
});

test.run();
