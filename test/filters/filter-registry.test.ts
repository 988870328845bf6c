/**
 * The registry of filters: who has which, and what everybody goes back to. Random histories must
 * keep its rules. `FANTAIL_SEED=n` repeats one.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../src/domain/errors.js';
import type { FilterModule, Holder } from '../../src/domain/filter.js';
import { BUILT_IN, checkFilterName, Filters } from '../../src/filters/registry.js';
import { limits } from '../../src/memory/layout.js';
import { type Random, random } from '../rig/random.js';

const test = suite('filter-registry');
const NOTHING = new Uint8Array();
const facts = (state = 0, hash = 'aa') => ({ abi: 1, state, report: null, hash });

function registry(count: number): { filters: Filters; subscribers: Holder[] } {
  const subscribers: Holder[] = [];
  const filters = new Filters(NOTHING, facts(), () => subscribers);
  for (let i = 0; i < count; i++) subscribers.push({ filter: filters.forNewcomer() });
  return { filters, subscribers };
}

function load(filters: Filters, name: string, state = 0): FilterModule {
  const module = filters.place(name, NOTHING, facts(state));
  filters.name(module);
  return module;
}

const namesOf = (subscribers: readonly Holder[]) =>
  subscribers.map(({ filter }) => filter.module.name);

test('a filter is used by one, or by all and those to come', () => {
  const { filters, subscribers } = registry(2);
  load(filters, 'a');
  load(filters, 'b');
  filters.use('a', NOTHING, subscribers[1] ?? null);
  assert.equal(namesOf(subscribers), [BUILT_IN, 'a']);
  assert.is(filters.forNewcomer().module.name, BUILT_IN);
  filters.use('b', Uint8Array.of(7), null);
  assert.equal(namesOf(subscribers), ['b', 'b']);
  assert.equal(filters.forNewcomer().param, Uint8Array.of(7));
});

test('a newer module takes over the users of its name, their parameters and, if it understands it, their state', () => {
  const { filters, subscribers } = registry(1);
  const first = load(filters, 'a', 5);
  filters.use('a', Uint8Array.of(7), null);
  const second = load(filters, 'a', 5);
  assert.is(subscribers[0]?.filter.module, second);
  assert.equal(subscribers[0]?.filter.param, Uint8Array.of(7));
  assert.equal([second.block, second.owner], [first.block, first.owner]);
  const third = load(filters, 'a', 6);
  assert.is.not(third.block, first.block, 'another layout of state is another block');
  assert.is(third.owner, third.module);
  assert.is(load(filters, 'b').block, null);
});

test('condemned, everybody goes back to what they had: another filter, the version before, or the built-in', () => {
  const { filters, subscribers } = registry(3);
  const [one, two, three] = subscribers as [Holder, Holder, Holder];
  load(filters, 'good');
  filters.use('good', Uint8Array.of(1), one);
  const first = load(filters, 'bad');
  for (const holder of [one, two]) filters.use('bad', Uint8Array.of(2), holder);
  const second = load(filters, 'bad');
  assert.is(filters.condemn(second, 'it fell over'), first, 'the name means the one before again');
  assert.is(one.filter.module, first);
  assert.is(filters.condemn(first, 'so did this'), null);
  assert.equal(
    namesOf(subscribers),
    [BUILT_IN, BUILT_IN, BUILT_IN],
    'only one step back is remembered',
  );
  assert.is(three.filter.before, null);
  assert.throws(() => filters.find('bad'), /rolled back \(so did this\)/);
  assert.equal(
    filters.rollbacks.map(({ reason }) => reason),
    ['it fell over', 'so did this'],
  );
  assert.equal(
    filters.unheld().map(({ module }) => module),
    [first.module, second.module],
  );
  load(filters, 'bad'); // a mended one
  filters.use('bad', NOTHING, one);
  assert.is(one.filter.module.name, 'bad');
});

test('one step back is to the filter and the parameter that the subscriber had', () => {
  const { filters, subscribers } = registry(1);
  const [one] = subscribers as [Holder];
  load(filters, 'good');
  const bad = load(filters, 'bad');
  filters.use('good', Uint8Array.of(1), one);
  filters.use('bad', Uint8Array.of(2), one);
  filters.use('bad', Uint8Array.of(3), one); // another parameter is no other filter
  filters.condemn(bad, 'x');
  assert.equal([one.filter.module.name, one.filter.param], ['good', Uint8Array.of(1)]);
});

test('names are checked, the built-in stays, and what is used cannot be unloaded', () => {
  const { filters } = registry(1);
  for (const name of ['', 'A', 'a b', '.a', 'x'.repeat(33), '../x', BUILT_IN])
    assert.throws(
      () => checkFilterName(name),
      (error: unknown) => error instanceof FantailError && error.code === 'BAD_REQUEST',
      name,
    );
  for (const name of ['a', '7', 'a.b-c_d', 'x'.repeat(32)]) checkFilterName(name);
  load(filters, 'a');
  filters.use('a', NOTHING, null);
  assert.throws(() => filters.unload('a'), /answers for/);
  assert.throws(() => filters.unload(BUILT_IN), /built in/);
  assert.throws(() => filters.unload('b'), /no filter b/);
});

function assertRules(filters: Filters, subscribers: readonly Holder[]): void {
  const loaded = filters.loaded();
  assert.ok(loaded.length <= limits.FILTERS_MAX);
  assert.is(new Set(loaded.map(({ slot }) => slot)).size, loaded.length);
  const owners = new Map<number, number>();
  for (const { block, owner } of loaded)
    if (block !== null) assert.is(owners.set(block, owners.get(block) ?? owner).get(block), owner);
  for (const { filter } of [filters.newcomers, ...subscribers]) {
    assert.ok(loaded.includes(filter.module), 'what somebody has is loaded');
    assert.ok(
      filter.before === null || loaded.includes(filter.before.module),
      'and what they would go back to',
    );
  }
  for (const module of filters.unheld()) assert.is(filters.users(module), 0);
}

/** One random change; refusals are part of the game. */
function change(next: Random, filters: Filters, subscribers: readonly Holder[]): void {
  // below its length
  const pick = <Item>(items: readonly Item[]) => items[next.below(items.length)] as Item;
  const name = pick(['a', 'b', 'c', 'd', 'e']);
  const changes = [
    () => void load(filters, name, next.below(3)),
    () => filters.use(name, NOTHING, pick(subscribers)),
    () => filters.use(pick([name, BUILT_IN]), NOTHING, null),
    () => filters.unload(name),
    () => void filters.condemn(filters.find(name), 'random'),
    () =>
      filters.unheld().forEach((module) => {
        filters.forget(module);
      }),
  ];
  try {
    pick(changes)();
  } catch (error) {
    assert.instance(error, FantailError);
  }
}

test('whatever happens, slots and blocks have one owner and everybody has a filter that is loaded', () => {
  const next = random('filter registry');
  const { filters, subscribers } = registry(4);
  for (let i = 0; i < 20_000; i++) {
    change(next, filters, subscribers);
    assertRules(filters, subscribers);
  }
});

test.run();
