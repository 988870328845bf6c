/**
 * What is done when the interface changes under a running replicator: `plan` decides, event by
 * event, and changes nothing; `take` observes, asks it, and carries out.
 */
import { counted } from '../domain/counts.js';
import { Failure, messageOf, never } from '../domain/errors.js';
import type { Interface } from '../memory/addon.js';
import type { InterfaceEvent } from '../routes/interface-watch.js';
import { log } from '../terminal/log.js';
import type { Config } from './config.js';
import { describe, sourceIpOf } from './interface.js';

export interface InterfaceState {
  /** `interfaceName`: as it is called now. */
  readonly config: Pick<Config, 'interfaceName' | 'listenIp' | 'listenPort' | 'control' | 'netns'>;
  /** For addresses and `mac`: as the kernel has it now; null if it is not there any more. */
  readonly link: Interface | null;
}

export type Action =
  | { readonly kind: 'warn'; readonly sentence: string }
  /** The host's addresses decide anew who may subscribe. */
  | { readonly kind: 'judge'; readonly link: Interface }
  /** Frames leave from its address and MAC. */
  | { readonly kind: 'move'; readonly link: Interface }
  /** Every subscriber's record goes to the workers again. */
  | { readonly kind: 'publish' }
  /** The replicator cannot go on. */
  | { readonly kind: 'end'; readonly reason: string };

/** Pure. */
export function plan(event: InterfaceEvent, { config, link }: InterfaceState): Action[] {
  const name = config.interfaceName;
  const warn = (sentence: string): Action => ({ kind: 'warn', sentence });
  switch (event.kind) {
    case 'state':
      return [warn(`${name} is ${event.up ? 'up again' : 'down; nothing is sent until it is up'}`)];
    case 'name':
      return [warn(`${event.before} is named ${event.name} now, and is followed`)];
    case 'mtu':
      return [warn(`the MTU of ${name} is ${event.mtu} now; start fantail again to use it`)];
    case 'mac':
    case 'address': {
      if (link === null) return []; // its addresses go first: `gone` is the next event
      const ip = sourceIpOf(config, link);
      return [
        { kind: 'judge', link },
        { kind: 'move', link },
        warn(`${name} has changed its ${event.kind}; copies leave from ${ip} now`),
        { kind: 'publish' },
        ...(event.kind === 'address' ? controlOf(event.ip, link, config).map(warn) : []),
      ];
    }
    case 'other_address':
      if (link === null) return [];
      return [{ kind: 'judge', link }, ...controlOf(event.ip, link, config).map(warn)];
    case 'queues':
      return [
        warn(
          `${name} has ${counted(event.rx, 'RX queue')} now, not ${event.before}; which are served ` +
            'is decided at the start: start fantail again',
        ),
      ];
    case 'gone':
      return [{ kind: 'end', reason: `the interface ${name} is gone` }];
    default:
      return never(event);
  }
}

/**
 * What an address that comes or goes means for the control port, which is in the namespace that
 * fantail was started in.
 */
function controlOf(
  ip: string,
  { addresses, others }: Interface,
  { control, netns }: Pick<Config, 'control' | 'netns'>,
): string[] {
  if (netns !== null || ip !== control.address) return [];
  const present = [...addresses, ...others].some((each) => each.ip === ip);
  const now = present ? 'is back' : 'is gone from this host; nobody reaches it until it is back';
  return [`the control address ${ip} ${now}`];
}

/** What decides: for its own addresses their order in the kernel does, which no event tells. */
function linkFor(event: InterfaceEvent, config: Config, known: Interface): Interface | null {
  if (event.kind !== 'mac' && event.kind !== 'address') return known;
  try {
    return describe(config);
  } catch (error) {
    log.warn(`${messageOf(error)}; what is known of ${known.name} decides`);
    return known;
  }
}

/** What the actions work on. */
export interface ActionTargets {
  readonly judge: (link: Interface) => void;
  readonly move: (link: Interface) => void;
  readonly publish: () => void;
  readonly end: (failure: Failure) => void;
}

/** `config`: its `interfaceName` is the interface's present one; `known`: what the watch knows. */
export function take(
  event: InterfaceEvent,
  { config, known }: { readonly config: Config; readonly known: Interface },
  targets: ActionTargets,
): void {
  const { judge, move, publish, end } = targets;
  const link = linkFor(event, config, known);
  for (const action of plan(event, { config, link })) {
    switch (action.kind) {
      case 'warn':
        log.warn(action.sentence);
        break;
      case 'judge':
        judge(action.link);
        break;
      case 'move':
        move(action.link);
        break;
      case 'publish':
        publish();
        break;
      case 'end':
        end(new Failure(action.reason));
        break;
      default:
        never(action);
    }
  }
}
