/**
 * Goal: which queue a card gives a flow to is told as the card does it; what is judged of values
 * that no link here has is judged right; lines fit the shell that they are for; docs/doctor.md has
 * each finding. Method: pure functions on values.
 *
 * needs: a core
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { insteadOf, linesOf, type Shell, upLine } from '../../src/doctor/cures.js';
import {
  checkDriverMtu,
  checkZeroCopyOffered,
  zeroCopyText,
} from '../../src/doctor/findings/card.js';
import { checkWay, queueByHash, queuesOf, toeplitz } from '../../src/doctor/findings/spread.js';
import { checkGroups, checkSubscribers, waysText } from '../../src/doctor/findings/subscribers.js';
import { checkNetfilter } from '../../src/doctor/findings/surroundings.js';
import { reportOf, rowsOf, textOf } from '../../src/doctor/report.js';
import { KINDS, MACHINE_TOPICS, NETWORK_TOPICS } from '../../src/doctor/topics.js';
import { finder, type Kind, sentenceOf } from '../../src/domain/finding.js';
import type { SubscriberRow, SubscriberState } from '../../src/domain/statistics.js';
import { portTaken } from '../../src/feeds/sockets.js';
import type { FlowRule } from '../../src/memory/card.js';
import type { UpFlags } from '../../src/replicator/config.js';
import { ROOT } from '../rig/program.js';
import { SHELL, subjectOf } from './subjects.js';

const test = suite('judgments');

/** Of Microsoft's "Verifying the RSS Hash Calculation", whose values all cards give. */
const KEY = Array.from(
  Buffer.from(
    '6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa',
    'hex',
  ),
);
const bytes = (ip: string) => ip.split('.').map(Number);
const HASHES: readonly [
  to: string,
  port: number,
  from: string,
  fromPort: number,
  ip: number,
  udp: number,
][] = [
  ['161.142.100.80', 1766, '66.9.149.187', 2794, 0x323e8fc2, 0x51ccc178],
  ['65.69.140.83', 4739, '199.92.111.2', 14230, 0xd718262a, 0xc626b0ea],
  ['12.22.207.184', 38024, '24.19.198.95', 12898, 0xd2d0a5de, 0x5c2b394a],
];

for (const [to, port, from, fromPort, ofIp, ofUdp] of HASHES)
  test(`the hash of ${from}:${fromPort} > ${to}:${port} is the one that cards compute`, () => {
    const ports = [fromPort, port].flatMap((each) => [each >> 8, each & 0xff]);
    assert.is(toeplitz(KEY, [...bytes(from), ...bytes(to)]), ofIp);
    assert.is(toeplitz(KEY, [...bytes(from), ...bytes(to), ...ports]), ofUdp);
    const spread = {
      table: Array.from({ length: 128 }, (_, i) => i % 4),
      key: KEY,
      toeplitz: true,
    };
    const flow = { ip: to, port, source: { ip: from, port: fromPort } };
    assert.is(queueByHash({ ...spread, has_ports: false }, flow), (ofIp % 128) % 4);
    assert.is(queueByHash({ ...spread, has_ports: true }, flow), (ofUdp % 128) % 4);
    const unknown = { ...flow, source: { ip: from, port: null } };
    assert.is(
      queueByHash({ ...spread, has_ports: true }, unknown),
      null,
      'the port is hashed, too',
    );
  });

const ANY = {
  source: '0.0.0.0',
  source_mask: '0.0.0.0',
  target: '0.0.0.0',
  target_mask: '0.0.0.0',
  source_port: 0,
  source_port_mask: 0,
  target_port: 0,
  target_port_mask: 0,
};
const OURS: FlowRule = {
  ...ANY,
  location: 3,
  queue: 2,
  target: '10.0.0.1',
  target_mask: '255.255.255.255',
  target_port: 5000,
  target_port_mask: 0xffff,
};
const flow = { ip: '10.0.0.1', port: 5000, source: null };

