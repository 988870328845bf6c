/** Filters of the stock, and how a test loads and uses a filter. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FilterInfo, FilterRow } from '../../src/domain/statistics.js';
import { ROOT } from '../rig/program.js';
import type { Replicator } from '../rig/replicator.js';
import type { Destination } from '../rig/wire.js';

/** DSCP 46 is the upper six bits of the TOS byte (RFC 2474). */
export const MARKED = String(46 << 2);

export const stock = (name: string) => readFileSync(join(ROOT, 'build', 'filters', `${name}.wasm`));

export async function load(replicator: Replicator, name: string, bytes: Uint8Array): Promise<void> {
  const module = Buffer.from(bytes).toString('base64');
  await replicator.change({ op: 'filter.load', name, module });
}

export async function use(
  replicator: Replicator,
  name: string,
  to?: Destination,
  param?: string,
): Promise<void> {
  const one = to === undefined ? {} : { ip: to.ip, port: to.port };
  await replicator.change({
    op: 'filter.use',
    name,
    ...one,
    ...(param === undefined ? {} : { param }),
  });
}

export const list = async (replicator: Replicator) =>
  (await replicator.ask({ op: 'filter.list' })).filters as FilterRow[];
export const info = async (replicator: Replicator, name: string) =>
  (await replicator.ask({ op: 'filter.info', name })).filter as FilterInfo;
