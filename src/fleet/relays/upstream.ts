/**
 * What a relay can expect of the member that it takes its feed from, as far as is told: a relay
 * without a feed looks like one whose feed is silent, so it says so.
 */
import type { UpstreamState } from '../../domain/fleet.js';
import { log } from '../../terminal/log.js';
import type { Mirror } from '../registry/mirror.js';
import { upstreamStateOf } from '../registry/status.js';

const SENTENCES: Readonly<Record<Exclude<UpstreamState, 'feeds'>, (name: string) => string>> = {
  absent: (name) =>
    `${name} is not there: this member has no feed until it is; start ${name}, or this one with another --upstream`,
  draining: (name) =>
    `${name} is about to end: this member has no feed until it is back; if it is to stay away, start this one with another --upstream`,
  refuses: (name) =>
    `${name} does not send the feed here, and says why in fleet status; this member has none until that is mended`,
};

export class Upstream {
  private told: UpstreamState | null = null;

  constructor(
    private readonly options: {
      readonly mirror: Pick<Mirror, 'members' | 'reports'>;
      /** Null: the feed comes from the network. */
      readonly name: string | null;
      /** This one. */
      readonly member: string;
    },
  ) {}

  get state(): UpstreamState | null {
    const { mirror, name, member } = this.options;
    return upstreamStateOf(mirror, { name: member, upstream: name });
  }

  /** Once a pass: tells it in the log each time that it is another. */
  look(): void {
    const { state, told } = this;
    const { name } = this.options;
    if (name === null || state === null || state === told) return;
    this.told = state;
    if (state !== 'feeds') log.warn(`fleet: ${SENTENCES[state](name)}`);
    else if (told !== null) log.info(`fleet: ${name} feeds this member again`);
  }
}
