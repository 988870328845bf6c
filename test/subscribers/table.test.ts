/**
 * Goal: a table is what it would be if it were written whole, though only the records that have
 * changed are written; and who dies while it writes one leaves readers the one they had. Method:
 * random changes and publications, some of them held up by a worker that does not follow, some of
 * them ended between two stores, after which another supervisor goes on; after each publication
 * every listed record is compared with that of a table that was never written before.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FilterModule } from '../../src/domain/filter.js';
import { Feeds } from '../../src/feeds/feeds.js';
import { Arena } from '../../src/memory/arena.js';
import { limits, membersOf, offsetOf } from '../../src/memory/layout.js';
import type { Route } from '../../src/routes/reach.js';
import { type Subscriber, Subscribers } from '../../src/subscribers/subscribers.js';
import { type Source, SubscriberTable } from '../../src/subscribers/table.js';
import { openBareArena } from '../rig/arena.js';
import { type Random, random } from '../rig/random.js';

const test = suite('subscriber table');
const STEPS = 6000;
/** Few, so that rows are given up and taken again. */
const ENDPOINTS = 60;
/** Into shared memory, of a record with its place in the list; `set` and `fill` are one each. */
const STORES_A_RECORD = 17;

/** In the buffer of that generation: what worker 0 serves, each with its row and its record. */
function records(arena: Arena, generation: bigint): { row: number; record: Buffer }[] {
  const { view, buffer } = arena;
  const count = view.getUint32(arena.table(generation, 'count'), true);
  return Array.from({ length: count }, (_, index) => {
    const row = view.getUint16(arena.table(generation, 'list') + 2 * index, true);
    const start = arena.table(generation, 'rows') + row * limits.SUBSCRIBER_SIZE;
    return { row, record: Buffer.from(buffer.slice(start, start + limits.SUBSCRIBER_SIZE)) };
  });
}

/** The same as text, but for the numbers of sets, which depend on what came before. */
function listed(arena: Arena, generation: bigint): string[] {
  return records(arena, generation).map(({ row, record }) => {
    record.writeBigUInt64LE(0n, offsetOf('subscriber', 'set'));
    return `${row} ${record.toString('hex')}`;
  });
}

/**
 * Who has the same feeds, filter and parameter has the number of one set, and nobody else has; who
 * is paused has none.
 */
function assertSets(arena: Arena, generation: bigint): void {
  const field = (record: Buffer, name: string, size: number) =>
    record.subarray(offsetOf('subscriber', name)).subarray(0, size).toString('hex');
  const isPaused = (record: Buffer) =>
    record.readUInt16LE(offsetOf('subscriber', 'state')) === PAUSED;
  const all = records(arena, generation).map(({ record }) => record);
  for (const record of all.filter(isPaused))
    assert.is(record.readBigUInt64LE(offsetOf('subscriber', 'set')), 0n);
  const served = all.filter((record) => !isPaused(record));
  const pairs = served.map((record) => {
    // the filter's slot and the length of its parameter stand side by side
    const [feeds, filter] = [field(record, 'feeds', 8), field(record, 'filter', 4)];
    const param = field(record, 'param', limits.PARAM_SIZE);
    return { key: [feeds, filter, param].join(), set: field(record, 'set', 8) };
  });
  const [keys, sets] = [new Set(pairs.map(({ key }) => key)), new Set(pairs.map((p) => p.set))];
  const both = new Set(pairs.map(({ key, set }) => `${key} ${set}`));
  assert.equal([keys.size, sets.size], [both.size, both.size]);
}

const PAUSED = membersOf('subscriber_state').indexOf('paused');

/** The first alone. */
const FEEDS = new Feeds({ ip: '127.0.0.1', port: 9000, source: null });

/** What a table of the same subscribers says that was never written before. */
function writtenWhole(arena: Arena, subscribers: Subscribers, source: Source): string[] {
  const view: Pick<Subscribers, 'all' | 'version' | 'takeRetired'> = {
    all: () => subscribers.all(),
    version: subscribers.version,
    takeRetired: () => [], // they are the other table's
  };
  const table = new SubscriberTable(arena, view as Subscribers, FEEDS, source);
  assert.ok(table.publish());
  return listed(arena, 1n);
}

const bytes = (next: Random, size: number) =>
  Uint8Array.from({ length: size }, () => next.below(256));

function routeOf(next: Random): Route {
  switch (next.below(3)) {
    case 0:
      return { state: 'live', mac: bytes(next, 6), kernelSocket: null };
    case 1:
      return { state: 'kernel', mac: null, kernelSocket: next.below(8) };
    default:
      return { state: 'unresolved', mac: null, kernelSocket: null };
  }
}

function filterOf(next: Random): Subscriber['filter'] {
  const slot = next.below(limits.FILTERS_MAX);
  const module = { slot, owner: slot } as FilterModule; // all that is published
  // often none, so that some share a set
  const size = next.below(2) === 0 ? 0 : next.below(limits.PARAM_SIZE + 1);
  return { module, param: bytes(next, size), before: null };
}

const sourceOf = (next: Random): Source => ({
  ip: `10.0.0.${next.below(256)}`,
  port: next.below(65_536),
  mac: bytes(next, 6),
  multicastTtl: 1 + next.below(255),
});

/** Thrown in place of a store: as after kill -9, nothing that follows is done. */
class Died extends Error {}

