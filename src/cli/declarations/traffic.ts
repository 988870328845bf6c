/** Commands that send traffic, by both their names: what they take, and what runs. */
import type { Command } from 'commander';
import {
  CSV_COUNT_MAX,
  type MeasureFlags,
  measureRanges,
  type Plan,
  planOf,
} from '../../bench/plan.js';
import type { ClientFlags } from '../../control/client.js';
import { UsageError } from '../../domain/errors.js';
import { LEGACY_PORT } from '../../legacy/protocol.js';
import { address, integer, number, port } from '../arguments.js';
import {
  command,
  interruption,
  MEASURE_STOP_WAIT_MS,
  STOP_WAIT_MS,
  untilInterrupted,
} from '../program.js';
import { addControl } from './subscribers.js';

/** Packets a second. */
const SEND_RATE_DEFAULT = 1000;

type SendFlags = { rate?: number; intervalMs?: number; json?: boolean };

export function send(): Command {
  return senderCommand('send');
}

/** `fantail send`, `test_client`. */
export function senderCommand(name: string): Command {
  const count = { min: 1, max: 1_000_000_000 };
  const rate = { min: 0.001, max: 1_000_000 };
  const intervalMs = { min: 0, max: 3_600_000 };
  return command(name, 'Send test traffic: UDP packets that carry "<message> #<n>", n from 1.')
    .argument('<target_ip>', 'IPv4 address', address('target_ip'))
    .argument('<target_port>', 'port, 1 to 65535', port('target_port'))
    .argument('[count]', `packets, ${count.min} to ${count.max}`, integer('count', count), 10)
    .argument('[message]', 'text', 'fantail test')
    .option(
      '--rate <n>',
      `packets a second, up to ${rate.max} (default: ${SEND_RATE_DEFAULT})`,
      number('--rate', rate),
    )
    .option(
      '--interval-ms <n>',
      `milliseconds between packets, in place of --rate, up to ${intervalMs.max}`,
      number('--interval-ms', intervalMs),
    )
    .option('--json', 'print one JSON object')
    .action(async (ip: string, port: number, count: number, message: string, flags: SendFlags) => {
      const run = await import('../commands/send.js');
      const { rate, intervalMs, json } = flags;
      if (rate !== undefined && intervalMs !== undefined)
        throw new UsageError('--rate and --interval-ms exclude each other');
      const interval = intervalMs ?? 1000 / (rate ?? SEND_RATE_DEFAULT);
      const traffic = { to: { ip, port }, count, message, intervalMs: interval };
      await untilInterrupted(run.send(traffic, json === true, interruption), STOP_WAIT_MS);
    });
}

export function bench(): Command {
  const does = 'Measure round trips: subscribe, send trade messages, time their copies.';
  const made = measureCommand('bench', does, async (plan, flags: MeasureFlags & ClientFlags) => {
    const run = await import('../commands/bench.js');
    await run.bench(plan, flags, interruption);
  });
  return addControl(made);
}

/** `fantail bench`, `market_data_provider_client`: they differ in how they subscribe. */
export function measureCommand<Flags extends MeasureFlags>(
  name: string,
  description: string,
  run: (plan: Plan, flags: Flags) => Promise<void>,
): Command {
  const { count, rate, warmUp } = measureRanges;
  return command(name, description)
    .argument('<replicator_ip>', 'address that the feed is sent to', address('replicator_ip'))
    .argument('<port>', 'port that the feed is sent to, 1 to 65535', port('port'))
    .argument('<local_ip>', 'address of this host that copies come back to', address('local_ip'))
    .argument('<local_port>', 'port that copies come back to, 1 to 65535', port('local_port'))
    .argument(
      '<count>',
      `messages, ${count.min} to ${count.max}; to ${CSV_COUNT_MAX} with --csv`,
      integer('count', count),
    )
    .argument('<rate>', `messages a second, ${rate.min} to ${rate.max}`, number('rate', rate))
    .option(
      '--warm-up <n>',
      `send so many first that are not counted, up to ${warmUp.max}`,
      integer('--warm-up', warmUp),
      0,
    )
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
    )
    .action(
      async (
        ip: string,
        port: number,
        localIp: string,
        localPort: number,
        count: number,
        rate: number,
        flags: Flags,
      ) => {
        const words = { replicator: { ip, port }, local: { ip: localIp, port: localPort } };
        const plan = planOf({ ...words, count, rate }, flags);
        await untilInterrupted(run(plan, flags), MEASURE_STOP_WAIT_MS);
      },
    );
}

/** For programs that ask by legacy control. */
export interface LegacyFlags {
  readonly controlPort: number;
}

export function addLegacyControl(made: Command): Command {
  return made.option(
    '--control-port <n>',
    'UDP port of legacy control',
    port('--control-port'),
    LEGACY_PORT,
  );
}
