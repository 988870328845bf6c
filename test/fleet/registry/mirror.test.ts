/**
 * Goal: whatever somebody writes below a group's prefix, a mirror of it takes it or passes it over,
 * and tells which, once. Method: keys and values drawn by a seed, most of them nearly right.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Entry } from '../../../src/fleet/etcd/answers.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { Mirror } from '../../../src/fleet/registry/mirror.js';
import { statusOf, subscriberRows } from '../../../src/fleet/registry/status.js';
import { random } from '../../rig/random.js';

const test = suite('mirror of a group');
const ROUNDS = 200;
const EVENTS = 100;

const RIGHT: Readonly<Record<string, object>> = {
  'feeds/b': { ip: '239.1.1.1', port: 5000, source: null },
  'subscribers/10.0.0.1:9001': { feeds: ['main'], filter: null, param: '', paused: false },
  'filters/mine': { sha256: 'a'.repeat(64) },
  default: { filter: 'mine', param: 'hex:00' },
  'pins/007': { member: 'a' },
  'members/a': {
    ...{ weight: 1, isDraining: false, control: 'http://10.0.0.1:1', version: '1' },
    ...{ listen: { ip: '10.0.0.1', port: 5000 }, upstream: null, path: ['b'] },
  },
  'reports/a': {
    ...{ state: 'joined', subscribers: 1, handover: 0, unserved: 1, no_room: 0 },
    reasons: [{ subscriber: '10.0.0.1:9001', reason: 'no' }],
  },
  'shards/007': { owner: 'a', to: 'b' },
};
const ODD: readonly unknown[] = [
  ...[null, true, 0, -1, 1e308, 0.5, '', 'x'.repeat(500), '\u001b[2J', [], {}, [[[]]]],
  ...[{ __proto__: null, constructor: 1 }, '10.0.0.1', 'hex:0', ['main', 'main'], 'a/b', '..'],
];

interface Draw {
  below(bound: number): number;
}
const one = <Value>({ below }: Draw, list: readonly Value[]): Value =>
  list[below(list.length)] as Value; // below its length

/** A right value with one place of it, at any depth, replaced, removed or added. */
function mutated(draw: Draw, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || draw.below(4) === 0) return one(draw, ODD);
  const entries = Object.entries(value);
  const [name] = one(draw, [...entries, ['more', 0] as const]);
  const copy: Record<string, unknown> = { ...value };
  if (draw.below(3) === 0) delete copy[name];
  else copy[name] = mutated(draw, copy[name]);
  return Array.isArray(value) ? Object.values(copy) : copy;
}

function bytesOf(draw: Draw, right: object): Buffer {
  const dice = draw.below(10);
  if (dice < 4) return Buffer.from(JSON.stringify(right));
  if (dice < 8) return Buffer.from(JSON.stringify(mutated(draw, right)) ?? '');
  const text = Buffer.from(JSON.stringify(right));
  if (dice === 8) return text.subarray(0, draw.below(text.length));
  return Buffer.from(Array.from({ length: draw.below(40) }, () => draw.below(256)));
}

function keyOf(draw: Draw, keys: Keys, right: string): string {
  const [kind = '', name = ''] = right.split('/');
  const names = ['', '/', name, `${name}/x`, '999', '-1', 'a'.repeat(64), '\u0000', '..', '1:1'];
  const dice = draw.below(10);
  if (dice < 7) return keys.prefix + right;
  return `${keys.prefix}${dice < 9 ? kind : one(draw, ['', 'nothing', 'shards '])}/${one(draw, names)}`;
}

/** What it holds, but for when it was heard. */
function contentOf(mirror: Mirror): unknown {
  const { feeds, filters, modules, pins, lasting, members, reports, shards } = mirror;
  const maps = [feeds, filters, modules, pins, lasting, members, reports, shards];
  const faults = [...mirror.faults].map(([key, { wrong }]) => [key, wrong]).sort();
  return [maps.map((each) => [...each].sort()), subscriberRows(mirror), mirror.default, faults];
}

/** What etcd holds after a round, and what a mirror that heard all of it made of that. */
interface Heard {
  readonly mirror: Mirror;
  readonly entries: Entry[];
  readonly told: readonly string[];
  /** Values that were taken, and that were passed over. */
  readonly taken: number;
  readonly passed: number;
}

