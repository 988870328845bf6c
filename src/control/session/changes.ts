/**
 * The last changes that were asked for on a control port, by whomever, and how each was answered:
 * in memory, so they begin anew with the supervisor. Its log has them for as long as logs are kept.
 *
 * What comes by itself and changes nothing must not push out what did: a lease that is renewed is
 * counted where it stands, and of refusals no more than a part is kept.
 */
import type { Change, ToldChange } from '../../domain/change.js';
import { CHANGES_MAX, REFUSALS_MAX } from '../constants.js';

const wasRefused = ({ answer }: Change): boolean => answer !== 'ok';
/** Of the peer; its port is another one with each connection. */
const hostOf = ({ who }: Change): string => who.slice(0, who.lastIndexOf(':'));

export class Changes {
  /** The oldest first. */
  #kept: ToldChange[] = [];

  /** `wasSo`: it was answered that what it adds was there already. */
  add(change: Change, wasSo = false): void {
    const now_ms = Date.now();
    const before = wasSo ? this.#sameBefore(change) : -1;
    const same = this.#kept[before];
    if (same !== undefined) {
      this.#kept[before] = { ...same, times: (same.times ?? 1) + 1, last_ms: now_ms };
      return;
    }
    this.#kept.push({ at_ms: now_ms, ...change });
    if (this.#kept.length <= CHANGES_MAX) return;
    const refused = this.#kept.filter(wasRefused);
    const oldest = refused.length > REFUSALS_MAX ? this.#kept.findIndex(wasRefused) : 0;
    this.#kept.splice(oldest, 1);
  }

  /** At most so many, the oldest first. */
  last(count: number): ToldChange[] {
    return this.#kept.slice(Math.max(0, this.#kept.length - count));
  }

  /**
   * Where the same host has asked for the same, and nothing since can have made it another thing;
   * -1: nowhere.
   */
  #sameBefore(change: Change): number {
    const { subscriber } = change.about;
    const found = this.#kept.findLastIndex((each) => {
      const { about } = each;
      const isOfOther = about.subscriber !== undefined && about.subscriber !== subscriber;
      return !wasRefused(each) && !isOfOther;
    });
    const last = this.#kept[found];
    const isSame = last?.what === change.what && hostOf(last) === hostOf(change);
    return isSame ? found : -1;
  }
}
