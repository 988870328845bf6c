/** What a reload changes of the feeds: each is a change of its own, and may fail by itself. */
import { messageOf } from '../../domain/errors.js';
import type { NamedFeed } from '../../domain/feed.js';
import { feedText } from '../../feeds/feeds.js';
import type { FeedDesk } from '../feed-desk.js';
import { orLater } from './roster.js';

/** One of them is null where the feed comes or goes, and neither where it moves. */
export interface FeedChange {
  readonly name: string;
  readonly before: NamedFeed | null;
  readonly after: NamedFeed | null;
}

export interface FeedOutcome {
  readonly change: FeedChange;
  /** What holds now. */
  readonly held: NamedFeed | null;
  /** Why it was not changed; null: it was. */
  readonly reason: string | null;
}

export const namedText = (feed: NamedFeed) => `${feed.name}=${feedText(feed)}`;

export function feedChangesOf(
  before: readonly NamedFeed[],
  after: readonly NamedFeed[],
): FeedChange[] {
  const of = (feeds: readonly NamedFeed[], name: string) =>
    feeds.find((feed) => feed.name === name) ?? null;
  const names = new Set([...before, ...after].map(({ name }) => name));
  return [...names].flatMap((name) => {
    const [was, is] = [of(before, name), of(after, name)];
    const isSame = was !== null && is !== null && namedText(was) === namedText(is);
    return isSame ? [] : [{ name, before: was, after: is }];
  });
}

/**
 * Those that go, go first: others may come to their addresses. One that could not come to its new
 * address is put back where it was.
 */
export async function changeFeeds(
  changes: readonly FeedChange[],
  desk: Pick<FeedDesk, 'add' | 'remove'>,
): Promise<FeedOutcome[]> {
  const failed = new Map<FeedChange, string>();
  const attempt = async (change: FeedChange, work: Promise<unknown>) => {
    await orLater(work).catch((error) => failed.set(change, messageOf(error)));
  };
  for (const change of changes)
    if (change.before !== null) await attempt(change, desk.remove(change.name));
  for (const change of changes)
    if (change.after !== null && !failed.has(change)) await attempt(change, desk.add(change.after));
  const outcomes: FeedOutcome[] = [];
  for (const change of changes) {
    const { name, before, after } = change;
    const reason = failed.get(change) ?? null;
    if (reason === null) outcomes.push({ change, held: after, reason });
    else if (before === null) outcomes.push({ change, held: null, reason });
    else
      await orLater(desk.add(before)).then(
        () => outcomes.push({ change, held: before, reason }),
        (error) => {
          const lost = `${reason}; and ${name} is not received any more: ${messageOf(error)}`;
          outcomes.push({ change, held: null, reason: lost });
        },
      );
  }
  return outcomes;
}
