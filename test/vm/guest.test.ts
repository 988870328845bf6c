/**
 * Goal: what a guest's console says of the command that ran in it is told right, whatever else is
 * on it.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endOf } from './guest.js';

const test = suite('guest');

test('what a command wrote, its status, and what the kernel complained of', () => {
  const said =
    'booting\n\nguest-begins\none\ntwo\n\nguest-warning [1.0] WARNING: at x\nguest-ends 3\n';
  const { status, output, warnings } = endOf(said);
  assert.equal([status, warnings], [3, ['[1.0] WARNING: at x']]);
  assert.is(output.trim(), 'one\ntwo');
});

test('a guest that ended before the command did has no status, and all that it said', () => {
  const { status, output } = endOf('booting\nKernel panic - not syncing\n');
  assert.is(status, null);
  assert.match(output, /Kernel panic/);
  const { status: none, output: begun } = endOf('x\n\nguest-begins\nhalf');
  assert.equal([none, begun], [null, 'half']);
});

test('what only looks like an end is none', () => {
  assert.is(endOf('\nguest-begins\nit says guest-ends 0\n').status, null);
});

test.run();
