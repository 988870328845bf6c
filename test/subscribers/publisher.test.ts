/**
 * When nobody follows a table any more, nothing waits for that.
 *
 * needs: a core
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Publisher } from '../../src/subscribers/publisher.js';
import type { SubscriberTable } from '../../src/subscribers/table.js';

const test = suite('publisher');

/** Whose workers are gone: published, and never followed. */
const UNFOLLOWED: Pick<SubscriberTable, 'wanted' | 'publish' | 'followed' | 'reclaim'> = {
  wanted: 1n,
  publish: () => false,
  followed: () => 0n,
  reclaim: () => false,
};
const SOCKETS = { leaving: () => [], release: () => {} };

const timers = () => process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length;

test('one that is closed waits for nobody, whatever is asked of it afterwards', async () => {
  const table = UNFOLLOWED as SubscriberTable; // the rest is not asked
  const publisher = new Publisher({ table, sockets: SOCKETS, wake: () => {} });
  await sleep(50); // the runner's own timers end
  const before = timers();
  const waited = publisher.applied().catch((error) => error);
  publisher.pump();
  assert.is(timers(), before + 1, 'it waits for workers');
  publisher.close();
  assert.match(String(await waited), /fantail is stopping/);
  publisher.pump(); // an event of the interface that was on its way
  const refused = await publisher.applied().catch((error) => error);
  assert.match(String(refused), /fantail is stopping/);
  assert.is(timers(), before, 'nothing keeps the process');
});

test.run();
