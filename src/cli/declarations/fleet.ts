/** `--fleet` and what stands beside it, and the commands of a group: what is taken, what runs. */
import type { Command } from 'commander';
import type { FleetDemoFlags } from '../../demo/group/fleet-demo.js';
import type { Endpoint } from '../../domain/endpoint.js';
import { UsageError } from '../../domain/errors.js';
import type { FeedAddress, FeedChoice } from '../../domain/feed.js';
import { WEIGHT_MAX } from '../../domain/fleet.js';
import { fleetAddress } from '../../fleet/config.js';
import {
  address,
  feedAddress,
  feedChoice,
  feedName,
  integer,
  moduleHashes,
  number,
  oneOf,
  paramText,
  port,
} from '../arguments.js';
import type { GroupFlags } from '../group/commands.js';
import {
  command,
  interruption,
  RepeatedOption,
  STOP_WAIT_MS,
  untilInterrupted,
} from '../program.js';

const run = () => import('../group/commands.js');

/** How the group's etcd is reached. */
function addRegistry(made: Command): Command {
  return made
    .option(
      '--fleet <url>',
      'etcd and the group: http://HOST:2379/GROUP, more hosts with commas between them',
      fleetAddress,
    )
    .option('--fleet-user-file <file>', 'one line, name:password, of a user of etcd')
    .option('--fleet-ca <file>', "who signs etcd's certificate, PEM (default: whom Node trusts)")
    .option('--fleet-cert <file>', 'certificate that is shown to etcd, PEM')
    .option('--fleet-key <file>', 'its key, PEM')
    .option('--fleet-plaintext', 'http:// is meant, though etcd is not on this host');
}

/** Of `fantail up`. */
export function addFleet(made: Command): Command {
  return addRegistry(made.optionsGroup('As a member of a group (docs/fleet.md):'))
    .option('--member <name>', 'what it is called in the group (default: the name of the host)')
    .option(
      '--weight <n>',
      `its share of the subscribers, beside that of others, up to ${WEIGHT_MAX} (default: 1)`,
      number('--weight', { min: 0.01, max: WEIGHT_MAX }),
    )
    .option(
      '--upstream <member>',
      'take the feed from that member, as one of its subscribers (default: from the network)',
    )
    .option(
      '--fleet-isolated <how>',
      'reaching neither etcd nor others: stop, or serve (default), which others may do, too',
      oneOf('--fleet-isolated', ['stop', 'serve']),
    )
    .addOption(
      new RepeatedOption(
        '--fleet-allow-module <sha256>',
        'a filter module of the group that may run here, or any; may be repeated (default: none)',
      ).argParser(moduleHashes),
    );
}

export function fleet(): Command {
  const made = command('fleet', 'Many replicators as one: a group, by its etcd, from any machine.')
    .usage('<command> [arguments] --fleet http://HOST:2379/GROUP')
    .addHelpText('after', '\nHelp on one command: fantail fleet <command> --help')
    .helpCommand('help', 'print this help, or that of a command');
  const parts = [status, list, add, remove, pause, resume, move, drain, feed, filter, demo];
  for (const each of parts) made.addCommand(each());
  return made;
}

const group = (made: Command) => addRegistry(made).option('--json', 'print it as JSON');

const subscriber = (name: string, does: string) =>
  group(command(name, does))
    .argument('<dest_ip>', 'IPv4 address', address('dest_ip'))
    .argument('<dest_port>', 'port, 1 to 65535', port('dest_port'));

function status(): Command {
  const does = 'The group: members, shards, feeds, filters, and whom nobody serves, and why.';
  return group(command('status', does)).action(async (flags: GroupFlags) => {
    await untilInterrupted((await run()).status(flags));
  });
}

function list(): Command {
  const does = 'All subscribers of the group, and who serves each.';
  return group(command('list', does)).action(async (flags: GroupFlags) => {
    await untilInterrupted((await run()).list(flags));
  });
}

type AddFlags = GroupFlags & { feed?: FeedChoice; filter?: string; param?: string };

function add(): Command {
  return subscriber('add', 'Add a subscriber: a member sends feeds there from now on.')
    .option(
      '--feed <names>',
      'which feeds, such as main,b; or all, those to come too (default: as before; main)',
      feedChoice,
    )
    .option('--filter <name>', "its filter (default: as before; the group's default)")
    .option('--param <param>', "the filter's parameter: text, or hex:4d4f; 64 bytes", paramText)
    .action(async (ip: string, port: number, flags: AddFlags) => {
      const { feed: feeds, filter, param, ...rest } = flags;
      await untilInterrupted((await run()).add({ ip, port }, { feeds, filter, param }, rest));
    });
}

