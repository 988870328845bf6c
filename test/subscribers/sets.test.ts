/**
 * Goal: who may be decided for together has one number, and nobody else ever has it. Method: feeds
 * and subscribers that come, change and go, and the numbers after each table.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FilterModule } from '../../src/domain/filter.js';
import { EVERY_FEED, Feeds } from '../../src/feeds/feeds.js';
import { SubscriberSets } from '../../src/subscribers/sets.js';
import { type Subscriber, Subscribers } from '../../src/subscribers/subscribers.js';

const test = suite('sets of subscribers');

function moduleOf(owner: number): FilterModule {
  const facts = { abi: 1, state: 2, report: 64, hash: 'aa' };
  return { name: 'ab', bytes: new Uint8Array(), ...facts, slot: 1, module: owner, block: 0, owner };
}

class Scene {
  readonly feeds = new Feeds({ ip: '10.0.0.5', port: 5000, source: null });
  readonly subscribers = new Subscribers();
  readonly sets = new SubscriberSets(this.feeds);
  generation = 0n;
  private port = 9000;

  addFeed(name: string): void {
    const address = { ip: '10.0.0.5', port: 5000 + this.feeds.all().length, source: null };
    const index = this.feeds.indexFor(address);
    this.feeds.add({ ...address, name, index, sockets: [], base: [] });
    this.touchAll();
  }

  removeFeed(name: string): void {
    const feed = this.feeds.find(name);
    assert.ok(feed);
    this.feeds.close(feed);
    this.feeds.freed(feed);
    this.touchAll();
  }

  private touchAll(): void {
    this.subscribers.touch([...this.subscribers.all()].filter((s) => s.feeds === EVERY_FEED));
  }

  add(feeds: bigint, { worker = 0, owner = 1, param = '' } = {}): Subscriber {
    const filter = { module: moduleOf(owner), param: Buffer.from(param), before: null };
    const route = { state: 'live' as const, mac: null, kernelSocket: null };
    const to = { ip: '10.0.0.34', port: this.port++ };
    return this.subscribers.add({ ...to, worker, filter, route, feeds, isPaused: false });
  }

  /** Their numbers in the next table. */
  numbers(...of: readonly Subscriber[]): bigint[] {
    this.generation += 1n;
    this.sets.update(this.subscribers.all(), this.subscribers.version, this.generation);
    return of.map(({ row }) => this.sets.ofRow(row));
  }
}

test('one number for those of a worker with the same feeds, filter and parameter, and another for all others', () => {
  const scene = new Scene();
  scene.addFeed('b');
  const [a, b] = [scene.add(3n), scene.add(3n)];
  const others = [
    scene.add(1n),
    scene.add(2n),
    scene.add(3n, { worker: 1 }),
    scene.add(3n, { owner: 2 }),
    scene.add(3n, { param: 'seq=0,4' }),
  ];
  const [first, second, ...more] = scene.numbers(a, b, ...others);
  assert.is(first, second);
  assert.is(new Set([first, ...more]).size, 6);
  assert.not.ok([first, ...more].includes(0n));
  const set = scene.sets.find(first ?? 0n);
  assert.equal([set?.feeds, set?.subscribers], [['main', 'b'], 2]);
});

test('it stays while somebody has it, and is never given again', () => {
  const scene = new Scene();
  scene.addFeed('b');
  const [a, b] = [scene.add(3n), scene.add(3n)];
  const [number] = scene.numbers(a);
  scene.subscribers.remove(a);
  assert.equal(scene.numbers(b), [number]);
  scene.subscribers.choose(b, 1n);
  const [alone] = scene.numbers(b);
  assert.is.not(alone, number);
  scene.subscribers.choose(b, 3n);
  const [again] = scene.numbers(b);
  assert.not.ok([number, alone].includes(again));
  assert.is(scene.sets.find(number ?? 0n)?.subscribers, 0, 'it is known for a while');
});

test('who is paused is in no set: if nobody else has it, it begins anew with who is resumed', () => {
  const scene = new Scene();
  const [a, b] = [scene.add(1n), scene.add(1n)];
  const [number] = scene.numbers(a, b);
  scene.subscribers.pause(a, true);
  assert.equal(scene.numbers(a, b), [0n, number]);
  scene.subscribers.pause(a, false);
  assert.equal(scene.numbers(a, b), [number, number], 'the other has it still');
  for (const each of [a, b]) scene.subscribers.pause(each, true);
  assert.equal(scene.numbers(a, b), [0n, 0n]);
  for (const each of [a, b]) scene.subscribers.pause(each, false);
  const [now, nowOfB] = scene.numbers(a, b);
  assert.is(now, nowOfB);
  assert.is.not(now, number);
});

test('a feed under the index of another makes another set, also for who gets all', () => {
  const scene = new Scene();
  scene.addFeed('b');
  const [some, all] = [scene.add(3n), scene.add(EVERY_FEED)];
  const [ofSome, ofAll] = scene.numbers(some, all);
  assert.is(ofSome, ofAll, 'they get the same');
  scene.removeFeed('b');
  scene.subscribers.choose(some, 1n);
  const [less, lessOfAll] = scene.numbers(some, all);
  assert.is(less, lessOfAll);
  scene.addFeed('c');
  scene.subscribers.choose(some, 3n);
  const [now, nowOfAll] = scene.numbers(some, all);
  assert.is(now, nowOfAll);
  assert.is(new Set([ofSome, less, now]).size, 3);
  assert.equal(scene.sets.find(now ?? 0n)?.feeds, ['main', 'c']);
  assert.equal(scene.sets.find(ofSome ?? 0n)?.feeds, ['main', 'b'], 'as it was called');
});

test('who adopts goes on with the numbers that were published', () => {
  const scene = new Scene();
  scene.addFeed('b');
  const [a, b, c] = [scene.add(3n), scene.add(3n), scene.add(1n)];
  const numbers = scene.numbers(a, b, c);
  const rows = [a, b, c].map(({ row, feeds, filter: { module, param } }, i) => {
    return { row, set: numbers[i] ?? 0n, feeds, slot: module.slot, param };
  });
  const next = new SubscriberSets(scene.feeds);
  next.adopt(rows);
  next.update(scene.subscribers.all(), 1, 7n);
  assert.equal(
    [a, b, c].map(({ row }) => next.ofRow(row)),
    numbers,
  );
  // one that has left the set meanwhile, before it was published
  const other = new SubscriberSets(scene.feeds);
  other.adopt(rows);
  scene.subscribers.choose(b, 2n);
  scene.subscribers.choose(c, 2n); // alone in its own: that is another one now
  other.update(scene.subscribers.all(), 1, 7n);
  assert.is(other.ofRow(a.row), numbers[0]);
  assert.not.ok(numbers.includes(other.ofRow(b.row)));
  assert.is(other.ofRow(c.row), other.ofRow(b.row));
});

test.run();
