/**
 * Goal: a command is called with values, and a word that is none is a UsageError that names what it
 * was for. Method: the commands as they are declared, their last step replaced by one that keeps
 * what it was given; nothing runs.
 *
 * needs: a core
 */
import type { Command } from 'commander';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { replicatorCommand } from '../../src/cli/declarations/replicator.js';
import { fantail } from '../../src/cli/fantail.js';
import { UsageError } from '../../src/domain/errors.js';

const test = suite('arguments');

/** What the command is called with: its arguments, then its flags. */
async function given(command: Command, words: readonly string[]): Promise<unknown[]> {
  let values: unknown[] = [];
  command.action((...all: unknown[]) => {
    values = all.slice(0, -1); // the last is the command itself
  });
  await command.parseAsync(words, { from: 'user' });
  return values;
}

function find(names: readonly string[]): Command {
  let found = fantail();
  for (const name of names) {
    const next = found.commands.find((each) => each.name() === name);
    assert.ok(next, name);
    found = next;
  }
  return found;
}

const FEED = ['eth0', '10.0.0.1', '5000'];
const CONTROL = { control: 'ws://127.0.0.1:12345' };
const UP = {
  mode: 'auto',
  layout: 'auto',
  queues: 'all',
  order: 'rotate',
  udpChecksum: 'zero',
  multicastTtl: 1,
  metricsSubscribers: 256,
  transmit: 'ring',
  logFormat: 'text',
  logLevel: 'info',
};
const MEASURE = ['10.0.0.5', '5000', '10.0.0.9', '9000', '10', '0.5'];

const right: [command: string, words: string[], values: unknown[]][] = [
  ['up', FEED, ['eth0', '10.0.0.1', 5000, UP]],
  [
    'up',
    [...FEED, '--queues', '3,1', '--workers', '2', '--cpus', '5,1-2', '--busy-poll'],
    [
      'eth0',
      '10.0.0.1',
      5000,
      { ...UP, queues: [1, 3], workers: 2, cpus: [5, 1, 2], busyPoll: true },
    ],
  ],
  [
    'up',
    [
      '-',
      '10.0.0.1',
      '1',
      '--control',
      '127.0.0.2:1',
      '--allow',
      '10.0.0.0/8',
      '--allow',
      '1.2.3.4',
    ],
    [
      '-',
      '10.0.0.1',
      1,
      { ...UP, control: { address: '127.0.0.2', port: 1 }, allow: ['10.0.0.0/8', '1.2.3.4/32'] },
    ],
  ],
  [
    'up',
    [...FEED, '--legacy-control', '10.0.0.5'],
    ['eth0', '10.0.0.1', 5000, { ...UP, legacyControl: { address: '10.0.0.5', port: 12345 } }],
  ],
  ['add', ['10.0.0.34', '65535'], ['10.0.0.34', 65535, CONTROL]],
  ['stats', ['--watch'], [{ ...CONTROL, watch: 1 }]],
  ['stats', ['--watch', '0.1'], [{ ...CONTROL, watch: 0.1 }]],
  ['stats', ['--queues'], [{ ...CONTROL, queues: true }]],
  ['top', [], [{ ...CONTROL, interval: 1 }]],
  ['top', ['--interval', '0.1'], [{ ...CONTROL, interval: 0.1 }]],
  ['send', ['10.0.0.1', '9'], ['10.0.0.1', 9, 10, 'fantail test', {}]],
  ['send', ['10.0.0.1', '9', '3', 'x', '--rate', '2.5'], ['10.0.0.1', 9, 3, 'x', { rate: 2.5 }]],
  ['bench', MEASURE, ['10.0.0.5', 5000, '10.0.0.9', 9000, 10, 0.5, { ...CONTROL, warmUp: 0 }]],
  ['demo', [], [{ layout: 'inline', compare: true, rate: 1000 }]],
  ['demo', ['--busy-poll'], [{ layout: 'inline', compare: true, rate: 1000, busyPoll: true }]],
  [
    'demo',
    ['--no-busy-poll', '--no-compare'],
    [{ layout: 'inline', compare: false, rate: 1000, busyPoll: false }],
  ],
  [
    'demo',
    ['--mode', 'skb', '--layout', 'split', '--rate', '50000', '--seconds', '5', '--json'],
    [{ layout: 'split', compare: true, mode: 'skb', rate: 50_000, seconds: 5, json: true }],
  ],
  [
    'doctor',
    [],
    [
      undefined,
      undefined,
      undefined,
      { mode: 'auto', layout: 'auto', queues: 'all', transmit: 'ring' },
    ],
  ],
  [
    'doctor',
    [...FEED, '--source', '10.0.0.9:7000', '--queues', '1', '--cpus', '2', '--control', 'ws://h:1'],
    [
      'eth0',
      '10.0.0.1',
      5000,
      {
        mode: 'auto',
        layout: 'auto',
        queues: [1],
        cpus: [2],
        transmit: 'ring',
        source: { ip: '10.0.0.9', port: 7000 },
        control: 'ws://h:1',
      },
    ],
  ],
  ['filter build', [], ['.', {}]],
  [
    'filter test',
    ['f.wasm', '--param', 'hex:4d4F'],
    ['f.wasm', undefined, { udpChecksum: 'zero', param: Uint8Array.of(0x4d, 0x4f) }],
  ],
  [
    'filter use',
    ['vlan', '--param', 'hex:4d'],
    ['vlan', undefined, undefined, { ...CONTROL, param: 'hex:4d' }],
  ],
];

