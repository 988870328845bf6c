#!/usr/bin/env node
/**
 * The command line: declares every command with its flags.
 *
 * Each command is in commands/ and is loaded when it is called, so that `fantail add` starts without the data
 * plane. Flags of `up` go on as they were typed: config.ts checks them.
 */

import type { Command } from 'commander';
import { command, interruption, runProgram, STOP_WAIT_MS, untilInterrupted, version } from './cli.js';
import { CONTROL_DEFAULT } from './client.js';
import type { UpFlags } from './config.js';

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
  declare(fantail, 'up', 'Run the replicator: take a feed off an interface, send it to every subscriber.')
    .argument('<interface>', 'network interface, such as eth0; lo or - in socket mode')
    .argument('<listen_ip>', 'destination address of the feed')
    .argument('<listen_port>', 'destination port of the feed, 1 to 65535')
    .option('--mode <mode>', 'auto, or exactly: zerocopy, copy, skb, socket (default: auto)')
    .option('--layout <layout>', 'auto, inline (RX inside the workers), split (a core each) (default: auto)')
    .option('--queues <list>', 'NIC queues: all, 0, 0-3 or 0,2; up to 64 (default: all)')
    .option('--workers <n>', 'TX workers, 1 to 16, up to one a queue (default: at most 8, and cores - 1)')
    .option('--cpus <list>', 'cores, such as 1,2: split: RX, then workers; inline: one per worker')
    .option('--busy-poll', 'never sleep: lowest latency, a core each (default: off)')
    .option('--order <order>', 'rotate (subscribers take turns at being first) or fixed (default: rotate)')
    .option('--udp-checksum <how>', 'zero, or full: over the payload (default: zero)')
    .option('--control <ip:port>', 'control port (default: 127.0.0.1:12345, or the next free one)')
    .option('--token-file <file>', 'ask clients for the token in it; needed to serve more than loopback')
    .option(
      '--allow <cidr>',
      'who may subscribe; may be repeated (default: the subnets of the interface)',
      append,
    )
    .option('--filter <file.wasm>', 'filter for all subscribers (default: built in, rewrites the headers)')
    .option('--netns <name>', 'run the data plane in that network namespace')
    .action(async (interfaceName: string, listenIp: string, listenPort: string, flags: UpFlags) => {
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
  declare(fantail, 'send', 'Send test traffic: UDP packets that carry "<message> #<n>", n from 1.')
    .argument('<target_ip>', 'IPv4 address')
    .argument('<target_port>', 'port, 1 to 65535')
    .argument('[count]', 'packets, 1 to 1000000000 (default: 10)')
    .argument('[message]', 'text (default: "fantail test")')
    .option('--rate <n>', 'packets a second, up to 1000000 (default: 1000)')
    .option('--interval-ms <n>', 'milliseconds between packets, in place of --rate, up to 3600000')
    .option('--json', 'print one JSON object')
    .action(
      async (ip: string, port: string, count: string | undefined, message: string | undefined, flags) => {
        const { send } = await import('./commands/send.js');
        await untilInterrupted(send({ ip, port, count, message }, flags, interruption), STOP_WAIT_MS);
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

function append(value: string, values: string[] | undefined): string[] {
  return [...(values ?? []), value];
}

await runProgram(program(), process.argv.slice(2));
