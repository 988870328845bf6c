/** `fantail config check`, `fantail config show`, `fantail reload`. */
import type { ClientFlags } from '../../control/client.js';
import { type ConfigurationAnswer, changeText } from '../../domain/configuration.js';
import { Failure, FantailError, messageOf } from '../../domain/errors.js';
import { filterFile } from '../../domain/installation.js';
import { checkFilter } from '../../filters/check/process.js';
import { readModule } from '../../filters/first.js';
import type { Configuration } from '../../replicator/reload/configured.js';
import { rowsOf } from '../../replicator/reload/rows.js';
import { tableLines } from '../../terminal/tables.js';
import { withFantail } from '../client.js';
import { type ConfigFile, faultText, readConfigFile } from '../configuration/file.js';
import { missingOf, settled, throwFaults } from '../configuration/settings.js';
import { up } from '../declarations/replicator.js';

type Flags = ClientFlags & { json?: boolean };

const nothingGiven = new Map<string, string[]>();

/** As `up --config` would have it, with no other word on its command line. */
function read(path: string): { file: ConfigFile; found: Configuration | null } {
  const file = readConfigFile(path);
  const found = settled({ made: up(), given: nothingGiven, flagsOf: (_, flags) => flags }, file);
  return { file, found };
}

export async function check(path: string, { json }: { json?: boolean }): Promise<void> {
  const { file, found } = read(path);
  if (found !== null && file.faults.length === 0) await checkModules(file, found);
  const faults = file.inOrder;
  if (json) console.log(JSON.stringify({ ok: faults.length === 0, file: path, faults }));
  else if (faults.length > 0) console.log(faults.map(faultText).join('\n'));
  else console.log(`${path}: ok${leftOf(found)}`);
  if (faults.length > 0) process.exitCode = 1;
}

function leftOf(found: Configuration | null): string {
  const missing = found === null ? undefined : missingOf(found);
  return missing === undefined ? '' : `; ${missing} is left to the command line`;
}

/** As the replicator checks them before they go live. */
async function checkModules(file: ConfigFile, { config, settings, filters }: Configuration) {
  const own = settings.find(({ key }) => key === 'filter')?.words[0]?.from;
  const at = typeof own === 'object' ? own : null;
  const named = filters.map(({ name, file: path, at }) => {
    return { path: path ?? filterFile(`${name}.wasm`), at, isStock: path === null, name };
  });
  const all = [
    ...(config.filter === null ? [] : [{ path: config.filter, at, isStock: false, name: '' }]),
    ...named,
  ];
  for (const { path, at, isStock, name } of all)
    try {
      await checkFilter(readModule(path));
    } catch (thrown) {
      if (!(thrown instanceof FantailError || thrown instanceof Failure)) throw thrown;
      const why = isStock ? `there is no filter ${name} in the stock` : messageOf(thrown);
      file.fault(at, isStock ? `${why}; give the file of your own as file:` : why);
    }
}

/** What would hold with nothing else on the command line. */
export async function show(path: string, { json }: Flags): Promise<void> {
  const { file, found } = read(path);
  throwFaults(file);
  if (found === null) throw new Error('a configuration without a fault');
  const answer = { file: path, settings: rowsOf(found) };
  console.log(json ? JSON.stringify(answer) : textOf(answer));
}

export async function showRunning(flags: Flags): Promise<void> {
  const answer = await withFantail(flags, (fantail) => fantail.configuration());
  if (!flags.json) console.log(textOf(answer));
}

function textOf({ settings }: ConfigurationAnswer): string {
  const rows = settings.map(({ key, value, from, waiting }) => {
    const waits = waiting === undefined ? '' : `after a restart: ${waiting ?? 'not set'}`;
    return [key, value ?? '-', from, ...(isWaiting(settings) ? [waits] : [])];
  });
  const head = ['key', 'value', 'from', ...(isWaiting(settings) ? ['waits'] : [])];
  return tableLines(head, rows).join('\n');
}

const isWaiting = (settings: ConfigurationAnswer['settings']) =>
  settings.some(({ waiting }) => waiting !== undefined);

export async function reload(flags: Flags): Promise<void> {
  const { file, applied, refused } = await withFantail(flags, (fantail) => fantail.reload());
  if (refused.length > 0) process.exitCode = 1;
  if (flags.json) return;
  for (const row of applied) console.log(`applied  ${changeText(row)}`);
  for (const row of refused) console.log(`refused  ${changeText(row)}: ${row.reason}`);
  if (applied.length + refused.length === 0) console.log(`${file}: nothing is different`);
}
