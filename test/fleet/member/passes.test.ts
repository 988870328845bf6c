/**
 * Goal: a pass that looks at what has changed alone leaves the table as one would that goes through
 * all. Method: a group that changes at random, and after each pass everybody compared with what the
 * group says; what has not changed is not placed again.
 *
 * needs: a core
 */
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endpointText } from '../../../src/domain/endpoint.js';
import { BUILT_IN } from '../../../src/domain/filter.js';
import type { Placement } from '../../../src/domain/fleet.js';
import { Service } from '../../../src/fleet/member/service.js';
import { Keys } from '../../../src/fleet/registry/keys.js';
import { Mirror } from '../../../src/fleet/registry/mirror.js';
import { Relays } from '../../../src/fleet/relays/relays.js';
import { SHARDS, shardOf } from '../../../src/fleet/shards/rendezvous.js';
import { TableTarget } from '../../rig/fleet/target.js';
import { sleep } from '../../rig/program.js';
import { type Random, random } from '../../rig/random.js';

const test = suite('passes of a member');
const ME = 'me';
const ADDRESSES = 40;
const CHANGES = 600;
const NAMES = ['one', 'two'] as const;
/** Versions of a module. */
const MODULES = [1, 2].map((first) => {
  const bytes = Uint8Array.of(first, 2, 3);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
});

class CountingTarget extends TableTarget {
  placed = 0;

  override place(placement: Placement): void {
    this.placed += 1;
    super.place(placement);
  }
}

class Scene {
  readonly keys = new Keys('passes');
  readonly mirror = new Mirror(this.keys);
  readonly target: CountingTarget;
  readonly service: Service;
  wanted = new Set(Array.from({ length: SHARDS }, (_, shard) => shard));
  private revision = 1;

  constructor(rowsMax: number) {
    this.target = new CountingTarget(rowsMax);
    const { target, mirror } = this;
    const relays = new Relays({ target, mirror, member: ME });
    this.service = new Service({
      ...{ target, mirror, relays, ownFeeds: new Set(), allowed: 'any', onChange: () => {} },
      module: async (sha256) => MODULES.find((each) => each.sha256 === sha256)?.bytes ?? null,
    });
  }

  /** As a watch tells it; null: it is gone. */
  say(key: string, value: object | null): void {
    this.revision += 1;
    const [modRevision, createRevision] = [this.revision, this.revision];
    const bytes = value === null ? null : Buffer.from(JSON.stringify(value));
    this.mirror.apply([{ key, value: bytes, modRevision, createRevision, lease: '7' }]);
  }

  /** Passes until nobody waits for a module. */
  async pass(): Promise<void> {
    for (let tries = 0; tries < 4; tries++) {
      await this.service.apply(this.wanted);
      await turn();
    }
  }

  /** Who should be served, and by which filter, found by asking for each whatever there is. */
  expected(): Map<string, string> {
    const { mirror, wanted } = this;
    const listeners = [...mirror.members.values()].map(({ listen }) => endpointText(listen));
    const rows = new Map<string, string>();
    for (const shard of wanted)
      for (const [text, { filter, param, paused, feeds }] of mirror.subscribers[shard] ?? []) {
        const chosen = filter === null ? mirror.default : { filter, param };
        const name = chosen?.filter ?? BUILT_IN;
        const hash = name === BUILT_IN ? null : (mirror.filters.get(name)?.sha256 ?? 'none');
        if (hash !== 'none' && !listeners.includes(text))
          rows.set(text, `${name} ${hash} ${chosen?.param ?? ''} ${paused} ${feeds}`);
      }
    for (const { listen, upstream } of mirror.members.values())
      if (upstream === ME) rows.set(endpointText(listen), `${BUILT_IN} null  false main`);
    return rows;
  }

  rows(): Map<string, string> {
    return new Map(
      [...this.target.rows].map(([text, { filter, param, isPaused, feeds }]) => {
        const hash = filter === BUILT_IN ? null : this.target.filterHash(filter);
        return [text, `${filter} ${hash} ${Buffer.from(param)} ${isPaused} ${feeds}`];
      }),
    );
  }
}

const sorted = (rows: ReadonlyMap<string, string>) => [...rows].sort();

/** One change of the group, or of what this member is to serve. */
function change(scene: Scene, dice: Random): void {
  const { keys } = scene;
  const endpoint = { ip: '10.0.0.1', port: 9000 + dice.below(ADDRESSES) };
  const filter = [null, BUILT_IN, ...NAMES][dice.below(4)] ?? null;
  const name = NAMES[dice.below(NAMES.length)] ?? 'one';
  const module = MODULES[dice.below(MODULES.length)];
  const param = ['', 'x'][dice.below(2)] ?? '';
  const subscriber = keys.of('subscribers', endpointText(endpoint));
  const shard = shardOf(endpoint);
  const turns: (() => void)[] = [
    () => scene.say(subscriber, { filter, param, paused: dice.below(2) === 0 }),
    () => scene.say(subscriber, { filter, param, feeds: ['all'] }),
    () => scene.say(subscriber, null),
    () => scene.say(keys.of('filters', name), dice.below(3) === 0 ? null : { ...module, bytes: 0 }),
    () => scene.say(keys.default, dice.below(2) === 0 ? null : { filter: name, param }),
    () => {
      const upstream = [null, ME][dice.below(2)] ?? null;
      const listen = endpoint;
      const more = { weight: 1, isDraining: false, control: 'http://10.0.0.9:1', version: '1' };
      scene.say(
        keys.of('members', ['one', 'other'][dice.below(2)] ?? ''),
        dice.below(2) === 0 ? null : { ...more, listen, upstream },
      );
    },
    () => {
      if (!scene.wanted.delete(shard)) scene.wanted.add(shard);
    },
  ];
  turns[dice.below(turns.length)]?.();
}

test('after each change the table is what the group says', async () => {
  const dice = random('passes of a member');
  const scene = new Scene(4096);
  for (let index = 0; index < CHANGES; index++) {
    change(scene, dice);
    await scene.pass();
    assert.equal(sorted(scene.rows()), sorted(scene.expected()), `after change ${index}`);
  }
});

test('of a table with little room as many are served as it has, and each as the group says', async () => {
  const dice = random('passes of a member with little room');
  const scene = new Scene(10);
  for (let index = 0; index < CHANGES; index++) {
    change(scene, dice);
    await scene.pass();
    const expected = scene.expected();
    const rows = scene.rows();
    assert.ok(rows.size <= 10);
    for (const [text, how] of rows) assert.is(expected.get(text), how, `after change ${index}`);
  }
  await sleep(1100); // whoever had no room is tried again after a second
  await scene.pass();
  assert.is(scene.target.rows.size, Math.min(10, scene.expected().size));
});

test('one that is added to many has one placed', async () => {
  const scene = new Scene(4096);
  for (let port = 1; port <= 2000; port++)
    scene.say(scene.keys.of('subscribers', `10.0.0.1:${port}`), {});
  await scene.pass();
  assert.is(scene.target.placed, 2000);
  scene.say(scene.keys.of('subscribers', '10.0.0.1:3000'), {});
  await scene.pass();
  assert.is(scene.target.placed, 2001);
});

test.run();
