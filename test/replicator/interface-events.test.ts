/**
 * What is done when the interface changes: a row for each kind of event and what is observed with
 * it; and on a link, what a running replicator says and does.
 *
 * needs: a link
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Interface } from '../../src/memory/addon.js';
import { type Action, plan } from '../../src/replicator/interface-events.js';
import type { InterfaceEvent } from '../../src/routes/interface-watch.js';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually, run } from '../rig/program.js';
import { fantail, Replicator, startUp } from '../rig/replicator.js';
import { copyMode, networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';

const test = suite('interface events');

const config = {
  interfaceName: 'eth7',
  listenIp: '10.0.0.5',
  listenPort: 9000,
  control: { address: '192.168.0.1', port: 12345, explicit: true },
  netns: null,
};

function linkWith(...ips: string[]): Interface {
  return {
    index: 7,
    name: 'eth7',
    mtu: 1500,
    mac: '02:00:00:00:00:07',
    up: true,
    addresses: ips.map((ip) => ({ ip, prefix: 24 })),
    others: [],
    rx_queues: 1,
    tx_queues: 1,
    driver: 'veth',
    driver_version: '1.0',
    combined: true,
    queues_max: 64,
    loopback: false,
  };
}

/** An action as one line; a link is told by its addresses. */
function lineOf(action: Action): string {
  switch (action.kind) {
    case 'warn':
      return `warn ${action.sentence}`;
    case 'judge':
      return `judge ${action.link.others.length}`;
    case 'move':
      return `move ${action.link.addresses.map(({ ip }) => ip).join()}`;
    case 'publish':
      return 'publish';
    case 'end':
      return `end ${action.reason}`;
  }
}

const address = (ip: string, present: boolean): InterfaceEvent => ({
  kind: 'address',
  ip,
  prefix: 24,
  present,
});

interface Row {
  readonly event: InterfaceEvent;
  /** The interface as it is now; null: it is not there any more. */
  readonly link: Interface | null;
  readonly actions: readonly string[];
}

const table: Record<string, Row> = {
  'it goes down: said, and nothing else, since the kernel drops what is sent': {
    event: { kind: 'state', up: false },
    link: null,
    actions: ['warn eth7 is down; nothing is sent until it is up'],
  },
  'it is up again: said': {
    event: { kind: 'state', up: true },
    link: null,
    actions: ['warn eth7 is up again'],
  },
  'it is renamed: said, and followed by its index': {
    event: { kind: 'name', name: 'eth7', before: 'lan0' },
    link: null,
    actions: ['warn lan0 is named eth7 now, and is followed'],
  },
  'another MTU: said; the arena was made for the old one': {
    event: { kind: 'mtu', mtu: 9000 },
    link: null,
    actions: ['warn the MTU of eth7 is 9000 now; start fantail again to use it'],
  },
  'another MAC: every frame leaves from it': {
    event: { kind: 'mac', mac: '02:00:00:00:00:08' },
    link: linkWith('10.0.0.5'),
    actions: [
      'judge 0',
      'move 10.0.0.5',
      'warn eth7 has changed its mac; copies leave from 10.0.0.5 now',
      'publish',
    ],
  },
  'a further address: copies leave from the listen address all the same': {
    event: address('10.0.0.4', true),
    link: linkWith('10.0.0.4', '10.0.0.5'),
    actions: [
      'judge 0',
      'move 10.0.0.4,10.0.0.5',
      'warn eth7 has changed its address; copies leave from 10.0.0.5 now',
      'publish',
    ],
  },
  'the listen address goes: copies leave from the first of the others': {
    event: address('10.0.0.5', false),
    link: linkWith('10.0.0.4', '10.0.0.6'),
    actions: [
      'judge 0',
      'move 10.0.0.4,10.0.0.6',
      'warn eth7 has changed its address; copies leave from 10.0.0.4 now',
      'publish',
    ],
  },
  'the last address goes: the listen address is all there is': {
    event: address('10.0.0.5', false),
    link: linkWith(),
    actions: [
      'judge 0',
      'move ',
      'warn eth7 has changed its address; copies leave from 10.0.0.5 now',
      'publish',
    ],
  },
  'an address of another interface comes: it decides who may subscribe': {
    event: { kind: 'other_address', ip: '10.9.9.9' },
    link: linkWith('10.0.0.5'),
    actions: ['judge 0'],
  },
  'the control address goes: said': {
    event: { kind: 'other_address', ip: '192.168.0.1' },
    link: linkWith('10.0.0.5'),
    actions: [
      'judge 0',
      'warn the control address 192.168.0.1 is gone from this host; nobody reaches it until it is back',
    ],
  },
  'the control address comes back: said': {
    event: { kind: 'other_address', ip: '192.168.0.1' },
    link: { ...linkWith('10.0.0.5'), others: [{ ip: '192.168.0.1', prefix: 24 }] },
    actions: ['judge 1', 'warn the control address 192.168.0.1 is back'],
  },
  'more queues: said, since those are not served': {
    event: { kind: 'queues', rx: 4, before: 2 },
    link: null,
    actions: [
      'warn eth7 has 4 RX queues now, not 2; which are served is decided at the start: ' +
        'start fantail again',
    ],
  },
  'an address that goes with the interface: nothing, since its end is told next': {
    event: address('10.0.0.5', false),
    link: null,
    actions: [],
  },
  'it is gone: the replicator ends': {
    event: { kind: 'gone' },
    link: null,
    actions: ['end the interface eth7 is gone'],
  },
};

