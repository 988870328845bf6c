/**
 * Shards that another member has taken over: when this one may end them. What came before the other
 * began may still wait here, in the ring of a worker that had no core, and nobody else sends it. So
 * every worker has taken a turn since, then there is time for what waited then, and a turn again;
 * what the other has sent meanwhile comes twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../domain/errors.js';
import type { FleetTarget } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';

/** What waits in a receive ring, which is 8192 frames at most, and in the kernel before it. */
const HOLD_MS = 200;

export class Releases {
  /** Those that may be ended. */
  readonly done = new Set<number>();
  private readonly waiting = new Set<number>();

  constructor(
    private readonly target: Pick<FleetTarget, 'turned'>,
    /** Some more may be. */
    private readonly onDone: () => void,
  ) {}

  /** Those that others have by now, and that are served here still. */
  follow(shards: readonly number[]): void {
    const now = new Set(shards);
    for (const each of [this.done, this.waiting])
      for (const shard of each) if (!now.has(shard)) each.delete(shard);
    const fresh = shards.filter((shard) => !this.done.has(shard) && !this.waiting.has(shard));
    if (fresh.length === 0) return;
    for (const shard of fresh) this.waiting.add(shard);
    this.hold(fresh).catch((error) => {
      // workers that are late, or it is ending: the next pass begins again
      for (const shard of fresh) this.waiting.delete(shard);
      log.debug(`fleet: ${messageOf(error)}`);
    });
  }

  private async hold(shards: readonly number[]): Promise<void> {
    await this.target.turned();
    await sleep(HOLD_MS);
    await this.target.turned();
    for (const shard of shards) if (this.waiting.delete(shard)) this.done.add(shard);
    this.onDone();
  }
}