test('a rule for the feed decides before the hash; one for another feed, or of some sources, does not', () => {
  const spread = { table: [0, 1], key: KEY, toeplitz: true, has_ports: false };
  const of = (...rules: FlowRule[]) => queuesOf({ rules, spread }, 4, flow);
  assert.equal(of(), [0, 1], 'the table names two of four queues');
  assert.equal(of(OURS), [2]);
  assert.equal(of({ ...OURS, target_port: 5001 }), [0, 1]);
  const some = { ...OURS, source: '10.0.0.9', source_mask: '255.255.255.255' };
  assert.equal(of(some), [0, 1, 2]);
  const from = (ip: string) =>
    queuesOf({ rules: [some], spread: null }, 4, { ...flow, source: { ip, port: null } });
  assert.equal(from('10.0.0.9'), [2]);
  assert.equal(from('10.0.0.8'), [0, 1, 2, 3], 'without RSS any queue');
});

test('a queue that the feed may come by and that nobody serves is named with the rule that moves it', () => {
  const queuesTopic = NETWORK_TOPICS.filter(({ name }) => name === 'queues');
  const rows = (given: Parameters<typeof subjectOf>[0]) =>
    rowsOf(queuesTopic, subjectOf(given), SHELL).filter(({ name }) => name !== 'cores_shared');
  const one = { flags: { queues: [1], layout: 'inline', workers: 1 }, queues: [1] } as const;
  assert.equal(rows(one)[0]?.name, 'queue_unserved');
  assert.match(
    rows(one)[0]?.cures[0] ?? '',
    /ethtool -N eth0 flow-type udp4 dst-ip 10\.0\.0\.1 dst-port 5000 action 1$/,
  );
  const ruled = rows({ ...one, card: { rules: [{ ...OURS, queue: 1 }] } });
  assert.equal(
    ruled.map(({ level }) => level),
    ['fine'],
    'the rule that it prints mends it',
  );
  const elsewhere = rows({ ...one, card: { rules: [OURS] } });
  assert.match(elsewhere[0]?.what ?? '', /^rule 3 of eth0 gives .* to queue 2, which is not/);
  assert.equal(elsewhere[0]?.cures, [
    'ethtool -N eth0 delete 3; ethtool -N eth0 flow-type udp4 dst-ip 10.0.0.1 dst-port 5000 action 1',
    'fantail up eth0 10.0.0.1 5000 --queues all',
  ]);
  assert.is(elsewhere.length, 1, 'a second rule beside it would not move the feed');
  const some = { ...OURS, source: '10.0.0.9', source_mask: '255.255.255.255' };
  const partly = rows({ ...one, card: { rules: [some, { ...OURS, location: 4, queue: 1 }] } });
  assert.match(partly[0]?.what ?? '', /^queue 2 of eth0 is not served here: /);
});

test('of several feeds each is judged, and what holds for all is said once', () => {
  const feeds = [
    { ip: '10.0.0.1', port: 5000, source: null },
    { ip: '239.1.1.1', port: 5001, source: '10.0.0.9' },
    { ip: '10.0.0.77', port: 5002, source: null },
  ];
  const rows = (given: Parameters<typeof subjectOf>[0]) =>
    rowsOf(NETWORK_TOPICS, subjectOf({ feeds, ...given }), SHELL);
  const names = (given: Parameters<typeof subjectOf>[0]) =>
    rows(given).flatMap(({ name }) => name ?? []);
  assert.equal(names({}), ['listen_address']);
  assert.equal(names({ flags: { promiscuous: true } }), [], "it may be another host's");
  const off = rows({ card: { multicast: false } }).find(({ name }) => name === 'no_multicast');
  assert.match(off?.what ?? '', /239\.1\.1\.1$/);
  const one = { queues: [1], flags: { promiscuous: true, layout: 'inline', workers: 1 } } as const;
  const lines = rows(one).flatMap(({ cures }) => cures.slice(0, 1));
  assert.equal(
    lines.map((line) => line.split(' dst-ip ')[1]),
    ['10.0.0.1 dst-port 5000', '239.1.1.1 dst-port 5001', '10.0.0.77 dst-port 5002'].map(
      (each) => `${each} action 1`,
    ),
  );
  const without = { ...one, card: { takes_rules: false } };
  assert.equal(names(without), ['queue_unserved'], 'without rules it is one finding');
});

test('what the flags make impossible is told, and does not end doctor', () => {
  const rows = (flags: Partial<UpFlags>) =>
    rowsOf(NETWORK_TOPICS, subjectOf({ flags, link: { loopback: true } }), SHELL);
  const names = (flags: Partial<UpFlags>) => rows(flags).flatMap(({ name }) => name ?? []);
  assert.ok(names({ promiscuous: true }).includes('promiscuous_impossible'));
  const both = names({ promiscuous: true, transmit: 'bulk' });
  assert.ok(both.includes('promiscuous_impossible') && both.includes('bulk_impossible'));
});

