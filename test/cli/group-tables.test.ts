/**
 * Goal: whoever reads `fleet status` on a terminal learns what a program does by --json, and no
 * line is longer than the terminal. Method: a status in which every value is another and as long
 * as it may be; each is looked for in the text.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { statusText } from '../../src/cli/group/tables.js';
import type { FleetMemberRow, FleetStatus } from '../../src/domain/fleet.js';
import { grouped } from '../../src/terminal/tables.js';
import { emptyFleet } from '../rig/memory-replicator.js';

const test = suite('tables of a group');
const COLUMNS = 100;

const top: FleetMemberRow = {
  ...{ member: 'member-of-desk-1', weight: 123.5, is_draining: false, standing: 'registry_gone' },
  ...{ control: 'https://255.255.255.251:65531', listen: { ip: '255.255.255.252', port: 65532 } },
  ...{ upstream: null, upstream_state: null, inside_ns: { p50: 101_000, p99: 202_000 } },
  ...{ link_us: null, version: '10.20.30', started_at_ms: Date.UTC(2026, 10, 28, 9, 21, 59) },
  ...{ shards: 201, subscribers: 1_234_567, unserved: 71, no_room: 61, handover: 1_234_567_891 },
  reasons: [
    {
      subscriber: '10.0.0.1:9001',
      reason: `this member does not allow ${'its module '.repeat(30)}`,
    },
  ],
  refused_relays: [{ member: 'member-of-desk-2', reason: 'outside what --allow has' }],
};
const leaf: FleetMemberRow = {
  ...top,
  ...{ member: 'member-of-desk-2', is_draining: true, standing: 'joined', version: '11.21.31' },
  ...{ upstream: top.member, upstream_state: 'refuses', link_us: 303.5, inside_ns: null },
  ...{ control: 'http://10.0.0.2:2', listen: { ip: '10.0.0.3', port: 3 }, started_at_ms: null },
  ...{ weight: 7, shards: 55, subscribers: 54, unserved: 0, no_room: 0, handover: 53 },
  ...{ reasons: [], refused_relays: [] },
};
const full: FleetStatus = {
  ...{ group: 'desks', revision: 987_654, members: [top, leaf], subscribers: 4321 },
  ...{ free_shards: 21, unowned: 22, unserved: 23, no_room: 24, moving: 25 },
  feeds: [{ name: 'b', ip: '239.1.1.9', port: 5009, source: '10.0.0.8' }],
  filters: [
    {
      ...{ name: 'a-filter-of-as-many-as-32-letters', sha256: '0123456789abcdef'.repeat(4) },
      ...{ is_there: false, subscribers: 26, default: true },
    },
  ],
  pins: [{ shard: 27, member: 'member-of-desk-3' }],
  faults: [{ key: '/fantail/desks/subscribers/10.0.0.9:9009', wrong: 'no JSON' }],
  fault_count: 29,
};

/** How a value of that name is said, or the words that stand for it. */
function saidAs(name: string, value: unknown): string {
  if (name === 'started_at_ms') return '2026-11-28T09:21Z';
  if (name === 'p50' || name === 'p99') return grouped(Number(value) / 1000);
  if (name === 'is_draining') return value === true ? 'draining' : '';
  if (name === 'is_there') return value === true ? '' : 'without its module';
  if (name === 'default') return 'the default';
  if (typeof value === 'number') return String(value);
  return String(value).replace(/\s+/g, ' ').trim();
}

/** Every value with its own name. */
function leavesOf(value: unknown, name = ''): [name: string, value: unknown][] {
  if (value === null) return [];
  if (typeof value !== 'object') return [[name, value]];
  return Object.entries(value).flatMap(([key, each]) =>
    leavesOf(each, Array.isArray(value) ? name : key),
  );
}

test('each value of the JSON is in the text, and no line is longer than a terminal', () => {
  const text = statusText(full);
  for (const line of text.split('\n')) assert.ok(line.length <= COLUMNS, `${line.length}: ${line}`);
  // with what a table groups by thousands, and what a line was broken at, taken out
  const plain = text.replace(/(?<=\d),(?=\d{3})/g, '').replace(/\s+/g, ' ');
  const leaves = leavesOf(full);
  assert.ok(leaves.length > 50, `${leaves.length}`);
  // as a word of its own: 54 is not said by 987654
  const isWord = (said: string) =>
    new RegExp(`(?<![\\w.])${said.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?!\\w|\\.\\d)`).test(
      plain,
    );
  // one that drains says so in place of how it stands
  const isSaid = ([name, value]: [string, unknown]) =>
    isWord(saidAs(name, value)) || value === leaf.standing;
  assert.equal(
    leaves.filter((each) => !isSaid(each)),
    [],
  );
});

test('what is wrong comes before the tables, and nothing is said where nothing is', () => {
  const [first = ''] = statusText(full).split('\n\n');
  assert.equal(first.split('\n'), [
    'group desks: 4321 subscribers, 2 members; etcd is at revision 987654',
    "21 of 256 shards are nobody's, with 22 subscribers",
    '23 are not served by the members that should; why is below',
    '24 subscribers nobody serves, since tables are full: start more members',
    '29 keys in etcd passed over; which is below',
    '25 shards on the way to another member',
  ]);
  const alone = { ...leaf, upstream: null, upstream_state: null, link_us: null };
  const well = { ...emptyFleet(), free_shards: 0, members: [alone] };
  assert.equal(statusText(well).split('\n\n').length, 3, statusText(well));
  assert.match(statusText(emptyFleet()), /^no member has joined: nobody is served$/m);
});

test('what is told in part says how much is left', () => {
  const text = statusText(full);
  assert.match(text, /^and 69 more by member-of-desk-1$/m);
  assert.match(text, /^and 28 keys more$/m);
  const said =
    'member-of-desk-2 does not get its feed from member-of-desk-1: outside what --allow has';
  assert.ok(text.includes(said));
});

test.run();
