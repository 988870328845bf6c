/** Copies that a member has sent while the owner before it may have sent the same. */
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
      readonly member: string;
    },
  ) {}

  /** This member is the owner from now on. */
  begin(shard: number): void {
    this.takenOver.add(shard);
  }

  /** Once a pass: those of the shards whose handover is over. */
  async count(): Promise<void> {
    const { mirror, service, member } = this.options;
    for (const shard of this.takenOver) {
      const held = mirror.shards.get(shard);
      if (held?.owner === member && held.from !== undefined) continue;
      this.takenOver.delete(shard);
      if (held?.owner === member) this.copies += await service.copiesOf(shard);
    }
  }
}
