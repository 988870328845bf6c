/** By which path a worker is to send, from what it has counted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  COPIES_BY_RING,
  COPIES_IN_BULK,
  failureOf,
  onlyPath,
  pathFor,
} from '../../src/replicator/plan/paths.js';

const test = suite('paths');
const COUNTED = {
  packets: 0,
  bursts: 0,
  bulk_calls: 100,
  bulk_slow: 0,
  bulk_copies: 1500,
  bulk_resent: 100,
  bulk_refused: 0,
};

test('many copies at once go in bulk, few by the ring, and between them nothing changes', () => {
  assert.is(pathFor(COPIES_IN_BULK, 'ring'), 'bulk');
  assert.is(pathFor(COPIES_IN_BULK - 0.1, 'ring'), 'ring');
  assert.is(pathFor(COPIES_BY_RING, 'bulk'), 'bulk');
  assert.is(pathFor(COPIES_BY_RING - 0.1, 'bulk'), 'ring');
  assert.is(pathFor(0, 'bulk'), 'ring');
});

test('calls that are slow, or refused, more often than not are a failure; some are none', () => {
  assert.is(failureOf(COUNTED), null);
  assert.is(failureOf({ ...COUNTED, bulk_slow: 50, bulk_refused: 800 }), null);
  assert.match(failureOf({ ...COUNTED, bulk_slow: 51 }) ?? '', /51 of 100 calls .* 5 ms/);
  assert.match(failureOf({ ...COUNTED, bulk_refused: 801 }) ?? '', /refused 801 of 1600 tries/);
  assert.is(failureOf({ ...COUNTED, bulk_calls: 1, bulk_slow: 1 }), null, 'one is none');
});

test('a worker with one path alone says why', () => {
  const both = { paths: { ring: true, bulk: true }, ringBecause: '' };
  const opened = { mode: 'copy', tx: [6], pages: [7], ringBecause: '' };
  assert.is(onlyPath(both, opened), null);
  assert.is(onlyPath(both, { ...opened, pages: [], ringBecause: 'no' }), 'no');
  assert.match(onlyPath(both, { ...opened, mode: 'zerocopy', pages: [] }) ?? '', /zerocopy mode/);
  const ring = { paths: { ring: true, bulk: false }, ringBecause: 'so it was' };
  assert.is(onlyPath(ring, { ...opened, pages: [] }), 'so it was');
  assert.is(onlyPath(both, { ...opened, tx: [] }), '--transmit bulk');
  // an adopter that could not open it so itself
  assert.is(onlyPath(ring, opened), null);
});

test.run();
