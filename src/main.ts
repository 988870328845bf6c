#!/usr/bin/env node
/**
 * The command line: declares every command with its flags.
 *
 * Each command is in commands/ and is loaded when it is called, so that `fantail add` starts
 * without the data plane. Flags of `up` go on as they were typed: config.ts checks them.
 */

import type { Command } from 'commander';
import { declareMeasure, declareReplicator, declareSender } from './cli/declarations.js';
import {
  command,
  interruption,
  MEASURE_STOP_WAIT_MS,
  runProgram,
  STOP_WAIT_MS,
  untilInterrupted,
  version,
} from './cli/program.js';
import { CONTROL_DEFAULT } from './control/client.js';
import type { UpFlags } from './replicator/config.js';

function program(): Command {
  const fantail = command('fantail')
    .description('One UDP feed in, many subscribers out, at the speed of the link.')
    .usage('<command> [arguments]')
    .configureHelp({ subcommandTerm: (each) => each.name() })
    .addHelpText(
      'after',
      '\nHelp on one command: fantail <command> --help\nTry it on a virtual link: fantail demo',
    )
    .helpCommand('help', 'print this help, or that of a command');
  declareUp(fantail);
  declareSubscribers(fantail);
  declareStats(fantail);
  declareSend(fantail);
  declareBench(fantail);
  declareDemo(fantail);
  declareFilter(fantail);
  addVersion(fantail);
  return fantail;
}

/** Last, so that help shows a command's own flags first. */
function addVersion(made: Command): void {
  made.version(version, '--version', 'print the version');
  for (const each of made.commands) addVersion(each);
}

function declare(parent: Command, name: string, description: string): Command {
  const made = command(name).description(description);
  parent.addCommand(made);
  return made;
}

function declareUp(fantail: Command): void {
  declareReplicator(
    declare(
      fantail,
      'up',
      'Run the replicator: take a feed off an interface, send it to every subscriber.',
    ),
  ).action(async (interfaceName: string, listenIp: string, listenPort: string, flags: UpFlags) => {
    const { up } = await import('./cli/commands/up.js');
    await up(interfaceName, listenIp, listenPort, flags);
  });
}

function declareSubscribers(fantail: Command): void {
  client(
    declare(
      fantail,
      'add',
      'Add a subscriber: the feed goes there too from now on (4096 at most).',
    ),
  )
    .argument('<dest_ip>', 'IPv4 address')
    .argument('<dest_port>', 'port, 1 to 65535')
    .action(async (ip: string, port: string, flags) => {
      const { add } = await import('./cli/commands/add.js');
      await untilInterrupted(add(ip, port, flags));
    });
  client(declare(fantail, 'remove', 'Remove a subscriber.'))
    .argument('<dest_ip>', 'IPv4 address')
    .argument('<dest_port>', 'port, 1 to 65535')
    .action(async (ip: string, port: string, flags) => {
      const { remove } = await import('./cli/commands/remove.js');
      await untilInterrupted(remove(ip, port, flags));
    });
  client(
    declare(fantail, 'list', 'List the subscribers: state, MAC, worker and filter of each.'),
  ).action(async (flags) => {
    const { list } = await import('./cli/commands/list.js');
    await untilInterrupted(list(flags));
  });
}

function declareStats(fantail: Command): void {
  const stats = declare(
    fantail,
    'stats',
    'Print the counters: feed, XDP, kernel, workers, subscribers.',
  )
    .option(
      '--watch [seconds]',
      'again and again, with rates: every 0.1 to 3600 seconds (default: 1)',
    )
    .option(
      '--check',
      'exit 1 with the difference unless all packets are accounted for; takes up to 1 s',
    );
  client(stats).action(async (flags) => {
    const run = await import('./cli/commands/stats.js');
    await untilInterrupted(run.stats(flags, interruption), STOP_WAIT_MS);
  });
}

function declareSend(fantail: Command): void {
  declareSender(
    declare(
      fantail,
      'send',
      'Send test traffic: UDP packets that carry "<message> #<n>", n from 1.',
    ),
  ).action(
    async (
      ip: string,
      port: string,
      count: string | undefined,
      message: string | undefined,
      flags,
    ) => {
      const { send } = await import('./cli/commands/send.js');
      await untilInterrupted(send({ ip, port, count, message }, flags, interruption), STOP_WAIT_MS);
    },
  );
}

function declareBench(fantail: Command): void {
  const bench = declare(
    fantail,
    'bench',
    'Measure round trips: subscribe, send trade messages, time their copies.',
  );
  declareMeasure(bench)
    .option('--control <url>', `control port of the replicator (default: ${CONTROL_DEFAULT})`)
    .option('--token-file <file>', 'file with the token, where the replicator wants one')
    .action(
      async (
        ip: string,
        port: string,
        localIp: string,
        localPort: string,
        count: string,
        rate: string,
        flags,
      ) => {
        const { bench: run } = await import('./cli/commands/bench.js');
        const work = run({ ip, port, localIp, localPort, count, rate }, flags, interruption);
        await untilInterrupted(work, MEASURE_STOP_WAIT_MS);
      },
    );
}

