/** What a reload changes of an open replicator, part by part. */
import type { Control } from '../../control/server.js';
import { endpointText } from '../../domain/endpoint.js';
import { FantailError } from '../../domain/errors.js';
import type { Legacy } from '../../legacy/server.js';
import type { Interface } from '../../memory/addon.js';
import type { Publisher } from '../../subscribers/publisher.js';
import type { SubscriberTable } from '../../subscribers/table.js';
import type { Level } from '../../terminal/levels.js';
import { log, tellFrom } from '../../terminal/log.js';
import type { Config } from '../config.js';
import type { Destinations } from '../destinations.js';
import type { FeedDesk } from '../feed-desk.js';
import { destinationsOf, sourceOf } from '../interface.js';
import type { Opening } from '../planes.js';
import type { LiveReplicator } from '../replicator.js';
import type { Configuration, InForce, Reread } from './configured.js';
import { Reloader } from './reloader.js';
import { orLater, type Roster } from './roster.js';

export interface Reloaded {
  readonly table: SubscriberTable;
  readonly publisher: Publisher;
  readonly feedDesk: FeedDesk;
  readonly replicator: LiveReplicator;
  readonly roster: Roster;
  readonly control: Control;
  readonly inForce: InForce;
  readonly reread: Reread | null;
  readonly keep: (configuration: Configuration) => void;
  readonly linkNow: () => Interface | null;
  readonly onReload: (isUnderWay: boolean) => void;
}

/** Opens legacy control, which may be another's after a reload. */
export async function openReloaderWith(
  { closers }: Pick<Opening, 'closers'>,
  configuration: Configuration,
  parts: Reloaded,
  openLegacy: (config: Config) => Promise<Legacy | null>,
): Promise<Reloader> {
  const { roster, feedDesk, replicator, control, table, publisher, linkNow } = parts;
  let legacy = await openLegacy(configuration.config);
  closers.add(() => legacy?.close());
  return new Reloader(
    {
      ...parts,
      roster,
      feedDesk,
      destinationsOf: (config) => destinationsOf(config, linkNow()),
      remove: ({ ip, port }) => replicator.remove(ip, port),
      appliers: {
        log: ({ settings }) => tellFrom(levelIn(settings)),
        tokens: (_, { tokens }) => control.renewTokens(tokens),
        tls: (_, { tls }) => {
          if (tls !== null) control.renewTls(tls);
        },
        metrics: () => {},
        allow: (_, config) => {
          replicator.destinations = destinationsOf(config, linkNow());
          tellOutside(replicator, replicator.destinations);
        },
        ttl: (_, config) => {
          table.moveTo(sourceOf(config, linkNow()));
          return orLater(publisher.applied());
        },
        legacy: async (_, config) => {
          const next = await openLegacy(config);
          await legacy?.close();
          legacy = next;
        },
      },
    },
    configuration,
  );
}

/** Parsed by the declaration of --log-level. */
const levelIn = (settings: Configuration['settings']) =>
  settings.find(({ key }) => key === 'log-level')?.value as Level;

/** Who is subscribed already stays: nothing that somebody relies on ends by a line about others. */
function tellOutside(replicator: LiveReplicator, destinations: Destinations): void {
  const outside = replicator.list().filter((each) => {
    try {
      destinations.check(each);
      return false;
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      return true;
    }
  });
  if (outside.length === 0) return;
  const some = outside.slice(0, 3).map(endpointText).join(', ');
  log.warn(
    `reload: allow: ${outside.length} that are subscribed are outside it now, and stay until they are removed: ${some}${outside.length > 3 ? ', …' : ''}`,
  );
}