test('a rule that drops the feed must go, by its line', () => {
  const way = (...rules: FlowRule[]) => checkWay(subjectOf({ card: { rules } }), flow);
  const finding = way({ ...OURS, queue: null });
  assert.equal([finding?.cure, finding?.level], ['ethtool -N eth0 delete 3', 'must']);
  assert.is(way(OURS), null);
  assert.is(way(OURS, { ...OURS, location: 4, queue: null }), null, 'the first one holds');
  const of = { source: '10.0.0.9', source_mask: '255.255.255.255' };
  const some = way({ ...OURS, ...of, queue: null });
  assert.equal([some?.level, some?.cure], ['better', null], 'it may be there for a reason');
  assert.match(some?.what ?? '', /drops some of what is sent to 10\.0\.0\.1:5000/);
});

test('a rule that gives the feed to a queue that is not served goes only if it is for the feed alone', () => {
  const way = (rule: FlowRule) =>
    checkWay({ ...subjectOf({ card: { rules: [rule] } }), queues: [0] }, flow);
  assert.match(way({ ...OURS, queue: 2 })?.cure ?? '', /^ethtool -N eth0 delete 3; ethtool -N /);
  const all = way({ ...OURS, queue: 2, target_port_mask: 0 });
  assert.equal([all?.name, all?.cure, all?.flags], ['rule_unserved', null, '--queues all']);
});

test('zero copy is told with its segments, and missed only by who names it', () => {
  const withZeroCopy = { card: { xdp: { xdp: 1 | 2 | 8, segments_max: 8, xsk: 0 } } };
  assert.match(zeroCopyText(subjectOf(withZeroCopy)) ?? '', /8 segments a packet/);
  const ice = { ...withZeroCopy, link: { driver: 'ice' } };
  assert.match(zeroCopyText(subjectOf(ice)) ?? '', /passed over .* corrupts memory/);
  const flags = { mode: 'zerocopy' } as const;
  assert.is(checkZeroCopyOffered(subjectOf({ ...withZeroCopy, flags })), null);
  const without = { card: { xdp: { xdp: 3, segments_max: 1, xsk: 0 } } };
  assert.is(checkZeroCopyOffered(subjectOf({ ...without, flags }))?.level, 'must');
  assert.is(checkZeroCopyOffered(subjectOf(without)), null);
  const older = { card: { xdp: null }, flags };
  assert.is(checkZeroCopyOffered(subjectOf(older)), null, 'up tries it');
});

test('an MTU past what the driver takes XDP with, netfilter, and a group that was left are named', () => {
  const igb = { link: { driver: 'igb', mtu: 3498 } };
  assert.is(checkDriverMtu(subjectOf(igb))?.cure, 'ip link set dev eth0 mtu 3046');
  assert.is(checkDriverMtu(subjectOf({ link: { driver: 'igb', mtu: 3046 } })), null);
  const filtered = checkNetfilter(subjectOf({ chains: ['filter input'] }));
  assert.match(filtered?.what ?? '', /filter input/);
  assert.equal(linesOf(filtered as NonNullable<typeof filtered>, SHELL), []);
  const row = {
    name: 'b',
    ip: '239.1.1.1',
    port: 5000,
    source: null,
    of_another_host: false,
    joined: false,
    received: 0,
    bytes: 0,
    slow_path: 0,
    drops: {},
    socket_lost: 0,
    subscribers: 0,
  };
  const launcher = {
    access: '--control ws://127.0.0.1:12345',
    mode: 'copy',
    queues: [0],
    feeds: [row, { ...row, joined: true }, { ...row, joined: null }],
    subscribers: [],
  } as const;
  assert.is(checkGroups(subjectOf({ launcher })).length, 1);
});

// ---- lines

const find = finder({
  net: { level: 'must', why: 'w', cure: 'ip link set dev {interface} up', isOfNetwork: true },
  tool: { level: 'must', why: 'w', cure: 'ethtool -K {interface} lro off', isOfNetwork: true },
  files: { level: 'must', why: 'w', cure: "echo '1' > /sys/{interface}", isOfNetwork: true },
  local: { level: 'must', why: 'w', cure: 'kill {pid}' },
  words: { level: 'must', why: 'w', flags: '--queues all' },
  rights: { level: 'must', why: 'w', isRights: true, instead: 'ask somebody' },
});
const place = { interface: 'eth0', pid: 7 };

