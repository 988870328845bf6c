/** A configuration in rows of words. */
import { originText, type SettingRow } from '../../domain/configuration.js';
import { endpointText } from '../../domain/endpoint.js';
import { paramText } from '../../domain/filter.js';
import type { Configuration, ConfiguredSubscriber } from './configured.js';

/** `waiting`: by key, what the file says of settings that wait for a restart. */
export function rowsOf(
  { settings, filters, subscribers }: Configuration,
  waiting: ReadonlyMap<string, string | null> = new Map(),
): SettingRow[] {
  const rows = settings.flatMap(({ key, words }): SettingRow[] => {
    const waits = waiting.has(key) ? { waiting: waiting.get(key) ?? null } : {};
    if (words.length === 0) return [{ key, value: null, from: 'default', ...waits }];
    return words.map(({ text, from }) => {
      return { key, value: text, from: originText(from), ...waits };
    });
  });
  return [
    ...rows,
    ...filters.map(({ name, file, at }) => {
      const value = file === null ? name : `${name} ${file}`;
      return { key: 'filters', value, from: originText(at) };
    }),
    ...subscribers.map((each) => {
      return { key: 'subscribers', value: subscriberText(each), from: originText(each.at) };
    }),
  ];
}

export const subscriberText = ({ ip, port, feeds, filter, param }: ConfiguredSubscriber) =>
  [
    endpointText({ ip, port }),
    ...(feeds === null ? [] : [`feeds=${feeds.join(',')}`]),
    ...(filter === null ? [] : [`filter=${filter}`]),
    ...(param.length === 0 ? [] : [`param=${paramText(param)}`]),
  ].join(' ');
