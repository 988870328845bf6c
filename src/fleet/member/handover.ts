/** Copies that a member has sent while the owner before it may have sent the same. */
import type { FleetTarget } from '../../domain/fleet.js';
import type { Mirror } from '../registry/mirror.js';
import type { Service } from './service.js';

export class Handover {
  /** Since this process began. */
  copies = 0;
  /** Shards whose owner before has not said yet that it has ended. */
  private readonly takenOver = new Set<number>();

  constructor(
    private readonly options: {
      readonly mirror: Pick<Mirror, 'shards'>;
      readonly service: Pick<Service, 'copiesOf'>;
      readonly target: Pick<FleetTarget, 'turned'>;
      readonly member: string;
    },
  ) {}

  /** This member is the owner from now on. */
  begin(shard: number): void {
    this.takenOver.add(shard);
  }

  /**
   * Once a pass: those of the shards whose handover is over. What came while the owner before still
   * sent may wait in the ring of a worker that had no core, so each takes a whole turn before: that
   * is a burst a queue, and more than waits unless one had no core for long. Of what throws nothing
   * is forgotten.
   */
  async count(): Promise<void> {
    const { mirror, service, target, member } = this.options;
    const ours = [...this.takenOver].map((shard) => {
      const held = mirror.shards.get(shard);
      return { shard, isOurs: held?.owner === member, isOver: held?.from === undefined };
    });
    const over = ours.filter(({ isOurs, isOver }) => isOver || !isOurs);
    if (over.length === 0) return;
    await target.turned(); // has begun
    await target.turned();
    for (const { shard, isOurs } of over) {
      if (isOurs) this.copies += await service.copiesOf(shard);
      this.takenOver.delete(shard);
    }
  }
}
