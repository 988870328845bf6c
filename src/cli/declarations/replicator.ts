/**
 * `fantail up`, `packet_replicator`, `fantail clean` and `fantail demo`: what they take, and what
 * runs.
 */
import type { Command } from 'commander';
import type { DemoFlags } from '../../demo/demo.js';
import type { Mode } from '../../domain/statistics.js';
import { limits, membersOf } from '../../memory/layout.js';
import type { UpFlags } from '../../replicator/config.js';
import { FORMATS, LEVELS } from '../../terminal/levels.js';
import {
  address,
  integer,
  interfaceName,
  legacyAddress,
  listenAddress,
  namedFeeds,
  numberList,
  oneOf,
  port,
  queues,
  subnets,
} from '../arguments.js';
import type { LogFlags } from '../commands/up.js';
import { givenOf, keepWords } from '../configuration/given.js';
import { command, RepeatedOption } from '../program.js';

const MODES = ['auto', ...(membersOf('mode') as readonly Mode[])] as const; // the type of its members
/** CPU_SETSIZE of the C library, less one. */
const CPU_MAX = 1023;
const LAYOUTS = ['auto', 'inline', 'split'] as const;

export function up(): Command {
  return replicatorCommand(
    'up',
    'Run the replicator: take a feed off an interface, send it to every subscriber.',
    (_, flags) => flags,
  );
}

export function clean(): Command {
  return command('clean', 'End and remove what a crash has left: ours only, and says what.')
    .argument('[interface]', 'only what served this one (default: all)', interfaceName)
    .option('--json', 'print it as JSON')
    .action(async (name: string | undefined, flags: { json?: boolean }) => {
      const { clean } = await import('../commands/clean.js');
      await clean(name ?? null, flags);
    });
}

/** `fantail up`, `packet_replicator`; `flagsOf` adds what the latter takes for granted. */
export function replicatorCommand(
  name: string,
  description: string,
  flagsOf: (listenIp: string, flags: UpFlags) => UpFlags,
): Command {
  const made = command(name, description)
    .argument(
      '[interface]',
      'network interface, such as eth0; lo or - in socket mode',
      interfaceName,
    )
    .argument(
      '[listen_ip]',
      'destination address of the feed: of this host, or a multicast group to join',
      address('listen_ip'),
    )
    .argument('[listen_port]', 'destination port of the feed, 1 to 65535', port('listen_port'))
    .option(
      '--config <file>',
      'arguments and flags in YAML (docs/configuration.md); the command line goes before it',
    );
  const given = keepWords(addMore(addAccess(addDeployment(addFeeds(made)))));
  return made.action(async (_, __, ___, flags: LogFlags & { config?: string }) => {
    const { up } = await import('../commands/up.js');
    await up({ made, given: givenOf(made, given), flagsOf }, flags.config ?? null, flags);
  });
}

function addAccess(made: Command): Command {
  return made
    .optionsGroup('Who may ask, and for what:')
    .option(
      '--control <ip:port>',
      'control port (default: 127.0.0.1:12345, or the next free one)',
      listenAddress,
    )
    .option(
      '--token-file <file>',
      'ask clients for the token in it; needed to serve more than loopback',
    )
    .option('--read-token-file <file>', 'a second token, of who may read and change nothing')
    .option('--tls-cert <file>', 'certificate of the control port, PEM: it is wss:// then')
    .option('--tls-key <file>', 'its key, PEM')
    .option(
      '--metrics-subscribers <n>',
      'so many have rows of their own in /metrics, the rest are summed',
      integer('--metrics-subscribers', { min: 0, max: limits.SUBSCRIBERS_MAX }),
      256,
    )
    .addOption(
      new RepeatedOption(
        '--allow <cidr>',
        'who may subscribe; may be repeated (default: the subnets of the interface)',
      ).argParser(subnets),
    );
}