function hear(draw: Draw, keys: Keys, when: string): Heard {
  const told: string[] = [];
  const mirror = new Mirror(keys, (key, wrong) => told.push(`${key} ${wrong}`));
  const there = new Map<string, Entry>();
  let [taken, passed] = [0, 0];
  for (let revision = 1; revision <= EVENTS; revision++) {
    const [right, value] = one(draw, Object.entries(RIGHT));
    const key = keyOf(draw, keys, right);
    const lease = draw.below(4) === 0 ? '0' : '7';
    const about = { key, lease, modRevision: revision, createRevision: revision };
    const count = told.length;
    if (draw.below(5) === 0) {
      mirror.apply([{ ...about, value: null }]);
      there.delete(key);
      assert.is(mirror.faults.has(key), false, `${when}: ${key} is gone`);
    } else {
      const entry = { ...about, value: bytesOf(draw, value) };
      mirror.apply([entry]);
      there.set(key, entry);
      const isFaulty = mirror.faults.has(key);
      assert.is(told.length - count, isFaulty ? 1 : 0, `${when}: ${key} ${entry.value}`);
      if (isFaulty) passed += 1;
      else taken += 1;
    }
  }
  return { mirror, entries: [...there.values()], told, taken, passed };
}

test('whatever is written there is taken or told, and what is read again is the same', () => {
  const draw = random('mirror');
  const keys = new Keys('g');
  let [taken, passed] = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    const when = `seed ${draw.seed} round ${round}`;
    const heard = hear(draw, keys, when);
    const { mirror, entries, told } = heard;
    taken += heard.taken;
    passed += heard.passed;
    // what was overwritten has left nothing behind
    const fresh = new Mirror(keys);
    fresh.fill(entries, EVENTS);
    assert.equal(contentOf(mirror), contentOf(fresh), when);
    const { faults, fault_count } = statusOf('g', mirror);
    assert.is(fault_count, mirror.faults.size);
    for (const { key } of faults) assert.not.match(key, /\p{Cc}/u);
    // and is not told again where all is read again
    const count = told.length;
    mirror.fill(entries, EVENTS);
    assert.is(told.length, count, when);
  }
  assert.ok(taken > EVENTS && passed > EVENTS, `${taken} were taken, ${passed} were not`);
});

test('each right value is taken, and each kind is refused without what it must have', () => {
  const keys = new Keys('g');
  for (const [name, value] of Object.entries(RIGHT)) {
    const mirror = new Mirror(keys);
    const event = { key: keys.prefix + name, modRevision: 1, createRevision: 1, lease: '7' };
    mirror.apply([{ ...event, value: Buffer.from(JSON.stringify(value)) }]);
    assert.is(mirror.faults.size, 0, name);
    mirror.apply([{ ...event, modRevision: 2, value: Buffer.from('7') }]);
    assert.is(mirror.faults.get(event.key)?.modRevision, 2, name);
  }
});

test('a start that no calendar has is passed over: who shows it could not say when it was', () => {
  const keys = new Keys('g');
  for (const [startedAt_ms, faults] of [
    [8.64e15, 0],
    [8.64e15 + 1, 1],
  ]) {
    const mirror = new Mirror(keys);
    const value = Buffer.from(JSON.stringify({ ...RIGHT['members/a'], startedAt_ms }));
    const event = { key: keys.of('members', 'a'), modRevision: 1, createRevision: 1, lease: '7' };
    mirror.apply([{ ...event, value }]);
    assert.is(mirror.faults.size, faults);
    for (const { started_at_ms } of statusOf('g', mirror).members)
      assert.is(new Date(started_at_ms ?? 0).toISOString(), '+275760-09-13T00:00:00.000Z');
  }
});

test('a store that is behind what was known when it was asked is believed; older news are not', () => {
  const keys = new Keys('g');
  const mirror = new Mirror(keys);
  const feed = (name: string, modRevision: number) => ({
    ...{ key: keys.of('feeds', name), modRevision, createRevision: modRevision, lease: '0' },
    value: Buffer.from('{"ip":"239.1.1.1","port":5000}'),
  });
  mirror.fill([feed('a', 5), feed('b', 9)], 9);
  mirror.fill([feed('a', 5)], 7, 6); // asked before the watch told of 9
  assert.equal([...mirror.feeds.keys()], ['a', 'b']);
  mirror.fill([feed('a', 5)], 7, 9);
  assert.equal([[...mirror.feeds.keys()], mirror.revision], [['a'], 7]);
  mirror.apply([feed('c', 8)]);
  assert.equal([...mirror.feeds.keys()], ['a', 'c']);
});

test.run();