function remove(): Command {
  return subscriber('remove', 'Remove a subscriber.').action(
    async (ip: string, port: number, flags: GroupFlags) => {
      await untilInterrupted((await run()).remove({ ip, port }, flags));
    },
  );
}

const pausing = (name: string, does: string, isPaused: boolean) =>
  subscriber(name, does).action(async (ip: string, port: number, flags: GroupFlags) => {
    await untilInterrupted((await run()).pause({ ip, port }, isPaused, flags));
  });
const pause = () => pausing('pause', 'Send nothing to a subscriber until fleet resume.', true);
const resume = () => pausing('resume', 'Send to a paused subscriber again.', false);

function move(): Command {
  const does = 'Move the shard of a subscriber, with all that are in it, to a member.';
  return subscriber('move', does)
    .argument('[member]', 'to whom (default: back to whose it is by weight)')
    .action(async (ip: string, port: number, member: string | undefined, flags: GroupFlags) => {
      await untilInterrupted((await run()).move({ ip, port }, member ?? null, flags));
    });
}

function drain(): Command {
  const seconds = { min: 1, max: 3600 };
  return group(command('drain', 'Have a member hand all over to others and end; waits for that.'))
    .argument('<member>', 'its name')
    .option(
      '--seconds <n>',
      `how long it is waited for, ${seconds.min} to ${seconds.max}`,
      integer('--seconds', seconds),
      60,
    )
    .action(async (member: string, flags: GroupFlags & { seconds: number }) => {
      const work = (await run()).drain(member, flags, interruption);
      await untilInterrupted(work, STOP_WAIT_MS);
    });
}

function feed(): Command {
  const made = command('feed', 'Feeds of the group beside main.');
  const named = (name: string, does: string) =>
    group(command(name, does)).argument('<name>', '1 to 32 of a-z, 0-9, _ and -', feedName);
  return made
    .addCommand(
      named('add', 'Members receive that feed too, but those started with --feed of that name.')
        .argument('<address>', 'IP:PORT; with @IP from that host alone', feedAddress)
        .action(async (name: string, address: FeedAddress, flags: GroupFlags) => {
          await untilInterrupted((await run()).feedAdd({ name, ...address }, flags));
        }),
    )
    .addCommand(
      named('remove', 'They receive it no more.').action(
        async (name: string, flags: GroupFlags) => {
          await untilInterrupted((await run()).feedRemove(name, flags));
        },
      ),
    );
}

function filter(): Command {
  const named = (name: string, does: string) =>
    group(command(name, does)).argument('<name>', 'of the filter');
  return command('filter', 'Filters of the group.')
    .addCommand(
      named('load', 'Put a filter into the group; members that allow its hash run it.')
        .argument('[file.wasm]', "the module (default: the stock's filter of that name)")
        .action(async (name: string, file: string | undefined, flags: GroupFlags) => {
          await untilInterrupted((await run()).filterLoad(name, file, flags));
        }),
    )
    .addCommand(filterUse(named))
    .addCommand(
      named(
        'unload',
        'Forget a filter that answers for nobody, and modules that none means.',
      ).action(async (name: string, flags: GroupFlags) => {
        await untilInterrupted((await run()).filterUnload(name, flags));
      }),
    );
}

type UseFlags = GroupFlags & { param?: string };

function filterUse(named: (name: string, does: string) => Command): Command {
  return named('use', 'Let a filter answer for one subscriber, or for all that name none.')
    .argument('[dest_ip]', 'IPv4 address of the subscriber', address('dest_ip'))
    .argument('[dest_port]', 'its port', port('dest_port'))
    .option('--param <param>', "the filter's parameter: text, or hex:4d4f; 64 bytes", paramText)
    .action(
      async (name: string, ip: string | undefined, port: number | undefined, flags: UseFlags) => {
        if (ip !== undefined && port === undefined)
          throw new UsageError('use takes <dest_ip> and <dest_port> together, or neither');
        const to: Endpoint | null = ip === undefined || port === undefined ? null : { ip, port };
        await untilInterrupted((await run()).filterUse(name, to, flags));
      },
    );
}

function demo(): Command {
  const does = 'A group on a virtual bridge: etcd, three members, nine subscribers; keys kill.';
  // above that, Node at both ends is what is measured
  const [rate, seconds] = [
    { min: 1, max: 2000 },
    { min: 1, max: 86_400 },
  ];
  return command('demo', does)
    .option(
      '--rate <n>',
      `packets a second, ${rate.min} to ${rate.max}`,
      integer('--rate', rate),
      200,
    )
    .option(
      '--seconds <n>',
      `end after so many, ${seconds.min} to ${seconds.max} (default: on Ctrl-C)`,
      integer('--seconds', seconds),
    )
    .option('--json', 'print one JSON object a second')
    .action(async (flags: FleetDemoFlags) => {
      await (await import('../group/demo.js')).demo(flags);
    });
}
