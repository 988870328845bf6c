/** The filters that there are from the start: the built-in one, and the user's. */
import { basename } from 'node:path';
import { Failure, messageOf } from '../domain/errors.js';
import type { Holder } from '../domain/filter.js';
import { filterFile } from '../domain/installation.js';
import { readWhole } from '../domain/process/whole-file.js';
import { limits } from '../memory/layout.js';
import { checkFilter, hashOf } from './check/process.js';
import { BUILT_IN, checkFilterName, FILTER_NAME_LENGTH_MAX, Filters } from './registry.js';

/** Bytes; of a module that is too large, up to this, the check says so. */
const READ_SIZE_MAX = 16 * limits.MODULE_SIZE_MAX;
const BUILT_IN_FILE = filterFile('rewrite.wasm');

/**
 * The built-in filter, which a test of this build has checked, and that of `file`, which is checked
 * here and answers for everybody. `holders`: as of the registry.
 */
export async function firstFilters(
  file: string | null,
  holders: () => Iterable<Holder>,
): Promise<Filters> {
  const bytes = readModule(BUILT_IN_FILE);
  const facts = { abi: limits.FILTER_ABI, state: 0, report: null, hash: hashOf(bytes) };
  const filters = new Filters(bytes, facts, holders);
  if (file === null) return filters;
  const own = readModule(file);
  const ownFacts = await checkFilter(own);
  const name = filterNameOf(file);
  checkFilterName(name);
  filters.name(filters.place(name, own, ownFacts));
  filters.use(name, new Uint8Array(), null);
  return filters;
}

/**
 * `dir/My Filter.wasm` → `my-filter`; one that would pass for the built-in gets a name that says
 * whose it is.
 */
export function filterNameOf(file: string): string {
  const plain = basename(file, '.wasm')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-');
  const name = plain.replace(/^[^a-z0-9]+/, '').slice(0, FILTER_NAME_LENGTH_MAX);
  return name === '' || name === BUILT_IN ? `own-${name}` : name;
}

export function readModule(file: string): Uint8Array {
  try {
    return readWhole(file, READ_SIZE_MAX).bytes;
  } catch (error) {
    throw new Failure(`cannot read the filter: ${messageOf(error)}`);
  }
}
