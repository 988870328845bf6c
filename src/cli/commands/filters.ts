/** `fantail filter load | list | info | use | unload`: the filters of a running replicator. */
import { existsSync, readFileSync } from 'node:fs';
import type { ClientFlags } from '../../control/client.js';
import { counted } from '../../domain/counts.js';
import { type Endpoint, endpointText } from '../../domain/endpoint.js';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { filterFile } from '../../domain/installation.js';
import { tableLines } from '../../terminal/tables.js';
import { withFantail } from '../client.js';

type Flags = ClientFlags & { json?: boolean };

/** The file that was named, or the stock's filter of that name. */
function readModule(name: string, file: string | undefined): Buffer {
  const inStock = !/[/\\]/.test(name) && existsSync(filterFile(`${name}.wasm`));
  if (file === undefined && !inStock)
    throw new UsageError(`there is no filter ${name} in the stock; name the file of your own`);
  try {
    return readFileSync(file ?? filterFile(`${name}.wasm`));
  } catch (error) {
    throw new Failure(`cannot read the filter: ${messageOf(error)}`);
  }
}

export async function load(name: string, file: string | undefined, flags: Flags): Promise<void> {
  const bytes = readModule(name, file);
  const { hash, abi } = await withFantail(flags, ({ filters }) => filters.load(name, bytes));
  if (!flags.json) console.log(`loaded ${name}: ${bytes.length} bytes, ABI ${abi}, sha256 ${hash}`);
}

export async function list(flags: Flags): Promise<void> {
  const filters = await withFantail(flags, (fantail) => fantail.filters.list());
  if (flags.json) return;
  const rows = filters.map((row) => [
    row.name,
    row.status,
    row.hash.slice(0, 12),
    String(row.size),
    String(row.subscribers),
    row.default ? 'yes' : '',
    row.rollback?.reason ?? '',
  ]);
  const head = ['name', 'status', 'sha256', 'bytes', 'subscribers', 'default', 'rolled back'];
  console.log(tableLines(head, rows).join('\n'));
}

export async function info(name: string, flags: Flags): Promise<void> {
  const it = await withFantail(flags, ({ filters }) => filters.info(name));
  if (flags.json) return;
  const { verdicts, faults, rollback } = it;
  const lines = [
    ['name', it.name],
    ['status', it.status],
    ['sha256', it.hash],
    ['size', `${it.size} bytes, ABI ${it.abi}, ${it.state ? 'keeps state' : 'no state'}`],
    [
      'answers for',
      `${counted(it.subscribers, 'subscriber')}${it.default ? ', and new ones' : ''}`,
    ],
    ['cost', it.cost_ns === null ? 'not measured yet' : `${it.cost_ns} ns a packet and subscriber`],
    ['asked', `${it.calls} calls, ${it.jobs} jobs`],
    ['verdicts', `send ${verdicts.send}, drop ${verdicts.drop}`],
    ['faults', `trap ${faults.trap}, bad answer ${faults.bad_answer}, too big ${faults.too_big}`],
    ...(rollback === null
      ? []
      : [['rolled back', `sha256 ${rollback.hash.slice(0, 12)}: ${rollback.reason}`]]),
  ];
  console.log(lines.map(([key, value]) => `${(key ?? '').padEnd(13)}${value}`).join('\n'));
}

export async function use(
  name: string,
  /** Null: all. */
  to: Endpoint | null,
  flags: Flags & { param?: string },
): Promise<void> {
  const { param } = flags;
  const how = { to, ...(param === undefined ? {} : { param }) };
  const subscribers = await withFantail(flags, ({ filters }) => filters.use(name, how));
  if (flags.json) return;
  const whom = to === null ? `all, ${counted(subscribers, 'subscriber')} now` : endpointText(to);
  console.log(`${name} answers for ${whom}`);
}

export async function unload(name: string, flags: Flags): Promise<void> {
  await withFantail(flags, ({ filters }) => filters.unload(name));
  if (!flags.json) console.log(`unloaded ${name}`);
}