for (const [command, words, values] of right)
  test(`values, not words: ${command} ${words.join(' ')}`, async () => {
    assert.equal(await given(find(command.split(' ')), words), values);
  });

const wrong: [command: string, words: string[], says: RegExp][] = [
  ['up', ['eth0 ', '10.0.0.1', '5000'], /^'eth0 ' cannot name a network interface; see: ip link$/],
  ['up', ['a-name-too-long-for-linux', '10.0.0.1', '5000'], /cannot name/],
  ['up', ['eth0', '10.0.0', '5000'], /^listen_ip must be an IPv4 address such as 10.0.0.34, not/],
  [
    'up',
    ['eth0', '10.0.0.1', '05000'],
    /^listen_port must be a port from 1 to 65535, not '05000'$/,
  ],
  [
    'up',
    [...FEED, '--mode', 'fast'],
    /^--mode must be one of auto, zerocopy, copy, skb, socket, not 'fast'$/,
  ],
  [
    'up',
    [...FEED, '--layout', 'both'],
    /^--layout must be one of auto, inline, split, not 'both'$/,
  ],
  ['up', [...FEED, '--queues', '64'], /^--queues must be numbers up to 63 such as 0, 0-3 or 0,2/],
  ['top', ['--interval', '0'], /^--interval must be a number from 0.1 to 3600, not '0'$/],
  ['up', [...FEED, '--workers', '0'], /^--workers must be a whole number from 1 to 16, not '0'$/],
  ['up', [...FEED, '--workers', '17'], /^--workers/],
  ['up', [...FEED, '--cpus', '1,x'], /^--cpus must be numbers up to 1023/],
  ['up', [...FEED, '--order', 'random'], /^--order must be one of rotate, fixed, not 'random'$/],
  ['up', [...FEED, '--udp-checksum', 'half'], /^--udp-checksum must be one of zero, full, not/],
  ['up', [...FEED, '--control', '127.0.0.1'], /^--control must be IP:PORT such as 127.0.0.1:12345/],
  ['up', [...FEED, '--control', '127.0.0.1:0'], /^the port of --control must be a port from 1/],
  ['up', [...FEED, '--control', 'host:1'], /^the address of --control must be an IPv4 address/],
  [
    'up',
    [...FEED, '--allow', '10.0.0.0/33'],
    /^--allow must be a subnet such as 10.0.0.0\/24, not/,
  ],
  ['up', [...FEED, '--legacy-control', '1.2.3.4:1:2'], /^--legacy-control must be IP or IP:PORT/],
  ['up', [...FEED, '--legacy-control', '1.2.3.4:0'], /^the port of --legacy-control must be/],
  ['demo', ['--layout', 'diagonal'], /^--layout must be one of/],
  ['demo', ['--mode', 'fast'], /^--mode must be one of/],
  ...['0', '50001', '1e3', 'many'].map((word): [string, string[], RegExp] => [
    'demo',
    ['--rate', word],
    /^--rate must be a whole/,
  ]),
  ...['0', '-1', '1.5', '86401'].map((word): [string, string[], RegExp] => [
    'demo',
    ['--seconds', word],
    /^--seconds must be/,
  ]),
  ['send', ['10.0.0.1', '9', '--rate', '0'], /^--rate must be a number from 0.001 to 1000000, not/],
  ['send', ['10.0.0.1', '9', '--interval-ms', '3600001'], /^--interval-ms must be a number from 0/],
  ['bench', [...MEASURE.slice(0, 5), '0.001'], /^rate must be a number from 0.01 to 1000000/],
  ['filter test', ['f', '--param', 'hex:4'], /^--param must be text, or hex: and pairs of hex/],
  ['filter test', ['f', '--param', 'x'.repeat(65)], /^--param may have 64 bytes, not 65$/],
  ['filter test', ['f', '--udp-checksum', 'half'], /^--udp-checksum must be zero or full, not/],
  ['filter use', ['vlan', '10.0.0.1', '0'], /^dest_port must be/],
  ['doctor', [...FEED, '--source', 'host'], /^the address of --source must be an IPv4 address/],
  ['doctor', [...FEED, '--source', '10.0.0.9:0'], /^the port of --source must be a port/],
  ['doctor', [...FEED, '--source', '1.2.3.4:1:2'], /^--source must be IP or IP:PORT such as/],
  ['doctor', [...FEED, '--mode', 'fast'], /^--mode must be one of auto/],
  ['filter use', ['vlan', '--param', 'hex:4'], /^--param takes text, or hex: and pairs of digits/],
];

for (const [command, words, says] of wrong)
  test(`refused with what it was for: ${command} ${words.join(' ')}`, async () => {
    const thrown = await given(find(command.split(' ')), words).catch((error: unknown) => error);
    assert.instance(thrown, UsageError);
    assert.match((thrown as Error).message, says); // just checked
  });

test('packet_replicator takes the same as up', () => {
  const flags = (made: Command) => made.options.map((each) => each.flags);
  const twin = replicatorCommand('packet_replicator', '', (_, given) => given);
  assert.equal(flags(twin), flags(find(['up'])));
});

test.run();
