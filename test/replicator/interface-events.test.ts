/**
 * What is done when the interface changes: a row for each kind of event and what is observed with
 * it; and on a link, what a running replicator says and does.
 *
 * needs: a link
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Interface } from '../../src/memory/addon.js';
import { type Action, plan } from '../../src/replicator/interface-events.js';
import type { InterfaceEvent } from '../../src/routes/interface-watch.js';
import { REPLICATOR_IP } from '../rig/link.js';
import { eventually } from '../rig/program.js';
import { Replicator } from '../rig/replicator.js';
import { networkTest, subscribersOf, withReplicator } from '../rig/scenario.js';

const test = suite('interface events');

const config = { interfaceName: 'eth7', listenIp: '10.0.0.5', listenPort: 9000 };

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
    loopback: false,
  };
}

/** An action as one line; a link is told by its addresses. */
function lineOf(action: Action): string {
  switch (action.kind) {
    case 'warn':
      return `warn ${action.sentence}`;
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
      'move 10.0.0.5',
      'warn eth7 has changed its mac; copies leave from 10.0.0.5 now',
      'publish',
    ],
  },
  'a further address: copies leave from the listen address all the same': {
    event: address('10.0.0.4', true),
    link: linkWith('10.0.0.4', '10.0.0.5'),
    actions: [
      'move 10.0.0.4,10.0.0.5',
      'warn eth7 has changed its address; copies leave from 10.0.0.5 now',
      'publish',
    ],
  },
  'the listen address goes: copies leave from the first of the others': {
    event: address('10.0.0.5', false),
    link: linkWith('10.0.0.4', '10.0.0.6'),
    actions: [
      'move 10.0.0.4,10.0.0.6',
      'warn eth7 has changed its address; copies leave from 10.0.0.4 now',
      'publish',
    ],
  },
  'the last address goes: the listen address is all there is': {
    event: address('10.0.0.5', false),
    link: linkWith(),
    actions: [
      'move ',
      'warn eth7 has changed its address; copies leave from 10.0.0.5 now',
      'publish',
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
