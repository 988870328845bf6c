/** What a packet passes on its way to this member, and how long that takes, as each tells. */
import { connect } from 'node:net';
import type { FleetHop, FleetTarget } from '../../domain/fleet.js';
import type { FleetConfig } from '../config.js';
import type { Mirror } from '../registry/mirror.js';
import { HOPS_MAX } from './chain.js';
import type { Relays } from './relays.js';

/** All members hear of what one tells: not another in each report. */
const TOLD_MS = 5000;
/** Between two connections, which come in the time of a pass. */
const AGAIN_MS = 2000;
/** No answer is no time. */
const ANSWER_MS_MAX = 1000;
const KEPT = 16;

/**
 * How long the way to a member's upstream is: half of the least of the last times in which a TCP
 * connection to its control port was made, which the kernels at both ends do alone. It is not the
 * time of a packet: not what either member does with it, nor what queues on the way hold it, and a
 * way that is shorter one way than the other is halved all the same.
 */
class Way {
  private readonly trips_us: number[] = [];
  private asked_ms = Number.NEGATIVE_INFINITY;
  private to = '';

  /** Null: not known yet, or any more. */
  get link_us(): number | null {
    return this.trips_us.length === 0 ? null : Math.round(Math.min(...this.trips_us) * 5) / 10;
  }

  /** `control`: of the upstream as it is registered; null: it is not there. */
  look(control: string | null): void {
    if (control !== this.to) this.trips_us.length = 0;
    this.to = control ?? '';
    const now_ms = performance.now();
    if (control === null || now_ms - this.asked_ms < AGAIN_MS) return;
    this.asked_ms = now_ms;
    const url = URL.canParse(control) ? new URL(control) : null;
    if (url === null || url.port === '') return;
    const began_ms = performance.now();
    const socket = connect({ host: url.hostname, port: Number(url.port), timeout: ANSWER_MS_MAX });
    socket.once('connect', () => {
      this.trips_us.push((performance.now() - began_ms) * 1000);
      if (this.trips_us.length > KEPT) this.trips_us.shift();
      socket.destroy();
    });
    socket.once('timeout', () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.unref();
  }
}

export class Hops {
  private readonly way = new Way();
  private told_ms = Number.NEGATIVE_INFINITY;
  /** What it tells of itself; null: no other member is on the way of its packets. */
  own: Omit<FleetHop, 'member'> | null = null;

  constructor(
    private readonly options: {
      readonly config: FleetConfig;
      readonly target: FleetTarget;
      readonly mirror: Mirror;
      readonly relays: Relays;
    },
  ) {}

  /** The top first, as those above have told by way of etcd, this member last. */
  get all(): FleetHop[] {
    const { config, mirror } = this.options;
    const above: FleetHop[] = [];
    for (let next = config.upstream; next !== null && above.length < HOPS_MAX; ) {
      const { inside = null, link_us = null } = mirror.reports.get(next) ?? {};
      above.unshift({ member: next, inside_ns: inside, link_us });
      next = mirror.members.get(next)?.upstream ?? null;
    }
    const { inside_ns = null, link_us = null } = this.own ?? {};
    return [...above, { member: config.member, inside_ns, link_us }];
  }

  /** Once a pass. */
  look(): void {
    const { config, target, mirror, relays } = this.options;
    if (config.upstream !== null)
      this.way.look(mirror.members.get(config.upstream)?.control ?? null);
    const now_ms = performance.now();
    if (now_ms - this.told_ms < TOLD_MS) return;
    this.told_ms = now_ms;
    const isOneOfSeveral = config.upstream !== null || relays.names.length > 0;
    this.own = isOneOfSeveral ? { inside_ns: target.inside(), link_us: this.way.link_us } : null;
  }
}