test('a line is for the shell that doctor was run in: its namespace, its rights', () => {
  const lines = (name: 'net' | 'tool' | 'files' | 'local', shell: Partial<Shell>) =>
    linesOf(find(name, '', place), { ...SHELL, ...shell });
  assert.equal(lines('net', {}), ['ip link set dev eth0 up']);
  assert.equal(lines('net', { netns: 'n' }), ['ip -n n link set dev eth0 up']);
  assert.equal(lines('tool', { netns: 'n' }), ['ip netns exec n ethtool -K eth0 lro off']);
  assert.equal(lines('files', { netns: 'n' }), [
    `ip netns exec n sh -c 'echo '\\''1'\\'' > /sys/eth0'`,
  ]);
  assert.equal(lines('local', { netns: 'n' }), ['kill 7']);
  assert.equal(lines('local', { isRoot: false, hasSudo: true }), ['sudo kill 7']);
  assert.equal(lines('files', { isRoot: false, hasSudo: true }), [
    `sudo sh -c 'echo '\\''1'\\'' > /sys/eth0'`,
  ]);
  assert.equal(lines('local', { isRoot: false }), [`su -c 'kill 7'`]);
});

test('a name that others chose is one word of a line, and no order to a terminal', () => {
  const evil = { interface: '$(id);\u001b[2J', pid: 7 };
  assert.equal(linesOf(find('net', '', evil), SHELL), [`ip link set dev '$(id);\u001b[2J' up`]);
  assert.equal(linesOf(find('net', '', { ...evil, interface: `a'b` }), SHELL), [
    `ip link set dev 'a'\\''b' up`,
  ]);
  const subject = subjectOf({ chains: ['filter \u001b]0;x\u0007'] });
  const rows = rowsOf(NETWORK_TOPICS, subject, SHELL);
  const text = textOf(reportOf([{ interface: 'e\u001bth', rows }], ['\u009bx']), false);
  assert.match(text, /filter \?\]0;x\?/);
  assert.not.match(text.replaceAll('\n', ''), /\p{Cc}/u);
});

test('init, which holds a socket for a service, is not to be killed', () => {
  const feed = { ip: '10.0.0.5', port: 5000 };
  assert.match(sentenceOf(portTaken(feed, { pid: 7, name: 'x' })), /mend it with: kill 7$/);
  assert.match(sentenceOf(portTaken(feed, { pid: 1, name: 'systemd' })), /; see who has it: ss /);
});

test('a line of up has the words that were given, without those of doctor, and with the flag that mends', () => {
  const words = [
    'eth0',
    '10.0.0.1',
    '5000',
    '--json',
    '--queues',
    '1',
    '--control=ws://h:1',
    '--filter',
    'a b',
  ];
  const shell = { ...SHELL, words };
  assert.equal(linesOf(find('words', ''), shell), [
    `fantail up eth0 10.0.0.1 5000 --filter 'a b' --queues all`,
  ]);
  assert.is(upLine(shell), `fantail up eth0 10.0.0.1 5000 --queues 1 --filter 'a b'`);
  assert.equal(linesOf(find('rights', ''), { ...shell, isRoot: false, hasSudo: true }), [
    `sudo fantail up eth0 10.0.0.1 5000 --queues 1 --filter 'a b'`,
  ]);
  assert.equal(linesOf(find('rights', ''), shell), [], 'root has nobody to ask');
});

test('where no feed was named there is no line of up, which takes one, but the flag', () => {
  const shell = { ...SHELL, words: ['eth0'], isStart: false };
  assert.equal(linesOf(find('words', ''), shell), []);
  assert.is(insteadOf(find('words', '')), 'start fantail with --queues all');
  const asUser = { ...shell, isRoot: false, hasSudo: true };
  assert.equal(linesOf(find('rights', ''), asUser), []);
  assert.is(insteadOf(find('rights', '')), 'ask somebody');
});