function declareDemo(fantail: Command): void {
  declare(
    fantail,
    'demo',
    'Everything on a virtual link: a feed, the replicator, three subscribers.',
  )
    .option('--layout <layout>', 'auto, inline or split (default: auto)')
    .option('--mode <mode>', 'as for up (default: auto; socket where there is no root)')
    .option('--rate <n>', 'packets a second of the feed, 1 to 50000 (default: 1000)')
    .option('--seconds <n>', 'stop by itself after so long, 1 to 86400 (default: at Ctrl-C)')
    .option('--json', 'print one JSON object a second')
    .action(async (flags) => {
      const { demo } = await import('./demo/demo.js');
      await demo(flags);
    });
}

function declareFilter(fantail: Command): void {
  const filter = declare(
    fantail,
    'filter',
    'Filters: write, build and try your own; load and use them in a running replicator.',
  )
    .usage('<command> [arguments]')
    .configureHelp({ subcommandTerm: (each) => each.name() })
    .addHelpText('after', '\nHelp on one command: fantail filter <command> --help')
    .helpCommand('help', 'print this help, or that of a command');
  declare(
    filter,
    'new',
    'Make a folder to write a filter in: source, compiler options, a copy of the SDK.',
  )
    .argument('<name>', 'of the folder and the filter: up to 32 of a-z, 0-9 and -')
    .action(async (name: string) => {
      const { newFilter } = await import('./cli/commands/workbench.js');
      newFilter(name);
    });
  declare(filter, 'build', 'Compile such a folder, and check what comes out as a replicator would.')
    .argument('[folder]', 'where its asconfig.json is (default: this one)')
    .action(async (folder = '.') => {
      const { buildFilter } = await import('./cli/commands/workbench.js');
      await buildFilter(folder);
    });
  declare(
    filter,
    'test',
    'Try a filter on packets, offline: what becomes of each, its new header decoded.',
  )
    .argument('<file.wasm>', 'the module')
    .argument('[capture.pcap]', 'packets, Ethernet (default: a few samples)')
    .option(
      '--param <param>',
      "the subscriber's parameter: text, or hex:4d4f; 64 bytes at most (default: none)",
    )
    .option(
      '--udp-checksum <how>',
      'zero, or full: as a replicator with that flag asks (default: zero)',
    )
    .option('--json', 'print one JSON object a packet')
    .action(async (file: string, capture: string | undefined, flags) => {
      const { testFilter } = await import('./cli/commands/workbench.js');
      await testFilter(file, capture, flags);
    });
  declareLoadedFilters(filter);
}

/** What a running replicator is asked about its filters. */
function declareLoadedFilters(filter: Command): void {
  const commands = () => import('./cli/commands/filters.js');
  client(declare(filter, 'load', 'Load a filter into a running replicator; it is checked first.'))
    .argument('<name>', 'what it is called there: up to 32 of a-z, 0-9, . _ and -')
    .argument('[file.wasm]', "the module (default: the stock's filter of that name)")
    .action(async (name: string, file: string | undefined, flags) => {
      await untilInterrupted((await commands()).load(name, file, flags));
    });
  client(declare(filter, 'list', 'List the filters of a running replicator.')).action(
    async (flags) => {
      await untilInterrupted((await commands()).list(flags));
    },
  );
  client(declare(filter, 'info', 'One filter: hash, cost a packet, verdicts, faults.'))
    .argument('<name>', 'of the filter')
    .action(async (name: string, flags) => {
      await untilInterrupted((await commands()).info(name, flags));
    });
  client(
    declare(filter, 'use', 'Let a filter answer for one subscriber, or for all and those to come.'),
  )
    .argument('<name>', 'of the filter')
    .argument('[dest_ip]', 'IPv4 address of the subscriber (default: all)')
    .argument('[dest_port]', 'its port')
    .option(
      '--param <param>',
      "the filter's parameter: text, or hex:4d4f; 64 bytes at most (default: none)",
    )
    .action(async (name: string, ip: string | undefined, port: string | undefined, flags) => {
      await untilInterrupted((await commands()).use(name, { ip, port }, flags));
    });
  client(declare(filter, 'unload', 'Forget a filter that answers for nobody.'))
    .argument('<name>', 'of the filter')
    .action(async (name: string, flags) => {
      await untilInterrupted((await commands()).unload(name, flags));
    });
}

/** The flags of every command that asks a running replicator. */
function client(made: Command): Command {
  return made
    .option('--control <url>', `control port of the replicator (default: ${CONTROL_DEFAULT})`)
    .option('--token-file <file>', 'file with the token, where the replicator wants one')
    .option('--json', 'print the reply as it came');
}

await runProgram(program(), process.argv.slice(2));