function addMore(made: Command): Command {
  return made
    .optionsGroup('More:')
    .option(
      '--filter <file.wasm>',
      'filter for all subscribers (default: built in, rewrites the headers)',
    )
    .option('--state <file>', 'keep subscribers and filters there over restarts (default: off)')
    .option(
      '--legacy-control <ip>',
      'serve legacy UDP control, at ip or ip:port (12345), to anyone (default: off)',
      legacyAddress,
    )
    .option(
      '--log-format <format>',
      'of stderr: text (entries with fields where it is the systemd journal), json (a line each)',
      oneOf('--log-format', FORMATS),
      'text',
    )
    .option(
      '--log-level <level>',
      'the least that is told: error, warn, info, debug',
      oneOf('--log-level', LEVELS),
      'info',
    )
    .option(
      '--netns <name>',
      "namespace of the data plane, and of legacy control if at the interface's ip",
    );
}

/** Which feeds there are, and whose. */
export function addFeeds(made: Command): Command {
  return made
    .addOption(
      new RepeatedOption(
        '--feed <name=ip:port>',
        'one more feed, with @IP behind it from that host alone; may be repeated, up to 64 in all',
      ).argParser(namedFeeds),
    )
    .option(
      '--promiscuous',
      'feeds may be sent to other hosts; of those only plain frames are taken (default: off)',
    );
}

/** What runs where, and how. */
function addDeployment(made: Command): Command {
  return addPlacement(made)
    .option(
      '--order <order>',
      'rotate (subscribers take turns at being first) or fixed',
      oneOf('--order', ['rotate', 'fixed']),
      'rotate',
    )
    .option(
      '--udp-checksum <how>',
      'zero, or full: over the payload',
      oneOf('--udp-checksum', ['zero', 'full']),
      'zero',
    )
    .option(
      '--multicast-ttl <n>',
      'routers that copies to a group may pass, and one more (groups: --allow)',
      integer('--multicast-ttl', { min: 1, max: 255 }),
      1,
    );
}

/** What the machine and the interface must be good for. */
export function addPlacement(made: Command): Command {
  return made
    .optionsGroup('What runs, and where:')
    .option(
      '--mode <mode>',
      'auto, or exactly: zerocopy, copy, skb, socket',
      oneOf('--mode', MODES),
      'auto',
    )
    .option(
      '--layout <layout>',
      'auto, inline (RX inside the workers), split (a core each)',
      oneOf('--layout', LAYOUTS),
      'auto',
    )
    .option('--queues <list>', 'NIC queues: all, 0, 0-3 or 0,2; up to 64', queues, 'all')
    .option(
      '--workers <n>',
      'TX workers, 1 to 16, up to one a queue (default: at most 8, and cores - 1)',
      integer('--workers', { min: 1, max: limits.WORKERS_MAX }),
    )
    .option(
      '--cpus <list>',
      'cores, such as 1,2: split: RX, then workers; inline: workers; then pumps (--transmit)',
      numberList('--cpus', CPU_MAX),
    )
    .option('--busy-poll', 'never sleep: lowest latency, a core each (default: off)')
    .option(
      '--transmit <how>',
      'ring (AF_XDP), bulk (native XDP, for many subscribers), or auto: by the load',
      oneOf('--transmit', ['auto', 'ring', 'bulk']),
      'ring',
    );
}

export function demo(): Command {
  const does = 'Everything on a virtual link: a feed, the replicator, three subscribers.';
  // above 50000 a second, Node at both ends is what is measured
  const [rate, seconds] = [
    { min: 1, max: 50_000 },
    { min: 1, max: 86_400 },
  ];
  return command('demo', does)
    .option('--layout <layout>', 'auto, inline or split', oneOf('--layout', LAYOUTS), 'inline')
    .option('--busy-poll', 'never sleep, which takes a core (default: where one is free)')
    .option('--no-busy-poll', 'sleep between packets; waking is in the latency then')
    .option('--no-compare', 'do not measure plain UDP sockets on the same link first')
    .option(
      '--mode <mode>',
      'as for up (default: auto; socket where there is no root)',
      oneOf('--mode', MODES),
    )
    .option(
      '--rate <n>',
      `packets a second of the feed, ${rate.min} to ${rate.max}`,
      integer('--rate', rate),
      1000,
    )
    .option(
      '--seconds <n>',
      `stop by itself after so long, ${seconds.min} to ${seconds.max} (default: at Ctrl-C)`,
      integer('--seconds', seconds),
    )
    .option('--json', 'print one JSON object a second')
    .action(async (flags: DemoFlags) => {
      const run = await import('../../demo/demo.js');
      await run.demo(flags);
    });
}