for (const [name, { event, link, actions }] of Object.entries(table))
  test(name, () => assert.equal(plan(event, { config, link }).map(lineOf), actions));

for (const mode of ['copy', 'socket'])
  networkTest(
    test,
    `changes are said as they come and followed, and the end of the interface is the end: ${mode}`,
    { queues: 1 },
    async (link) => {
      const replicator = await Replicator.start({
        link,
        flags: ['--mode', mode, '--layout', 'split'],
      });
      const { program } = replicator;
      const says = (words: string) => eventually(words, () => program.told().includes(words), 5000);
      const ip = (...words: string[]) => link.ip('replicator', ...words);
      ip('link', 'set', 'rep0', 'address', '02:00:00:00:00:09');
      await says(`rep0 has changed its mac; copies leave from ${REPLICATOR_IP} now`);
      ip('link', 'set', 'rep0', 'down');
      ip('link', 'set', 'rep0', 'name', 'other0');
      await says('rep0 is named other0 now, and is followed');
      ip('link', 'set', 'other0', 'up');
      // another address than that it listens on, and then only that one
      ip('addr', 'add', '10.77.0.9/24', 'dev', 'other0');
      await says(`other0 has changed its address; copies leave from ${REPLICATOR_IP} now`);
      ip('link', 'del', 'other0');
      await says('the interface other0 is gone');
      assert.is((await program.wait()).status, 1);
      assert.equal(replicator.processes(), []);
      replicator.close();
    },
  );

networkTest(
  test,
  'an interface that is moved to another namespace is gone, and its XDP program with us',
  { queues: 1 },
  async (link) => {
    const replicator = await Replicator.start({ link, flags: copyMode('inline') });
    link.ip('replicator', 'link', 'set', 'rep0', 'netns', link.net);
    assert.is((await replicator.program.wait()).status, 1);
    assert.match(replicator.told(), /the interface rep0 is gone/);
    await eventually('no program is on it', () => {
      return !/xdp/.test(link.ip('net', '-d', 'link', 'show', 'dev', 'rep0'));
    });
    assert.equal(replicator.processes(), []);
    replicator.close();
  },
);

networkTest(
  test,
  'queues that come are told of, since nobody serves them',
  { queues: 2 },
  async (link) => {
    const channels = (namespace: string, ...words: string[]) =>
      run('ip', ['netns', 'exec', namespace, 'ethtool', '-L', ...words]);
    // native XDP needs as many RX queues as the other end has TX queues
    channels(link.net, 'net0', 'tx', '1');
    channels(link.replicator, 'rep0', 'rx', '1');
    await withReplicator({ link, flags: copyMode('inline') }, async (replicator) => {
      channels(link.replicator, 'rep0', 'rx', '2');
      const said = /rep0 has 2 RX queues now, not 1; .* start fantail again/;
      await eventually('it is said', () => said.test(replicator.told()));
    });
  },
);

networkTest(
  test,
  'the address of the control port goes and comes back: said, and then it answers again',
  { queues: 1 },
  async (link) => {
    const control = { ip: '192.168.77.1', port: 12345 };
    const address = (how: 'add' | 'del') =>
      link.ip('replicator', 'addr', how, `${control.ip}/32`, 'dev', 'lo');
    address('add');
    const tokens = join(mkdtempSync(join(tmpdir(), 'fantail-')), 'token');
    writeFileSync(tokens, 'x'.repeat(32), { mode: 0o600 });
    const flags = copyMode(
      'inline',
      '--control',
      `${control.ip}:${control.port}`,
      '--token-file',
      tokens,
    );
    const { program } = await startUp({ link, inside: true, flags });
    await program.line(/^ready .*$/m);
    const list = () =>
      fantail(
        ['list', '--control', `ws://${control.ip}:${control.port}`, '--token-file', tokens],
        link.replicator,
      );
    assert.is((await list()).end?.status, 0);
    address('del');
    await eventually('it is said', () => / is gone from this host/.test(program.told()));
    address('add');
    await eventually('it is said', () => /192\.168\.77\.1 is back/.test(program.told()));
    assert.is((await list()).end?.status, 0);
    process.kill(program.pid, 'SIGTERM');
    assert.is((await program.wait()).status, 0, program.told());
    rmSync(dirname(tokens), { recursive: true });
    program.close();
  },
);

networkTest(
  test,
  'after the listen address has gone, copies leave from the next one and still arrive',
  { queues: 1 },
  async (link) => {
    await withReplicator(
      { link, flags: ['--mode', 'copy', '--layout', 'inline'] },
      async (replicator) => {
        const subscribers = subscribersOf(3);
        await replicator.subscribe(subscribers);
        // of another prefix: with the first address of a subnet all others of it go
        link.ip('replicator', 'addr', 'add', '10.77.0.9/25', 'dev', 'rep0');
        link.ip('replicator', 'addr', 'del', `${REPLICATOR_IP}/24`, 'dev', 'rep0');
        await eventually('it leaves from the other one', () =>
          replicator.told().includes('copies leave from 10.77.0.9 now'),
        );
        await replicator.subscribe(subscribers); // waits until all are live again
        const rows = await replicator.list();
        assert.equal(
          rows.map(({ state }) => state),
          ['live', 'live', 'live'],
        );
      },
    );
  },
);

test.run();
