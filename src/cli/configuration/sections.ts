/**
 * What a configuration file says beside the flags of `up`: filters that are loaded, and subscribers
 * that are there from the start. A value is checked as the control channel checks it.
 */
import { dirname, resolve } from 'node:path';
import { isSeq, type Node } from 'yaml';
import * as z from 'zod';
import { feedNames, ip, name, param, port } from '../../control/parameters.js';
import { originText } from '../../domain/configuration.js';
import { endpointText } from '../../domain/endpoint.js';
import { messageOf } from '../../domain/errors.js';
import type { FeedChoice } from '../../domain/feed.js';
import { checkFilterName } from '../../filters/registry.js';
import { limits } from '../../memory/layout.js';
import type { ConfiguredFilter, ConfiguredSubscriber } from '../../replicator/reload/configured.js';
import type { ConfigFile, Entry } from './file.js';

/** Keys of a file that are no flags of `up`. */
export const SECTIONS = ['filters', 'subscribers'] as const;

const filter = z.strictObject({
  name: name.schema,
  file: z.string({ error: 'file is the path of a module' }).min(1).optional(),
});

const subscriber = z.strictObject({
  ip: ip.schema,
  port: port.schema,
  feeds: z
    .preprocess(
      (value) => (typeof value === 'string' ? feedNames.fromWord(value) : value),
      feedNames.schema,
    )
    .optional(),
  filter: name.schema.optional(),
  param: param.schema.optional(),
});

/** The items of a section that are right; those that are not are told as faults. */
function itemsOf<Item>(
  file: ConfigFile,
  { key, at, value }: Entry,
  rules: { readonly schema: z.ZodType<Item>; readonly max: number; readonly example: string },
): { readonly item: Item; readonly node: Node }[] {
  const { schema, max, example } = rules;
  if (!isSeq(value)) {
    file.fault(value ?? at, `${key} is a list, such as: ${example}`);
    return [];
  }
  if (value.items.length > max) file.fault(at, `${key} may be ${max}, not ${value.items.length}`);
  const found: { item: Item; node: Node }[] = [];
  for (const each of value.items.slice(0, max)) {
    const node = file.resolved(each as Node); // of a list these are nodes
    if (node === null) continue;
    const plain = file.plain(node);
    if (plain === null) continue;
    const { value } = plain;
    const result = schema.safeParse(value);
    if (result.success) found.push({ item: result.data, node });
    else for (const issue of result.error.issues) tell(file, node, value, { key, example, issue });
  }
  return found;
}

function tell(
  file: ConfigFile,
  node: Node,
  plain: unknown,
  { key, example, issue }: { key: string; example: string; issue: z.core.$ZodIssue },
): void {
  const isWhole = issue.path.length === 0;
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((each) => `'${each}'`).join(', ');
    const takes = key === 'filters' ? Object.keys(filter.shape) : Object.keys(subscriber.shape);
    file.fault(node, `there is no ${names} here; it takes ${takes.join(', ')}`);
  } else if (isWhole) file.fault(node, `of ${key} each is such as: ${example}`);
  else {
    const [first = ''] = issue.path;
    const isMissing = (plain as Record<PropertyKey, unknown>)[first] === undefined;
    const message = isMissing ? `${String(first)} is missing, as in: ${example}` : issue.message;
    file.fault(file.placeOfPath(node, issue.path), message);
  }
}

export function filtersOf(file: ConfigFile, entry: Entry): ConfiguredFilter[] {
  const rules = { schema: filter, max: limits.FILTERS_MAX, example: '- name: vlan' };
  const seen = new Set<string>();
  return itemsOf(file, entry, rules).flatMap(({ item, node }) => {
    const { name, file: path } = item;
    try {
      checkFilterName(name);
    } catch (thrown) {
      file.fault(node, messageOf(thrown));
      return [];
    }
    if (seen.has(name)) {
      file.fault(node, `there is a filter ${name} already`);
      return [];
    }
    seen.add(name);
    const at = file.at(node);
    return [{ name, file: path === undefined ? null : resolve(dirname(file.path), path), at }];
  });
}

/** Which names there are is looked at once all is read. */
export function subscribersOf(file: ConfigFile, entry: Entry): ConfiguredSubscriber[] {
  const example = '- { ip: 10.0.0.34, port: 9001 }';
  const rules = { schema: subscriber, max: limits.SUBSCRIBERS_MAX, example };
  const seen = new Map<string, string>();
  return itemsOf(file, entry, rules).flatMap(({ item, node }) => {
    const { ip, port, feeds = null, filter = null, param = new Uint8Array() } = item;
    const text = endpointText({ ip, port });
    const at = file.at(node);
    const before = seen.get(text);
    if (before !== undefined) file.fault(node, `${text} is there already, at ${before}`);
    if (filter === null && param.length > 0)
      file.fault(node, `${text} has a param and no filter; name the filter that it is for`);
    seen.set(text, originText(at));
    return [{ ip, port, feeds: feeds as FeedChoice | null, filter, param, at }];
  });
}

/** Names that subscribers have must be of feeds and filters that there are. */
export function checkNames(
  file: ConfigFile,
  subscribers: readonly ConfiguredSubscriber[],
  known: { readonly feeds: ReadonlySet<string>; readonly filters: ReadonlySet<string> },
): void {
  const list = (names: ReadonlySet<string>) => [...names].join(', ');
  for (const { feeds, filter, at } of subscribers) {
    const feed = feeds?.find((each) => each !== 'all' && !known.feeds.has(each));
    if (feed !== undefined)
      file.fault(at, `there is no feed ${feed}; there are ${list(known.feeds)} (see feed:)`);
    if (filter !== null && !known.filters.has(filter))
      file.fault(
        at,
        `there is no filter ${filter}; there are ${list(known.filters)} (see filters:)`,
      );
  }
}
