#!/usr/bin/env node
/**
 * `control_client <replicator_ip> add|remove <ip> <port> | list`: subscribers, by the legacy UDP
 * protocol.
 */
import { addressOf, destinationOf, portOf } from '../cli/arguments.js';
import { command, runProgram, untilInterrupted, version } from '../cli/program.js';
import { UsageError } from '../domain/errors.js';
import { LegacyClient } from '../legacy/client.js';
import { LEGACY_PORT } from '../legacy/protocol.js';

interface Flags {
  controlPort?: string;
  netns?: string;
  json?: boolean;
}

const DONE = 'Operation successful';

async function control(
  client: LegacyClient,
  operation: string,
  words: string[],
  flags: Flags,
): Promise<void> {
  const [ip, port] = words;
  const say = (line: string, value: object) =>
    console.log(flags.json ? JSON.stringify(value) : line);
  if (operation === 'list') {
    if (words.length > 0) throw new UsageError('list takes no address');
    const destinations = await client.list();
    const rows = destinations.map((each) => `  ${each.ip}:${each.port}`);
    say([`Active destinations (${rows.length}):`, ...rows].join('\n'), { ok: true, destinations });
    return;
  }
  if (operation !== 'add' && operation !== 'remove')
    throw new UsageError(`operation must be add, remove or list, not '${operation}'`);
  if (ip === undefined || port === undefined)
    throw new UsageError(`${operation} takes <ip> <port>`);
  await client[operation](destinationOf(ip, port));
  say(DONE, { ok: true });
}

const program = command('control_client')
  .description('Add, remove and list subscribers by the legacy UDP protocol.')
  .argument('<replicator_ip>', 'address of a replicator that serves legacy control')
  .argument('<operation>', 'add, remove or list')
  .argument('[ip]', 'IPv4 address of the subscriber to add or remove')
  .argument('[port]', 'its port, 1 to 65535')
  .option('--control-port <n>', `UDP port of legacy control (default: ${LEGACY_PORT})`)
  .option('--netns <name>', 'ask from that network namespace')
  .option('--json', 'print one JSON object')
  .version(version, '--version', 'print the version')
  .action(async (address: string, operation: string, ...rest: unknown[]) => {
    const words = rest.slice(0, 2).filter((word) => typeof word === 'string');
    const flags = rest[2] as Flags; // commander puts the flags behind the arguments
    const client = new LegacyClient({
      ip: addressOf('replicator_ip', address),
      port: portOf('--control-port', flags.controlPort ?? String(LEGACY_PORT)),
      netns: flags.netns ?? null,
    });
    await untilInterrupted(control(client, operation, words, flags));
  });

await runProgram(program, process.argv.slice(2));
