/**
 * The oracle of a group's tests sees what it must: each fault in a list of runs that has it, and
 * none in one that has none.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { accountOf, accountsOf, countOf, faultsOf, ownersOf } from '../rig/fleet/oracle.js';
import type { Run } from '../rig/fleet/served.js';

const test = suite('oracle of a group');
const MS = 1e6;

/** One packet a millisecond, sequence n at n ms, but for `late_ms`. */
function run(sender: string, first: number, last: number, late_ms = 0): Run {
  return {
    ...{ subscriber: 0, sender, first, last },
    first_ns: (first + late_ms) * MS,
    last_ns: (last + late_ms) * MS,
    gap_ns: first === last ? 0 : MS,
  };
}
const account = (runs: readonly Run[], last = 99) =>
  accountOf(runs, { subscriber: 0, owed: { first: 0, last } });

test('one who got everything from one sender has no fault', () => {
  const { received, missing, doubled, overlaps, senders, silence } = account([run('a', 0, 99)]);
  assert.equal([received, missing, doubled, overlaps, senders], [100, [], [], [], ['a']]);
  assert.is((silence?.until_ns ?? 0) - (silence?.from_ns ?? 0), MS);
});

test('what nobody sent is missing: before the first, between two runs, and at the end', () => {
  const { missing, received } = account([run('a', 5, 9), run('b', 20, 97)]);
  assert.equal(missing, [
    { first: 0, last: 4 },
    { first: 10, last: 19 },
    { first: 98, last: 99 },
  ]);
  assert.is(countOf(missing) + received, 100);
});

test('who got nothing at all misses everything', () => {
  const nothing = account([]);
  assert.equal(nothing.missing, [{ first: 0, last: 99 }]);
  assert.equal([nothing.silence, nothing.senders], [null, []]);
});

test('a sequence that came twice is told with whom it came from, also from the same', () => {
  const { doubled } = account([run('a', 0, 50), run('b', 50, 99), run('b', 70, 70, 40)]);
  assert.equal(doubled, [
    { sequence: 50, senders: ['a', 'b'] },
    { sequence: 70, senders: ['b', 'b'] },
  ]);
});

test('two who serve at the same time overlap, whatever they send; one after the other do not', () => {
  assert.equal(account([run('a', 0, 50), run('b', 51, 99)]).overlaps, []);
  // the other sends what the first has not, and begins before its end
  const [overlap, ...more] = account([run('a', 0, 50), run('b', 51, 99, -10)]).overlaps;
  assert.equal(more, []);
  assert.equal(overlap, { senders: ['a', 'b'], from_ns: 41 * MS, until_ns: 50 * MS });
});

test('a run of one sender that another ran through overlaps with all of it', () => {
  const { overlaps } = account([run('a', 0, 99), run('b', 40, 60)]);
  assert.equal(
    overlaps.map(({ from_ns, until_ns }) => [from_ns, until_ns]),
    [[40 * MS, 60 * MS]],
  );
});

test('the longest silence is between two that came, from whomever, or within a run', () => {
  const between = account([run('a', 0, 10), run('b', 60, 99)]).silence;
  assert.equal(between, { from_ns: 10 * MS, until_ns: 60 * MS });
  // what is missing of one is no silence where another went on
  const covered = account([run('a', 0, 10), run('b', 5, 99)]).silence;
  assert.is((covered?.until_ns ?? 0) - (covered?.from_ns ?? 0), MS);
  const within = account([{ ...run('a', 0, 99), gap_ns: 30 * MS }]).silence;
  assert.is((within?.until_ns ?? 0) - (within?.from_ns ?? 0), 30 * MS);
});

test('accounts are of each subscriber alone, and the last to serve is its owner', () => {
  const runs = [run('a', 0, 50), { ...run('b', 0, 99), subscriber: 2 }, run('b', 51, 99)];
  const accounts = accountsOf(runs, 3, { first: 0, last: 99 });
  assert.equal(
    accounts.map(({ received }) => received),
    [100, 0, 100],
  );
  assert.equal(ownersOf(runs, 3), ['b', null, 'b']);
});

test('faults are sentences; there are none of who got everything once', () => {
  assert.equal(faultsOf(account([run('a', 0, 50), run('b', 51, 99)])), []);
  const faults = faultsOf(account([run('a', 0, 50), run('b', 50, 90)]));
  assert.equal(faults, [
    'subscriber 0 never got 91 to 99',
    'subscriber 0 got 1 more than once, as 50 from a and b',
    'subscriber 0 was served by a and b for 0.0 ms',
  ]);
});

test.run();