test('subscribers without a way are named up to twenty, the rest counted; who is paused is not lost', () => {
  const row = { port: 9, mac: null, worker: 0, filter: '', feeds: ['main'], expires_s: null };
  const of = (count: number, state: SubscriberState) =>
    Array.from({ length: count }, (_, i) => ({ ...row, ip: `10.0.1.${i}`, state }));
  const subject = (subscribers: SubscriberRow[]) =>
    subjectOf({
      launcher: {
        ...{ mode: 'copy', queues: [0], feeds: [], subscribers },
        access: '--control ws://h:1 --token-file t',
      },
    });
  const lost = checkSubscribers(subject(of(23, 'unresolved')));
  assert.is(lost.length, 20);
  assert.not.match(lost[0]?.what ?? '', /more/);
  assert.match(lost[19]?.what ?? '', /; as of 3 subscribers more$/);
  assert.equal(checkSubscribers(subject(of(20, 'unresolved')))[19]?.what.includes('more'), false);
  const [gone] = checkSubscribers({
    ...subject(of(1, 'unresolved')),
    network: { ...subject([]).network, vias: [{ ip: '10.0.1.0', via: '10.0.0.254' }] },
  });
  assert.is(gone?.cure, 'fantail remove 10.0.1.0 9 --control ws://h:1 --token-file t');
  const well = subject([...of(2, 'live'), ...of(1, 'paused')]);
  assert.equal(checkSubscribers(well), []);
  assert.is(waysText(well), '2 subscribers, a way to each; 1 paused');
});

test('a sentence names the line, else the flag, else what to do instead; a line lacks no word', () => {
  assert.is(sentenceOf(find('local', 'it hangs', { pid: 7 })), 'it hangs; mend it with: kill 7');
  assert.is(sentenceOf(find('local', 'it hangs')), 'it hangs');
  assert.is(sentenceOf(find('words', 'few')), 'few; start fantail up --queues all');
  assert.is(sentenceOf(find('rights', 'none')), 'none; ask somebody');
});

// ---- what is printed

test('where nothing is wrong every topic says so in a line, in colour on a terminal alone', () => {
  const subject = subjectOf();
  const sections = [
    { interface: null, rows: rowsOf(MACHINE_TOPICS, subject, SHELL) },
    { interface: 'eth0', rows: rowsOf(NETWORK_TOPICS, subject, SHELL) },
  ];
  const report = reportOf(sections, ['the moon', 'the moon']);
  assert.is(report.ok, true);
  assert.equal(report.unseen, ['the moon']);
  const text = textOf(report, false);
  assert.match(text, /^this machine\n {2}✓ kernel/);
  assert.match(text, /\nnot seen: the moon\nnothing must be mended$/);
  assert.not.match(text, /✗/);
  assert.not.ok(text.includes('\x1b'));
  assert.ok(textOf(report, true).includes('\x1b[32m✓\x1b[0m kernel'));
});

test('what must be mended is marked, with why and a line, or that there is none', () => {
  const subject = subjectOf({ link: { up: false }, chains: ['filter input'] });
  const rows = rowsOf(NETWORK_TOPICS, subject, SHELL);
  const report = reportOf([{ interface: 'eth0', rows }], []);
  assert.is(report.ok, false);
  const text = textOf(report, false);
  assert.match(text, /✗ link +eth0 is down or has no carrier\n +why: nothing is received/);
  assert.match(text, /! rules of the host +netfilter.*\n +why: .*\n +no line mends it: choose/);
  assert.match(text, /what is marked ✗ must be mended$/);
});

test('each kind has a line, a flag, or what to do instead', () => {
  for (const [name, kind] of Object.entries(KINDS))
    assert.ok(kind.cure ?? kind.flags ?? kind.instead, name);
});

/** A kind as docs/doctor.md shows it. */
function docsRow(name: string, kind: Kind): string {
  const condition = kind.flagsIf === undefined ? '' : `${kind.flagsIf}, `;
  const ways = [
    ...(kind.cure === undefined ? [] : [`\`${kind.cure}\``]),
    ...(kind.flags === undefined ? [] : [`${condition}\`fantail up … ${kind.flags}\``]),
    ...(kind.isRights === true ? ['the same command as root'] : []),
    ...(kind.instead === undefined ? [] : [kind.instead]),
  ];
  return `| \`${name}\` | ${kind.level} | ${kind.why} | ${ways.join('; or: ')} |`;
}

test('docs/doctor.md has a row for each finding, and none besides', () => {
  const page = readFileSync(join(ROOT, 'docs', 'doctor.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| `/.test(line));
  assert.equal(
    rows,
    Object.entries(KINDS).map(([name, kind]) => docsRow(name, kind)),
  );
});

test.run();
