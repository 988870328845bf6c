/**
 * Arguments and flags of the commands that have two names, one of fantail's and one that users
 * bring with them (bin/): what they take is declared once. Values stay as they were typed.
 */
import type { Command } from 'commander';

/** `fantail up`, `packet_replicator`. */
export function declareReplicator(made: Command): Command {
  return made
    .argument('<interface>', 'network interface, such as eth0; lo or - in socket mode')
    .argument('<listen_ip>', 'destination address of the feed')
    .argument('<listen_port>', 'destination port of the feed, 1 to 65535')
    .option('--mode <mode>', 'auto, or exactly: zerocopy, copy, skb, socket (default: auto)')
    .option(
      '--layout <layout>',
      'auto, inline (RX inside the workers), split (a core each) (default: auto)',
    )
    .option('--queues <list>', 'NIC queues: all, 0, 0-3 or 0,2; up to 64 (default: all)')
    .option(
      '--workers <n>',
      'TX workers, 1 to 16, up to one a queue (default: at most 8, and cores - 1)',
    )
    .option('--cpus <list>', 'cores, such as 1,2: split: RX, then workers; inline: one per worker')
    .option('--busy-poll', 'never sleep: lowest latency, a core each (default: off)')
    .option(
      '--order <order>',
      'rotate (subscribers take turns at being first) or fixed (default: rotate)',
    )
    .option('--udp-checksum <how>', 'zero, or full: over the payload (default: zero)')
    .option('--control <ip:port>', 'control port (default: 127.0.0.1:12345, or the next free one)')
    .option(
      '--token-file <file>',
      'ask clients for the token in it; needed to serve more than loopback',
    )
    .option(
      '--allow <cidr>',
      'who may subscribe; may be repeated (default: the subnets of the interface)',
      append,
    )
    .option(
      '--filter <file.wasm>',
      'filter for all subscribers (default: built in, rewrites the headers)',
    )
    .option(
      '--legacy-control <ip>',
      'serve legacy UDP control, at ip or ip:port (12345), to anyone (default: off)',
    )
    .option(
      '--netns <name>',
      "namespace of the data plane, and of legacy control if at the interface's ip",
    );
}

/** `fantail send`, `test_client`. */
export function declareSender(made: Command): Command {
  return made
    .argument('<target_ip>', 'IPv4 address')
    .argument('<target_port>', 'port, 1 to 65535')
    .argument('[count]', 'packets, 1 to 1000000000 (default: 10)')
    .argument('[message]', 'text (default: "fantail test")')
    .option('--rate <n>', 'packets a second, up to 1000000 (default: 1000)')
    .option('--interval-ms <n>', 'milliseconds between packets, in place of --rate, up to 3600000')
    .option('--json', 'print one JSON object');
}

/** `fantail bench`, `market_data_provider_client`. */
export function declareMeasure(made: Command): Command {
  return made
    .argument('<replicator_ip>', 'address that the feed is sent to')
    .argument('<port>', 'port that the feed is sent to, 1 to 65535')
    .argument('<local_ip>', 'address of this host that copies come back to')
    .argument('<local_port>', 'port that copies come back to, 1 to 65535')
    .argument('<count>', 'messages, 1 to 100000000; to 10000000 with --csv')
    .argument('<rate>', 'messages a second, 0.01 to 1000000')
    .option('--warm-up <n>', 'send so many first that are not counted, up to 10000000 (default: 0)')
    .option(
      '--csv <file>',
      'write a line a message: id, time intended, sent, received, round trip (ns)',
    )
    .option('--netns <name>', 'send and listen in that network namespace')
    .option('--json', 'print one JSON object; times in nanoseconds')
    .addHelpText(
      'after',
      '\nA round trip counts from when its message was due; how late messages left is told beside it.' +
        '\nOne thread sends and receives, and spins while it expects a copy: give it a core of its own.',
    );
}

function append(value: string, values: string[] | undefined): string[] {
  return [...(values ?? []), value];
}
