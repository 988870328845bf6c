/**
 * What `up` is told, by whom: the command line before the file, the file before what holds anyway.
 */
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { isScalar, isSeq, type Node } from 'yaml';
import type { Place } from '../../domain/configuration.js';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { MAIN } from '../../domain/feed.js';
import { filterNameOf } from '../../filters/first.js';
import { BUILT_IN } from '../../filters/registry.js';
import { configOf, type UpFlags } from '../../replicator/config.js';
import type { Configuration, Setting } from '../../replicator/reload/configured.js';
import { command } from '../program.js';
import { type ConfigFile, type Entry, faultText, readConfigFile } from './file.js';
import type { Given } from './given.js';
import { type Key, keysOf } from './keys.js';
import { checkNames, filtersOf, SECTIONS, subscribersOf } from './sections.js';

type Words = Setting['words'];

/** What `up` cannot do without. */
const ARGUMENTS = new Set(['interface', 'listen-ip', 'listen-port']);

/** A command's declaration; what is adopted from a file is tried on it. */
export interface Asked {
  readonly made: Command;
  readonly given: Given;
  /** What is taken for granted beside it. */
  readonly flagsOf: (listenIp: string, flags: UpFlags) => UpFlags;
}

/** Throws UsageError that quotes the first fault and counts the others. */
export function configurationOf(asked: Asked, path: string | null): Configuration {
  const file = path === null ? null : readConfigFile(path);
  const found = settled(asked, file);
  if (file !== null) throwFaults(file);
  // what is wrong without a file was thrown
  if (found === null) throw new Error('a configuration without a fault');
  const missing = missingOf(found);
  if (missing === undefined) return found;
  const where = path === null ? '' : `, and ${path} has no ${missing}`;
  throw new UsageError(`missing required argument '${missing.replaceAll('-', '_')}'${where}`);
}

/** An argument that neither says. */
export function missingOf({ settings }: Configuration): string | undefined {
  return settings.find(({ key, words }) => ARGUMENTS.has(key) && words.length === 0)?.key;
}

/** A Failure where the file may be right: the next start may find what it names. */
export function throwFaults(file: ConfigFile): void {
  const all = file.inOrder;
  const first = all.find(({ isFailure }) => !isFailure) ?? all[0];
  if (first === undefined) return;
  const more = all.length === 1 ? '' : ` (and ${all.length - 1} more)`;
  if (first.isFailure) throw new Failure(`${faultText(first)}${more}`);
  throw new UsageError(`${faultText(first)}${more}`, `fantail config check ${file.path}`);
}

/** The same, with all faults of the file told in it and none thrown; null: there are some. */
export function settled(asked: Asked, file: ConfigFile | null): Configuration | null {
  const keys = keysOf(asked.made);
  const entries = file === null ? new Map<string, Entry>() : entriesOf(file, asked.made, keys);
  const settings = keys.map((key) => settingOf(key, asked.given, file, entries.get(key.name)));
  const section = (name: (typeof SECTIONS)[number]) => entries.get(name);
  const [filterEntry, subscriberEntry] = [section('filters'), section('subscribers')];
  const filters = file === null || !filterEntry ? [] : filtersOf(file, filterEntry);
  const subscribers = file === null || !subscriberEntry ? [] : subscribersOf(file, subscriberEntry);
  const config = configFrom(keys, settings, asked, file);
  if (file !== null && config !== null)
    checkNames(file, subscribers, {
      feeds: new Set([MAIN, ...config.feeds.map(nameOf)]),
      filters: new Set([
        BUILT_IN,
        ...filters.map(nameOf),
        ...(config.filter === null ? [] : [filterNameOf(config.filter)]),
      ]),
    });
  if (config === null) return null;
  const own = config.filter === null ? null : filterNameOf(config.filter);
  const twin = filters.find(({ name }) => name === own);
  if (twin !== undefined)
    file?.fault(twin.at, `${own} is what filter: is called already; give this one another name`);
  if (config.fleet !== null)
    for (const entry of [filterEntry, subscriberEntry])
      if (entry !== undefined)
        file?.fault(
          entry.at,
          `${entry.key}: a member of a group has those of the group; see: fantail fleet --help`,
        );
  return { file: file?.path ?? null, config, settings, filters, subscribers };
}

const nameOf = ({ name }: { readonly name: string }) => name;

/** By key; one that is none, or stands there twice, is told. */
function entriesOf(file: ConfigFile, made: Command, keys: readonly Key[]): Map<string, Entry> {
  const names = new Set([...keys.map(nameOf), ...SECTIONS]);
  const found = new Map<string, Entry>();
  for (const entry of file.entries) {
    const { key, at, value } = entry;
    if (!names.has(key)) file.fault(at, `there is no key ${key}${meant(key, made, [...names])}`);
    else if (value === null || (isScalar(value) && value.value === null))
      file.fault(at, `${key} has no value; give it one, or take the line out`);
    else found.set(key, entry);
  }
  return found;
}

