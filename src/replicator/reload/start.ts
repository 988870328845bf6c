/** What a configuration puts in place at the start, and what it leaves where a data plane runs. */
import { placeText } from '../../domain/configuration.js';
import { Failure, FantailError, messageOf, UsageError } from '../../domain/errors.js';
import { filterFile } from '../../domain/installation.js';
import { checkFilter } from '../../filters/check/process.js';
import { readModule } from '../../filters/first.js';
import { log } from '../../terminal/log.js';
import type { Destinations } from '../destinations.js';
import type { FeedDesk } from '../feed-desk.js';
import type { OpenedPlane } from '../planes.js';
import { type Configuration, withPlaced } from './configured.js';
import { feedChangesOf } from './feed-changes.js';
import { Roster, type RosterParts } from './roster.js';
import { subscriberText } from './rows.js';

/** Throws UsageError with the place of what the file may not have, before anything is opened. */
export async function checkFirst(
  { filters, subscribers }: Configuration,
  destinations: Destinations,
): Promise<void> {
  const told = async (at: Parameters<typeof placeText>[0], work: () => unknown) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      throw new UsageError(`${placeText(at)}: ${error.message}`);
    }
  };
  for (const each of subscribers) await told(each.at, () => destinations.check(each));
  for (const { name, file, at } of filters)
    await told(at, () => checkFilter(readModule(file ?? filterFile(`${name}.wasm`))));
}

/** One that adopts and cannot do what the file says goes on all the same: what runs is more. */
async function tolerant(isAdopted: boolean, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (isAdopted) log.warn(`left as it runs: ${messageOf(error)}`);
    else throw error instanceof FantailError ? new Failure(error.message) : error;
  }
}

/** Those of the configuration, unless what runs is believed. */
export async function openFeeds(
  { adopted }: OpenedPlane,
  desk: FeedDesk,
  { feeds }: Configuration['config'],
): Promise<void> {
  if (adopted !== null && adopted.placed !== null) return;
  await tolerant(adopted !== null, () => desk.open(feeds));
}

/**
 * Filters and subscribers of the configuration are there then. `held`: what of it holds; of an
 * adopted data plane that is what its supervisor had put in place.
 */
export async function openRoster(
  { adopted }: OpenedPlane,
  configuration: Configuration,
  parts: RosterParts,
): Promise<{ roster: Roster; held: Configuration }> {
  const roster = new Roster(parts);
  if (adopted === null || adopted.placed === null) {
    await tolerant(adopted !== null, () => roster.open(configuration));
    return { roster, held: configuration };
  }
  roster.adopt(adopted.placed.hashes);
  const held = withPlaced(configuration, adopted.placed);
  const others = differences(held, configuration);
  if (others.length > 0)
    log.warn(
      `adopted as it runs, which is otherwise than it is configured now: ${others.join(', ')}; ` +
        (configuration.file === null
          ? 'see: feed add, feed remove, filter use'
          : 'fantail reload applies it'),
    );
  return { roster, held };
}

function differences(held: Configuration, asked: Configuration): string[] {
  const isSame = (textsOf: (from: Configuration) => readonly string[]) =>
    textsOf(held).toSorted().join('\n') === textsOf(asked).toSorted().join('\n');
  const { feeds } = held.config;
  return [
    ...(feedChangesOf(feeds, asked.config.feeds).length === 0 ? [] : ['feed']),
    ...(held.config.filter === asked.config.filter ? [] : ['filter']),
    ...(isSame(({ filters }) => filters.map(({ name }) => name)) ? [] : ['filters']),
    ...(isSame(({ subscribers }) => subscribers.map(subscriberText)) ? [] : ['subscribers']),
  ];
}
