/**
 * What lies between the two cards of a guest: a bridge in a namespace of its own, over tap devices,
 * so that the card under test can have several queues. That takes root and /dev/net/tun; else it is
 * a hub of QEMU's own, where a card has one.
 */
import { existsSync } from 'node:fs';
import { messageOf } from '../../src/domain/errors.js';
import { atEnd, run } from '../rig/program.js';

const TAPS = ['tap0', 'tap1'] as const;

export interface Between {
  /** How many it has. */
  readonly queues: number;
  /** What QEMU is started with, before its own name. */
  readonly prefix: readonly string[];
  /** Words of QEMU that make the ends h0, of the card under test, and h1. */
  readonly words: readonly string[];
  close(): void;
}

/** `queues`: how many the card under test should have from here. */
export function between(queues: number): Between {
  if (process.getuid?.() !== 0 || !existsSync('/dev/net/tun')) return hub();
  try {
    return bridge(queues);
  } catch (error) {
    console.log(`no bridge can be made here, so a card has one queue: ${messageOf(error)}`);
    return hub();
  }
}

function hub(): Between {
  const words = ['h0', 'h1'].flatMap((id) => ['-netdev', `hubport,id=${id},hubid=0`]);
  return { queues: 1, prefix: [], words, close: () => undefined };
}

function bridge(queues: number): Between {
  const namespace = `ft${process.pid}vm`;
  const close = atEnd(() => run('ip', ['netns', 'del', namespace]));
  run('ip', ['netns', 'add', namespace]);
  const inside = ['ip', 'netns', 'exec', namespace];
  run('ip', [...inside.slice(1), 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1']);
  const commands = [
    // a bridge that would learn of groups asks the guest about them
    'link add bridge0 type bridge mcast_snooping 0',
    `tuntap add dev tap0 mode tap${queues > 1 ? ' multi_queue' : ''}`,
    'tuntap add dev tap1 mode tap',
    // frames of the MTU 3498
    ...TAPS.map((tap) => `link set ${tap} mtu 9000 master bridge0 up`),
    'link set bridge0 up',
  ];
  run('ip', ['-n', namespace, '-batch', '-'], `${commands.join('\n')}\n`);
  const words = TAPS.flatMap((tap, index) => [
    '-netdev',
    `tap,id=h${index},ifname=${tap},script=no,downscript=no${index === 0 && queues > 1 ? `,queues=${queues}` : ''}`,
  ]);
  return { queues, prefix: inside, words, close };
}