/** What commander takes a misspelt word for. */
function meant(key: string, made: Command, names: readonly string[]): string {
  const all = `; see: fantail ${made.name()} --help, whose flags are the keys`;
  if (!/^[a-z][a-z-]*$/.test(key)) return all;
  const twin = command(made.name(), '');
  for (const name of names) twin.option(`--${name}`);
  try {
    twin.parse([`--${key}`], { from: 'user' });
  } catch (thrown) {
    const [, like] = /\(Did you mean --([a-z-]+)/.exec(messageOf(thrown)) ?? [];
    if (like !== undefined) return `; did you mean ${like}?`;
  }
  return all;
}

function settingOf(
  key: Key,
  given: Given,
  file: ConfigFile | null,
  entry: Entry | undefined,
): Setting {
  const words = given.get(key.name);
  if (words !== undefined) {
    const from = 'command line' as const;
    return settingFrom(
      key,
      words.map((text) => ({ text, from })),
    );
  }
  if (file !== null && entry !== undefined)
    try {
      return settingFrom(key, wordsIn(file, key, entry), file);
    } catch (thrown) {
      if (!(thrown instanceof UsageError)) throw thrown;
    }
  return {
    key: key.name,
    value: key.fallback,
    words: key.fallback === undefined ? [] : [{ text: String(key.fallback), from: 'default' }],
  };
}

/** A wrong word of the file is told there, and thrown. */
function settingFrom(key: Key, words: Words, file: ConfigFile | null = null): Setting {
  if (key.kind === 'switch') return { key: key.name, value: words[0]?.text === 'true', words };
  let value: unknown;
  for (const { text, from } of words)
    try {
      value = key.parse(text, value);
    } catch (thrown) {
      if (typeof from !== 'string') file?.fault(from, inFile(messageOf(thrown), key));
      throw thrown;
    }
  return { key: key.name, value, words };
}

/** `--mode must be …` → `mode must be …`. */
const inFile = (sentence: string, { called, name }: Key) => sentence.replace(called, name);

/** The words of a file that a flag would have. Throws UsageError once the fault is told. */
function wordsIn(file: ConfigFile, key: Key, { value, at }: Entry): Words {
  const refuse = (node: Node | null, message: string) => {
    file.fault(node ?? at, `${key.name} ${message}`);
    return new UsageError(message);
  };
  const wordOf = (node: Node | null): Words[number] => {
    if (!isScalar(node) || node.value === null) throw refuse(node, 'is one value, such as a word');
    if (key.kind === 'switch' && typeof node.value !== 'boolean')
      throw refuse(node, `is true or false, not '${node.source ?? node.value}'`);
    const written = String(node.source ?? node.value);
    const text = key.isFile ? resolve(dirname(file.path), written) : written;
    return { text: key.kind === 'switch' ? String(node.value) : text, from: file.at(node) };
  };
  if (!isSeq(value)) return [wordOf(value)];
  if (key.kind !== 'list' && key.kind !== 'repeated')
    throw refuse(value, 'is one value, not a list');
  const words = value.items.map((each) => wordOf(file.resolved(each as Node))); // a list's are nodes
  if (words.length === 0) throw refuse(value, 'is an empty list; take the line out');
  if (key.kind === 'repeated') return words;
  return [{ text: words.map(({ text }) => text).join(','), from: file.at(value) }];
}

/**
 * What the settings mean together; null: a fault of that is told where the file has what it names.
 */
function configFrom(
  keys: readonly Key[],
  settings: readonly Setting[],
  { flagsOf, given }: Asked,
  file: ConfigFile | null,
): Configuration['config'] | null {
  const setTo = (name: string) => settings.find(({ key }) => key === name)?.value;
  const set = keys.flatMap(({ attribute, name }) => {
    const value = setTo(name);
    return attribute === null || value === undefined ? [] : [[attribute, value] as const];
  });
  // each was parsed by the declaration that these types describe
  const flags = Object.fromEntries(set) as unknown as UpFlags;
  const listen = {
    interfaceName: setTo('interface') as string,
    listenIp: setTo('listen-ip') as string,
    listenPort: setTo('listen-port') as number,
  };
  try {
    return configOf(listen, flagsOf(listen.listenIp, flags));
  } catch (thrown) {
    const isTold = thrown instanceof UsageError || thrown instanceof Failure;
    if (!isTold || file === null) throw thrown;
    const place = placeOfFlag(settings, thrown.message);
    if (place === null && given.size > 0) throw thrown; // of the command line
    if (thrown instanceof Failure) file.failure(place, thrown.message);
    else file.fault(place, thrown.message);
    return null;
  }
}

/** Where a file has one of the flags, or the files, that a sentence names; null: it has none. */
function placeOfFlag(settings: readonly Setting[], sentence: string): Place | null {
  const named = settings.flatMap(({ key, words }) => {
    const { from, text = '' } = words[0] ?? {};
    const isFlag = new RegExp(`--${key}(?![a-z-])`).test(sentence);
    const isFile = text.startsWith('/') && sentence.includes(text);
    return isFlag || isFile ? [{ from, length: isFlag ? Number.MAX_VALUE : text.length }] : [];
  });
  // one path may begin another
  const [most] = named.sort((a, b) => b.length - a.length);
  for (const { from, length } of named)
    if (length === most?.length && typeof from === 'object') return from;
  return null;
}
