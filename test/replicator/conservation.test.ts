/**
 * Goal: `stats --check` finds every packet that vanished, and none that did not.
 * Method: pairs of samples made by hand; in each, one number is wrong, or right for a reason.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Stats } from '../../src/domain/statistics.js';
import { differences, isSettled } from '../../src/replicator/conservation.js';
import { busyStats, emptyStats } from '../rig/memory-replicator.js';

const test = suite('conservation');

/** The same counters with some of them changed. */
function changed(stats: Stats, change: (stats: Stats) => void): Stats {
  const copy = structuredClone(stats);
  change(copy);
  return copy;
}

function account(stats: Stats): Stats['subscribers'][number] {
  const [row] = stats.subscribers;
  if (row === undefined) throw new Error('no subscriber in this sample');
  return row;
}

function kernel(stats: Stats): Stats['kernel'][number] {
  const [row] = stats.kernel;
  if (row === undefined) throw new Error('no queue in this sample');
  return row;
}

test('counters that add up are settled and without difference', () => {
  for (const stats of [emptyStats(), busyStats(1000)]) {
    assert.ok(isSettled(stats));
    assert.equal(differences(stats, stats), []);
  }
});

test('a copy that vanished is told with its subscriber and the difference', () => {
  const lost = changed(busyStats(1000), (stats) => {
    account(stats).sent = 990;
    account(stats).drops = { tx_full: 4, backlog: 3 };
  });
  const sum = 'sent 990 + in_flight 0 + drops 7';
  assert.equal(differences(lost, lost), [
    `10.0.0.34:9001: received 1000 is not ${sum}; difference 3`,
  ]);
  const twice = changed(busyStats(1000), (stats) => {
    account(stats).sent = 1001;
  });
  assert.match(differences(twice, twice)[0] ?? '', /difference -1$/);
});

test('more in flight than frames and ring slots can hold is told while the feed flows, too', () => {
  const vanished = (received: number) =>
    changed(busyStats(received), (stats) => {
      account(stats).sent = received - 8201;
      account(stats).in_flight = 8201;
    });
  assert.match(differences(vanished(20_000), vanished(21_000)).join(), /8201 in flight, more than/);
});

test('what came by the slow path is accounted for beside what XDP redirected', () => {
  const slow = (slow_path: number, received: number) =>
    changed(busyStats(received), (stats) => {
      stats.feed.slow_path = slow_path;
      stats.xdp.redirect = (stats.xdp.redirect ?? 0) - 10;
    });
  assert.equal(differences(slow(10, 1000), slow(10, 1000)), []);
  assert.match(
    differences(slow(11, 1000), slow(11, 1000)).join(),
    /^xdp: redirect \d+ \+ slow_path 11 is not .*; difference 1$/,
  );
});

test('copies in flight are accounted for while the feed flows, and stuck if it does not', () => {
  const inFlight = (received: number) => {
    return changed(busyStats(received), (stats) => {
      account(stats).sent = received - 5;
      account(stats).in_flight = 5;
    });
  };
  assert.not.ok(isSettled(inFlight(100)));
  assert.equal(differences(inFlight(100), inFlight(200)), []);
  assert.match(differences(inFlight(100), inFlight(100))[0] ?? '', /: 5 in flight without traffic/);
});

test('what the kernel dropped and what the receiver refused are terms of the XDP equation', () => {
  const stats = changed(busyStats(1000), (sample) => {
    sample.xdp.redirect = 1016;
    sample.feed.drops = { invalid_checksum: 2, invalid_ip_length: 1 };
    kernel(sample).rx_dropped = 8;
    kernel(sample).rx_ring_full = 5;
    kernel(sample).rx_fill_ring_empty_descs = 8; // is in rx_dropped already
  });
  assert.ok(isSettled(stats));
  assert.equal(differences(stats, structuredClone(stats)), []);
});

test('a frame that vanished after XDP is told once all is quiet', () => {
  const stats = changed(busyStats(1000), (sample) => {
    sample.xdp.redirect = 1001;
  });
  assert.not.ok(isSettled(stats));
  assert.match(
    differences(stats, structuredClone(stats))[0] ?? '',
    /^xdp: redirect 1001 is not .*difference 1$/,
  );
});

test('under traffic the two sides of the XDP equation may be read a moment apart, but not fall behind', () => {
  const sample = (redirect: number, received: number) => {
    return changed(busyStats(received), (stats) => {
      stats.xdp.redirect = redirect;
    });
  };
  assert.equal(differences(sample(1010, 1000), sample(2010, 2000)), []);
  assert.equal(differences(sample(1000, 1010), sample(2000, 2010)), []);
  assert.match(differences(sample(1010, 1000), sample(2000, 1009))[0] ?? '', /difference 991$/);
  assert.match(differences(sample(1000, 2001), sample(2000, 2010))[0] ?? '', /difference -10$/);
});

test('socket mode has no XDP to compare with', () => {
  const stats = changed(busyStats(1000), (sample) => {
    sample.mode = 'socket';
    sample.xdp = {};
    sample.kernel = [];
  });
  assert.ok(isSettled(stats));
  assert.equal(differences(stats, stats), []);
});

test.run();
