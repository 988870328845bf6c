#!/usr/bin/env node
/**
 * The command line: declares every command with its flags, and turns what goes wrong into one line and a
 * status.
 *
 * 0 done, also after Ctrl-C · 1 failed · 2 misused. Each command is in commands/ and is loaded when it is
 * called, so that `fantail add` starts without the data plane. Flags of `up` go on as they were typed:
 * config.ts checks them.
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { CONTROL_DEFAULT } from './client.js';
import type { UpFlags } from './config.js';
import { Failure, FantailError, UsageError } from './errors.js';

const USAGE_STATUS = 2;
const FAILURE_STATUS = 1;
/** Columns of help. */
const HELP_WIDTH = 100;
/** Time that a command which stops by itself has to do so. */
const STOP_WAIT_MS = 1000;

const manifest = new URL('../../package.json', import.meta.url); // seen from dist/src/
// npm requires the field
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };

/** Aborted by the first Ctrl-C or SIGTERM of a client command; the second one kills. */
const interrupted = new AbortController();

function program(): Command {
  const fantail = command(new Command('fantail'))
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

/** What every command has: --help, errors that are thrown, and no surprise arguments. */
function command(made: Command): Command {
  return made
    .helpOption('--help', 'print this help')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      writeErr: () => {},
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    });
}

function declare(parent: Command, name: string, description: string): Command {
  const made = command(new Command(name)).description(description);
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
    await untilInterrupted(run.stats(flags, interrupted.signal), 'it stops by itself');
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
        await untilInterrupted(
          send({ ip, port, count, message }, flags, interrupted.signal),
          'it stops by itself',
        );
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

/**
 * Ctrl-C and SIGTERM end a client command with status 0; one that stops by itself has time for a last
 * word.
 */
async function untilInterrupted(work: Promise<void>, stops?: 'it stops by itself'): Promise<void> {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      interrupted.abort();
      setTimeout(() => process.exit(0), stops === undefined ? 0 : STOP_WAIT_MS).unref();
    });
  }
  await work;
}

// ---- what went wrong ----------------------------------------------------------------------------------

/** Prints the one line and gives the status. */
function report(thrown: unknown, name: string): number {
  if (thrown instanceof CommanderError) {
    if (thrown.exitCode === 0) return 0; // --help, --version
    return complain(name, withHelp(usageSentence(thrown.message), name), USAGE_STATUS);
  }
  if (thrown instanceof UsageError) return complain(name, withHelp(thrown.message, name), USAGE_STATUS);
  if (thrown instanceof Failure || thrown instanceof FantailError) {
    return complain(name, thrown.message, FAILURE_STATUS);
  }
  const error = thrown as NodeJS.ErrnoException;
  if (error.code === 'ERR_MODULE_NOT_FOUND') {
    return complain(name, `${error.message}; build it with: npm run build`, FAILURE_STATUS);
  }
  console.error(`${name}: a fault of its own:`, thrown); // a stack, since it is ours to mend
  return FAILURE_STATUS;
}

function complain(name: string, sentence: string, status: number): number {
  process.stderr.write(`${name}: ${sentence.replace(/\s*\n\s*/g, ' ')}\n`);
  return status;
}

function withHelp(sentence: string, name: string): string {
  return `${sentence}${sentence.endsWith('?') ? '' : ';'} see: ${name} --help`;
}

/** Commander says `error: unknown option '--quues'\n(Did you mean --queues?)`. */
function usageSentence(message: string): string {
  if (message === '(outputHelp)') return 'help: there is no such command'; // its word for it
  return message
    .replace(/^error: /, '')
    .replace(/\. Expected (\d+) arguments? but got (\d+)\.$/, ': it takes $1, not $2')
    .replace(
      /\s*\n?\(Did you mean (one of )?([^)]*)\?\)$/,
      (_, several: string | undefined, names: string) => {
        return several === undefined ? `; did you mean ${names}?` : `; did you mean one of ${names}?`;
      },
    );
}

/** `fantail stats` if that is the command, so that the line names the help that answers it. */
function commandName(fantail: Command, words: readonly string[]): string {
  const [first = ''] = words;
  const known = fantail.commands.some((each) => each.name() === first);
  return known ? `fantail ${first}` : 'fantail';
}

async function main(words: readonly string[]): Promise<number> {
  const fantail = program();
  try {
    if (words.length === 0) {
      throw new UsageError(`which command? one of ${fantail.commands.map((each) => each.name()).join(', ')}`);
    }
    await fantail.parseAsync(words, { from: 'user' });
    return 0;
  } catch (thrown) {
    return report(thrown, commandName(fantail, words));
  }
}

// `fantail stats --watch | head`: the reader has what it wanted
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? 0 : FAILURE_STATUS),
  );
}
const status = await main(process.argv.slice(2));
if (status !== 0) process.exitCode = status;
