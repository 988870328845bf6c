/**
 * Goal: a table is what it would be if it were written whole, though only the records that have
 * changed are written. Method: random changes and publications, some of them held up by a worker
 * that does not follow; after each publication every listed record is compared with that of a table
 * that was never written before.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FilterModule } from '../../src/domain/filter.js';
import { Arena } from '../../src/memory/arena.js';
import { limits } from '../../src/memory/layout.js';
import type { Route } from '../../src/routes/reach.js';
import { type Subscriber, Subscribers } from '../../src/subscribers/subscribers.js';
import { type Source, SubscriberTable } from '../../src/subscribers/table.js';
import { openBareArena } from '../rig/arena.js';
import { type Random, random } from '../rig/random.js';

const test = suite('subscriber table');
const STEPS = 6000;
/** Few, so that rows are given up and taken again. */
const ENDPOINTS = 60;

/** In the buffer of that generation: what worker 0 serves, each with its row and its record. */
function listed(arena: Arena, generation: bigint): string[] {
  const { view, buffer } = arena;
  const count = view.getUint32(arena.table(generation, 'count'), true);
  return Array.from({ length: count }, (_, index) => {
    const row = view.getUint16(arena.table(generation, 'list') + 2 * index, true);
    const start = arena.table(generation, 'rows') + row * limits.SUBSCRIBER_SIZE;
    return `${row} ${Buffer.from(buffer, start, limits.SUBSCRIBER_SIZE).toString('hex')}`;
  });
}

/** What a table of the same subscribers says that was never written before. */
function writtenWhole(arena: Arena, subscribers: Subscribers, source: Source): string[] {
  const view: Pick<Subscribers, 'all' | 'version' | 'takeRetired'> = {
    all: () => subscribers.all(),
    version: subscribers.version,
    takeRetired: () => [], // they are the other table's
  };
  const table = new SubscriberTable(arena, view as Subscribers, source);
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
  const module = { slot: next.below(limits.FILTERS_MAX) } as FilterModule; // all that is published
  return { module, param: bytes(next, next.below(limits.PARAM_SIZE + 1)), before: null };
}

const sourceOf = (next: Random): Source => ({
  ip: `10.0.0.${next.below(256)}`,
  port: next.below(65_536),
  mac: bytes(next, 6),
});

test('records that did not change need not be written again, whatever came between', async () => {
  const next = random('subscriber table');
  const [arena, other] = [await openBareArena(), await openBareArena()].map(
    (opened) => new Arena(opened.arena),
  ) as [Arena, Arena];
  let source = sourceOf(next);
  let subscribers = new Subscribers();
  let table = new SubscriberTable(arena, subscribers, source);
  const follow = () => {
    const generation = arena.u64(arena.control('generation'));
    arena.publish(arena.worker(0, 'generation_done'), generation);
    arena.publish(arena.receiver(0, 'generation_done'), generation);
  };
  const any = () => [...subscribers.all()][next.below(Math.max(subscribers.size, 1))];
  const tally = { published: 0, held: 0, adopted: 0 };

  /** Another supervisor goes on from what the arena says. */
  const adopt = () => {
    const known = new Map([...subscribers.all()].map((each) => [each.row, each]));
    const heir = new Subscribers();
    const successor = new SubscriberTable(arena, heir, source);
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
    tally.adopted++;
  };

  const changes: (() => void)[] = [
    () => {
      const endpoint = { ip: '10.1.0.1', port: 1 + next.below(ENDPOINTS) };
      if (subscribers.find(endpoint) === undefined)
        subscribers.add({ ...endpoint, worker: 0, route: routeOf(next), filter: filterOf(next) });
    },
    () => subscribers.remove({ ip: '10.1.0.1', port: 1 + next.below(ENDPOINTS) }),
    () => {
      const one = any();
      if (one !== undefined) subscribers.reroute(one, routeOf(next));
    },
    () => {
      const one = any();
      if (one === undefined) return;
      one.filter = filterOf(next);
      subscribers.touch([one]);
    },
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
      if (next.below(20) === 0) adopt();
    },
    follow,
  ];

  for (let step = 0; step < STEPS; step++) {
    changes[next.below(changes.length)]?.();
    if (next.below(3) > 0) continue;
    if (!table.publish()) {
      tally.held++;
      continue;
    }
    tally.published++;
    const now = listed(arena, arena.u64(arena.control('generation')));
    assert.equal(now, writtenWhole(other, subscribers, source), `step ${step}, seed ${next.seed}`);
    table.reclaim(table.followed());
  }
  assert.ok(tally.published > 100 && tally.held > 100 && tally.adopted > 3, JSON.stringify(tally));
});

test.run();
