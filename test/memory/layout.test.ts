/**
 * The one description of shared memory: its own rules, and that every program was built from it.
 *
 * needs: a core
 */
import { existsSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addon } from '../../src/memory/addon.js';
import { bucketStart, percentile } from '../../src/memory/arena.js';
import {
  CONTAINER,
  countOf,
  type Field,
  layoutVersion,
  limits,
  type Struct,
  structOf,
  structs,
} from '../../src/memory/layout.js';
import {
  assemblyConstants,
  cHeader,
  faults,
  MAP_PAGE,
  pageWithMap,
} from '../../tools/gen-layout.js';

const layout = suite('layout');

/** A copy of a struct with one field elsewhere. */
function moved(struct: Struct, field: string, offset: number): Struct {
  return { ...struct, fields: struct.fields.map((f) => (f.name === field ? { ...f, offset } : f)) };
}

layout('has no overlap, no misaligned field and no cache line with two writers', () => {
  for (const struct of structs) assert.equal(faults(struct), []);
});

layout('refuses a ring head beside the tail: one cache line would have two writers', () => {
  const found = faults(moved(structOf('ring_header'), 'head', 8));
  assert.match(found.join(), /cache line 0 has two writers, producer and consumer/);
});

layout('refuses a misaligned field, an overlap and a struct that is too small', () => {
  assert.match(faults(moved(structOf('forward_slot'), 'stamp_ns', 9)).join(), /not aligned to 8/);
  assert.match(
    faults(moved(structOf('forward_slot'), 'length', 0)).join(),
    /overlaps the field before it/,
  );
  assert.match(
    faults({ ...structOf('job'), size: 28 }).join(),
    /is 28 bytes but its fields need 40/,
  );
});

layout('checks through nesting: offsets, sizes and writers of contained structs count', () => {
  const array = (offset: number, count: string, writer: string, name: string): Field => {
    return { offset, type: 'soft_descriptor', counts: [count], name, writer, why: '' };
  };
  const outer = (size: number, ...fields: Field[]): Struct => {
    return { name: 'outer', size, why: '', fields };
  };
  assert.is(structOf('soft_descriptor').fields[0]?.writer, CONTAINER);
  assert.equal(faults(outer(128, array(0, '4', 'a', 'x'), array(64, '4', 'b', 'y'))), []);
  assert.equal(faults(outer(128, array(0, '3', 'a', 'x'), array(48, '4', 'b', 'y'))), [
    'outer: cache line 0 has two writers, a and b',
  ]);
  assert.match(faults(outer(128, array(4, '4', 'a', 'x'))).join(), /not aligned to 8/);
  assert.match(
    faults(outer(128, array(0, '5', 'a', 'x'), array(64, '4', 'a', 'y'))).join(),
    /overlaps the field before it/,
  );
  assert.match(
    faults(outer(64, array(0, '5', 'a', 'x'))).join(),
    /64 bytes but its fields need 80/,
  );
  assert.throws(() => countOf('NO_SUCH_COUNT'), /no count NO_SUCH_COUNT/);
});

layout('the generated files are those of this description', () => {
  assert.is(readFileSync('native/shm/layout.h', 'utf8'), cHeader());
  assert.is(readFileSync('assembly/layout.ts', 'utf8'), assemblyConstants());
  if (!existsSync(MAP_PAGE)) return;
  const page = readFileSync(MAP_PAGE, 'utf8');
  assert.is(page, pageWithMap(page));
});

layout('the addon was compiled from this description', () => {
  assert.is(addon.layoutVersion(), layoutVersion());
});

layout(
  'buckets of the latency histogram meet without a gap, and percentiles round up to their end',
  () => {
    assert.equal([0, 7, 8, 15, 16, 17, 24].map(bucketStart), [0, 7, 8, 15, 16, 18, 32]);
    const counts = new Array<number>(512).fill(0);
    assert.is(percentile(counts, 0.5), 0);
    counts[8] = 99;
    counts[24] = 1;
    assert.is(percentile(counts, 0.5), 8);
    assert.is(percentile(counts, 0.999), 35);
  },
);

layout('docs/filter-abi.md has the structs and addresses that filters see', () => {
  const page = readFileSync('docs/filter-abi.md', 'utf8');
  for (const name of ['job', 'subscriber'])
    for (const { offset, type, counts, name: field } of structOf(name).fields) {
      const array = counts.map((count) => `[${countOf(count)}]`).join('');
      assert.match(page, `| ${offset} | ${type}${array} | \`${field}\` |`);
    }
  const { WINDOW_JOBS, WINDOW_SLOTS, WINDOW_STATE, WINDOW_SUBSCRIBERS, WINDOW_FRAMES, FILTER_ABI } =
    limits;
  for (const address of [
    WINDOW_JOBS,
    WINDOW_SLOTS,
    WINDOW_STATE,
    WINDOW_SUBSCRIBERS,
    WINDOW_FRAMES,
  ])
    assert.match(page, `\n| 0x${address.toString(16)} | `);
  assert.match(page, `# Filter ABI, version ${FILTER_ABI}\n`);
});

layout.run();
