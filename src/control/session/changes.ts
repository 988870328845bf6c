/**
 * The last changes that were asked for on a control port, by whomever, and how each was answered:
 * in memory, so they begin anew with the supervisor. Its log has them for as long as logs are kept.
 */
import type { Change, ToldChange } from '../../domain/change.js';
import { CHANGES_MAX } from '../constants.js';

export class Changes {
  /** A ring once it is full. */
  readonly #kept: ToldChange[] = [];
  #count = 0;

  add(change: Change): void {
    this.#kept[this.#count % CHANGES_MAX] = { at_ms: Date.now(), ...change };
    this.#count += 1;
  }

  /** At most so many, the oldest first. */
  last(count: number): ToldChange[] {
    const oldest = this.#count % CHANGES_MAX;
    const inOrder =
      this.#count <= CHANGES_MAX
        ? this.#kept
        : [...this.#kept.slice(oldest), ...this.#kept.slice(0, oldest)];
    return inOrder.slice(Math.max(0, inOrder.length - count));
  }
}
