#!/usr/bin/env node
/**
 * The command line: declares every command with its flags.
 *
 * Each command is in commands/ and is loaded when it is called, so that `fantail add` starts without the data
 * plane. Flags of `up` go on as they were typed: config.ts checks them.
 */

import type { Command } from 'commander';
import {
  command,
  interruption,
  MEASURE_STOP_WAIT_MS,
  runProgram,
  STOP_WAIT_MS,
  untilInterrupted,
  version,
} from './cli.js';
import { CONTROL_DEFAULT } from './client.js';
import type { UpFlags } from './config.js';
import { declareMeasure, declareReplicator, declareSender } from './declarations.js';

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
  // last, so that help shows a command's own flags first
  for (const each of [fantail, ...fantail.commands]) each.version(version, '--version', 'print the version');
  return fantail;
}

function declare(parent: Command, name: string, description: string): Command {
  const made = command(name).description(description);
  parent.addCommand(made);
  return made;
}

function declareUp(fantail: Command): void {
  declareReplicator(
    declare(fantail, 'up', 'Run the replicator: take a feed off an interface, send it to every subscriber.'),
  ).action(async (interfaceName: string, listenIp: string, listenPort: string, flags: UpFlags) => {
    const { up } = await import('./commands/up.js');
    await up(interfaceName, listenIp, listenPort, flags);
  });
}

function declareSubscribers(fantail: Command): void {
  client(declare(fantail, 'add', 'Add a subscriber: the feed goes there too from now on (4096 at most).'))
    .argument('<dest_ip>', 'IPv4 address')
    .argument('<dest_port>', 'port, 1 to 65535')
    .action(async (ip: string, port: string, flags) => {
      const { add } = await import('./commands/add.js');
      await untilInterrupted(add(ip, port, flags));
    });
  client(declare(fantail, 'remove', 'Remove a subscriber.'))
    .argument('<dest_ip>', 'IPv4 address')
    .argument('<dest_port>', 'port, 1 to 65535')
    .action(async (ip: string, port: string, flags) => {
      const { remove } = await import('./commands/remove.js');
      await untilInterrupted(remove(ip, port, flags));
    });
  client(declare(fantail, 'list', 'List the subscribers: state, MAC, worker and filter of each.')).action(
    async (flags) => {
      const { list } = await import('./commands/list.js');
      await untilInterrupted(list(flags));
    },
  );
}

function declareStats(fantail: Command): void {
  const stats = declare(fantail, 'stats', 'Print the counters: feed, XDP, kernel, workers, subscribers.')
    .option('--watch [seconds]', 'again and again, with rates: every 0.1 to 3600 seconds (default: 1)')
    .option('--check', 'exit 1 with the difference unless all packets are accounted for; takes up to 1 s');
  client(stats).action(async (flags) => {
    const run = await import('./commands/stats.js');
    await untilInterrupted(run.stats(flags, interruption), STOP_WAIT_MS);
  });
}

function declareSend(fantail: Command): void {
  declareSender(
    declare(fantail, 'send', 'Send test traffic: UDP packets that carry "<message> #<n>", n from 1.'),
  ).action(
    async (ip: string, port: string, count: string | undefined, message: string | undefined, flags) => {
      const { send } = await import('./commands/send.js');
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
        const { bench: run } = await import('./commands/bench.js');
        const work = run({ ip, port, localIp, localPort, count, rate }, flags, interruption);
        await untilInterrupted(work, MEASURE_STOP_WAIT_MS);
      },
    );
}

function declareDemo(fantail: Command): void {
  declare(fantail, 'demo', 'Everything on a virtual link: a feed, the replicator, three subscribers.')
    .option('--layout <layout>', 'auto, inline or split (default: auto)')
    .option('--mode <mode>', 'as for up (default: auto; socket where there is no root)')
    .option('--rate <n>', 'packets a second of the feed, 1 to 50000 (default: 1000)')
    .option('--seconds <n>', 'stop by itself after so long, 1 to 86400 (default: at Ctrl-C)')
    .option('--json', 'print one JSON object a second')
    .action(async (flags) => {
      const { demo } = await import('./commands/demo.js');
      await demo(flags);
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
