/** What a monitoring system sees of a replicator: its metrics, and whether it is well. */
import type { ControlOptions, Health } from '../control/server.js';
import { version } from '../domain/installation.js';
import { metricsHandler } from '../metrics/endpoints.js';
import { Others } from '../metrics/others.js';
import { log } from '../terminal/log.js';
import type { InForce } from './reload/configured.js';
import type { LiveReplicator } from './replicator.js';

export class Monitoring {
  /** Answers of the control channel by `op code`: as many as there are of both. */
  private readonly answered = new Map<string, number>();
  private readonly others = new Others();

  constructor(
    private readonly inForce: InForce,
    private readonly replicator: LiveReplicator,
    private readonly standing: () => Health,
  ) {}

  /** What the control port is opened with. */
  options(): Pick<ControlOptions, 'onHttp' | 'onAnswer' | 'health'> {
    return {
      onHttp: metricsHandler({
        snapshot: () => this.snapshot(),
        onError: (error) => log.error(error, 'metrics'),
      }),
      onAnswer: (op, code) => this.count(op, code),
      health: this.standing,
    };
  }

  private count(op: string, code: string): void {
    const key = `${op} ${code}`;
    this.answered.set(key, (this.answered.get(key) ?? 0) + 1);
  }

  private async snapshot() {
    const { replicator } = this;
    const { metricsSubscribers } = this.inForce.config;
    const stats = await replicator.stats();
    return {
      version,
      stats,
      states: replicator.states(),
      histograms: replicator.histograms(),
      filters: replicator.filterList().flatMap(({ name, status }) => {
        return status === 'ready' ? [replicator.filterInfo(name)] : [];
      }),
      requests: [...this.answered].map(([key, count]) => {
        const [op = '', code = ''] = key.split(' ');
        return { op, code, count };
      }),
      accounts: stats.subscribers.slice(0, metricsSubscribers),
      others: this.others.account(stats.subscribers.slice(metricsSubscribers)),
    };
  }
}
