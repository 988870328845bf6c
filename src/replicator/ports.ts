/** Where others reach a replicator: the control channel, and legacy control. */
import { isFantail } from '../control/client.js';
import { type Control, schemeOf, startControl } from '../control/server.js';
import type { Change } from '../domain/change.js';
import { Failure, messageOf } from '../domain/errors.js';
import type { Closers } from '../domain/process/closers.js';
import type { Replicator } from '../domain/replicator.js';
import { type Legacy, startLegacy } from '../legacy/server.js';
import { addon } from '../memory/addon.js';
import type { DataPlane } from '../processes/data-plane.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import type { OpenedFleet } from './member/open.js';
import { Monitoring } from './monitoring.js';
import type { OpenedPlane, Opening } from './planes.js';
import type { Configuration, InForce } from './reload/configured.js';
import { openReloaderWith, type Reloaded } from './reload/open.js';
import type { Reloader } from './reload/reloader.js';
import type { LiveReplicator } from './replicator.js';

const CONTROL_PORTS_TRIED_MAX = 100;

export async function openControl(
  { config, closers }: Opening,
  inForce: InForce,
  plane: DataPlane,
  asked: { readonly replicator: LiveReplicator; readonly fleet: OpenedFleet | null },
): Promise<Control> {
  const { fleet } = asked;
  const standing = () => {
    return { ...plane.standing, member: fleet?.member.membership ?? null };
  };
  const monitoring = new Monitoring(inForce, asked.replicator, standing);
  const replicator = fleet?.replicator ?? asked.replicator;
  const { address, port: first, explicit } = config.control;
  const { tokens, tls } = config;
  const onError = (error: unknown) => log.error(error, 'control channel');
  const onChange = ({ op, who, what, answer, about }: Change) =>
    log.info({ op, who, code: answer, ...about }, `control: ${who} asked: ${what}: ${answer}`);
  if (tls === null && !address.startsWith('127.'))
    log.warn('the control channel is not encrypted, tokens neither; see --tls-cert');
  for (let port = first; ; port++) {
    try {
      const control = await startControl({
        address,
        port,
        tokens,
        tls,
        replicator,
        onChange,
        onError,
        ...monitoring.options(),
      });
      closers.keep(control);
      if (port !== first)
        log.warn(`control port ${first} is taken; this launcher answers on ${address}:${port}`);
      return control;
    } catch (error) {
      const taken = error instanceof Failure && error.systemCode === 'EADDRINUSE';
      if (!taken || explicit || port - first === CONTROL_PORTS_TRIED_MAX) throw error;
      if (!(await isFantail(address, port))) throw error; // a stranger's: the user should know
    }
  }
}

/**
 * It is a member, with all that is its own at once, once that is done. First to end: it hands over
 * while everything runs.
 */
export async function joinFleet(
  fleet: OpenedFleet | null,
  { control: { address }, tls }: Config,
  { port }: Control,
  closers: Closers,
): Promise<void> {
  if (fleet === null) return;
  const member = closers.keep(fleet.member);
  await member.start(`${tls === null ? 'http' : 'https'}://${address}:${port}`);
}

/**
 * Legacy clients name a replicator by its address only: if that is the interface's, they are
 * where its packets come from, in the data plane's namespace; any other address is one of the
 * caller's, like --control.
 */
async function openLegacy(
  { link }: Pick<Opening, 'link'>,
  { legacyControl: at, netns }: Pick<Config, 'legacyControl' | 'netns'>,
  replicator: Replicator,
): Promise<Legacy | null> {
  if (at === null) return null;
  const isOwn = link?.addresses.some(({ ip }) => ip === at.address) === true;
  let fd: number;
  try {
    fd = addon.openUdp(isOwn ? netns : null, { ip: at.address, port: at.port });
  } catch (error) {
    throw new Failure(`legacy control: ${messageOf(error)}`);
  }
  addon.allowFragments(fd); // a list of 255 is longer than an Ethernet packet
  const legacy = await startLegacy({ fd, port: at.port, replicator, log });
  log.warn(
    `legacy control on UDP ${at.address}:${at.port} asks nobody who they are: ` +
      'whoever reaches it can subscribe and remove what --allow permits',
  );
  return legacy;
}

/** What it is told later, it applies. */
export const openReloader = (
  opening: Opening,
  configuration: Configuration,
  parts: Reloaded,
): Promise<Reloader> =>
  openReloaderWith(opening, configuration, parts, (config) =>
    openLegacy(opening, config, parts.replicator),
  );

/** What `fantail up` prints when it is ready. */
export function readyLine(
  { plane, deployment, adopted }: OpenedPlane,
  { interfaceName, listenIp, listenPort, legacyControl, tls, fleet, control: { address } }: Config,
  { port }: Control,
): string {
  const { queues, workers, layout } = deployment;
  return (
    `ready ${interfaceName} ${listenIp}:${listenPort} mode=${plane.opened.mode} layout=${layout} ` +
    `queues=${queues.join(',')} workers=${workers} control=${schemeOf(tls)}://${address}:${port}` +
    (legacyControl === null ? '' : ` legacy=${legacyControl.address}:${legacyControl.port}`) +
    (fleet === null ? '' : ` fleet=${fleet.group} member=${fleet.member}`) +
    (adopted === null ? '' : ` adopted=${adopted.pid}`)
  );
}
