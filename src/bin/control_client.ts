#!/usr/bin/env node
/**
 * `control_client <replicator_ip> add|remove <ip> <port> | list`: subscribers, by the legacy UDP
 * protocol.
 */
import { address, port } from '../cli/arguments.js';
import { addLegacyControl, type LegacyFlags } from '../cli/declarations/traffic.js';
import { command, runProgram, untilInterrupted } from '../cli/program.js';
import { endpointText } from '../domain/endpoint.js';
import { UsageError } from '../domain/errors.js';
import { LegacyClient } from '../legacy/client.js';

interface Flags extends LegacyFlags {
  netns?: string;
  json?: boolean;
}

type Operation = 'add' | 'remove' | 'list';

const DONE = 'Operation successful';

function operationOf(word: string): Operation {
  if (word === 'add' || word === 'remove' || word === 'list') return word;
  throw new UsageError(`operation must be add, remove or list, not '${word}'`);
}

/** What `words` are depends on the operation, so that they are checked here. */
async function control(
  client: LegacyClient,
  operation: Operation,
  words: readonly string[],
  flags: Flags,
): Promise<void> {
  const [ipWord, portWord] = words;
  const say = (line: string, value: object) =>
    console.log(flags.json ? JSON.stringify(value) : line);
  if (operation === 'list') {
    if (words.length > 0) throw new UsageError('list takes no address');
    const destinations = await client.list();
    const rows = destinations.map((each) => `  ${endpointText(each)}`);
    say([`Active destinations (${rows.length}):`, ...rows].join('\n'), { ok: true, destinations });
    return;
  }
  if (ipWord === undefined || portWord === undefined)
    throw new UsageError(`${operation} takes <ip> <port>`);
  const endpoint = { ip: address('dest_ip')(ipWord), port: port('dest_port')(portWord) };
  await client[operation](endpoint);
  say(DONE, { ok: true });
}

const program = command(
  'control_client',
  'Add, remove and list subscribers by the legacy UDP protocol.',
)
  .argument(
    '<replicator_ip>',
    'address of a replicator that serves legacy control',
    address('replicator_ip'),
  )
  .argument('<operation>', 'add, remove or list', operationOf)
  .argument('[ip]', 'IPv4 address of the subscriber to add or remove')
  .argument('[port]', 'its port, 1 to 65535')
  .action(
    async (
      ip: string,
      operation: Operation,
      ipWord: string | undefined,
      portWord: string | undefined,
      flags: Flags,
    ) => {
      const client = new LegacyClient({ ip, port: flags.controlPort, netns: flags.netns ?? null });
      const words = [ipWord, portWord].filter((word) => word !== undefined);
      await untilInterrupted(control(client, operation, words, flags));
    },
  );
addLegacyControl(program)
  .option('--netns <name>', 'ask from that network namespace')
  .option('--json', 'print one JSON object');

await runProgram(program, process.argv.slice(2));