/** Does `work` up to its first `most` stores into that arena; true if it was cut short there. */
function killAfter(most: number, arena: Arena, work: () => void): boolean {
  let stores = 0;
  const restores: (() => void)[] = [];
  const count = (prototype: object, ...names: string[]) => {
    for (const name of names) {
      const own = Object.getOwnPropertyDescriptor(prototype, name);
      const store = Reflect.get(prototype, name) as (...values: unknown[]) => unknown;
      const counting = function (this: { buffer: unknown }, ...values: unknown[]): unknown {
        if (this.buffer === arena.buffer && stores++ === most) throw new Died();
        return Reflect.apply(store, this, values);
      };
      Object.defineProperty(prototype, name, { value: counting, configurable: true });
      restores.push(() => {
        if (own === undefined) Reflect.deleteProperty(prototype, name);
        else Object.defineProperty(prototype, name, own);
      });
    }
  };
  count(DataView.prototype, 'setUint16', 'setUint32', 'setBigUint64');
  count(Uint8Array.prototype, 'set', 'fill');
  count(Arena.prototype, 'publish');
  try {
    work();
    return false;
  } catch (error) {
    if (!(error instanceof Died)) throw error;
    return true;
  } finally {
    for (const restore of restores) restore();
  }
}

/** Publishes, or now and then dies of it: then readers have the table that they had. */
function publish(next: Random, arena: Arena, table: SubscriberTable) {
  const generation = arena.u64(arena.control('generation'));
  const had = listed(arena, generation);
  let isPublished = false;
  // few changes are more frequent than many, and so are deaths after few stores
  const most = next.below(1 + next.below(ENDPOINTS * STORES_A_RECORD));
  const isDead = killAfter(next.below(4) === 0 ? most : Infinity, arena, () => {
    isPublished = table.publish();
  });
  if (!isDead) return isPublished ? 'published' : 'held';
  assert.is(arena.u64(arena.control('generation')), generation, `seed ${next.seed}`);
  assert.equal(listed(arena, generation), had, `seed ${next.seed}`);
  return 'died';
}

const anyOf = (next: Random) => {
  const [route, filter, isPaused] = [routeOf(next), filterOf(next), next.below(4) === 0];
  return { worker: 0, route, filter, feeds: 1n, isPaused };
};

test('records that did not change need not be written again, whatever came between, and who died', async () => {
  const next = random('subscriber table');
  const [arena, other] = [await openBareArena(), await openBareArena()].map(
    (opened) => new Arena(opened.arena),
  ) as [Arena, Arena];
  let source = sourceOf(next);
  let subscribers = new Subscribers();
  let table = new SubscriberTable(arena, subscribers, FEEDS, source);
  const follow = () => {
    const generation = arena.u64(arena.control('generation'));
    arena.publish(arena.worker(0, 'generation_done'), generation);
    arena.publish(arena.receiver(0, 'generation_done'), generation);
  };
  const any = () => [...subscribers.all()][next.below(Math.max(subscribers.size, 1))];
  const tally = { published: 0, held: 0, adopted: 0, died: 0 };

  /** Another supervisor goes on from what the arena says. */
  const adopt = () => {
    const known = new Map([...subscribers.all()].map((each) => [each.row, each]));
    const heir = new Subscribers();
    const successor = new SubscriberTable(arena, heir, FEEDS, source);
    const { rows, retired, epochs } = successor.published();
    heir.restore(
      rows.map((row) => ({
        ...row,
        route: known.get(row.row)?.route ?? routeOf(next),
        filter: filterOf(next),
      })),
      retired,
      epochs,
    );
    [subscribers, table] = [heir, successor];
  };

  const toAny = (change: (one: Subscriber) => void) => () => {
    const one = any();
    if (one !== undefined) change(one);
  };
  const changes: (() => void)[] = [
    () => {
      const endpoint = { ip: '10.1.0.1', port: 1 + next.below(ENDPOINTS) };
      if (subscribers.find(endpoint) === undefined)
        subscribers.add({ ...endpoint, ...anyOf(next) });
    },
    () => subscribers.remove({ ip: '10.1.0.1', port: 1 + next.below(ENDPOINTS) }),
    toAny((one) => subscribers.reroute(one, routeOf(next))),
    toAny((one) => subscribers.pause(one, !one.isPaused)),
    toAny((one) => {
      one.filter = filterOf(next);
      subscribers.touch([one]);
    }),
    () => {
      if (next.below(10) > 0) return;
      for (const each of subscribers.all()) each.filter = filterOf(next);
      subscribers.touch();
    },
    () => {
      if (next.below(10) > 0) return;
      source = sourceOf(next);
      table.moveTo(source);
    },
    () => {
      if (next.below(20) > 0) return;
      adopt();
      tally.adopted++;
    },
    follow,
  ];

  for (let step = 0; step < STEPS; step++) {
    changes[next.below(changes.length)]?.();
    if (next.below(3) > 0) continue;
    const ending = publish(next, arena, table);
    tally[ending]++;
    if (ending === 'died') adopt();
    if (ending !== 'published') continue;
    const now = listed(arena, arena.u64(arena.control('generation')));
    assert.equal(now, writtenWhole(other, subscribers, source), `step ${step}, seed ${next.seed}`);
    assertSets(arena, arena.u64(arena.control('generation')));
    table.reclaim(table.followed());
  }
  const { published, held, adopted, died } = tally;
  const enough = published > 100 && held > 100 && adopted > 3 && died > 50;
  assert.ok(enough, JSON.stringify(tally));
});

test.run();
