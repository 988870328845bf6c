/** `fantail filter …`: what each command takes, and what runs. */
import { Argument, type Command } from 'commander';
import { UsageError } from '../../domain/errors.js';
import { address, checksum, paramBytes, paramText, port } from '../arguments.js';
import type { TestFlags } from '../commands/workbench.js';
import { command, untilInterrupted } from '../program.js';
import { addClient, type JsonFlags } from './subscribers.js';

type UseFlags = JsonFlags & { param?: string };

export function filter(): Command {
  const does = 'Filters: write, build and try your own; load and use them in a running replicator.';
  const made = command('filter', does)
    .usage('<command> [arguments]')
    .addHelpText('after', '\nHelp on one command: fantail filter <command> --help')
    .helpCommand('help', 'print this help, or that of a command');
  const parts = [newFilter, buildFilter, testFilter, load, listFilters, info, use, unload];
  for (const each of parts) made.addCommand(each());
  return made;
}

function newFilter(): Command {
  const does = 'Make a folder to write a filter in: source, compiler options, a copy of the SDK.';
  return command('new', does)
    .argument('<name>', 'of the folder and the filter: up to 32 of a-z, 0-9 and -')
    .action(async (name: string) => {
      const run = await import('../commands/workbench.js');
      run.newFilter(name);
    });
}

function buildFilter(): Command {
  const does = 'Compile such a folder, and check what comes out as a replicator would.';
  return command('build', does)
    .addArgument(new Argument('[folder]', 'where its asconfig.json is').default('.', 'this one'))
    .action(async (folder: string) => {
      const run = await import('../commands/workbench.js');
      await untilInterrupted(run.buildFilter(folder));
    });
}

function testFilter(): Command {
  const does = 'Try a filter on packets, offline: what becomes of each, its new header decoded.';
  return command('test', does)
    .argument('<file.wasm>', 'the module')
    .argument('[capture.pcap]', 'packets, Ethernet (default: a few samples)')
    .option(
      '--param <param>',
      "the subscriber's parameter: text, or hex:4d4f; 64 bytes at most (default: none)",
      paramBytes,
    )
    .option(
      '--udp-checksum <how>',
      'zero, or full: as a replicator with that flag asks',
      checksum,
      'zero',
    )
    .option('--json', 'print one JSON object a packet')
    .action(async (file: string, capture: string | undefined, flags: TestFlags) => {
      const run = await import('../commands/workbench.js');
      await untilInterrupted(run.testFilter(file, capture, flags));
    });
}

const loadedFilters = () => import('../commands/filters.js');

function load(): Command {
  const does = 'Load a filter into a running replicator; it is checked first.';
  return addClient(command('load', does))
    .argument('<name>', 'what it is called there: up to 32 of a-z, 0-9, . _ and -')
    .argument('[file.wasm]', "the module (default: the stock's filter of that name)")
    .action(async (name: string, file: string | undefined, flags: JsonFlags) => {
      await untilInterrupted((await loadedFilters()).load(name, file, flags));
    });
}

function listFilters(): Command {
  return addClient(command('list', 'List the filters of a running replicator.')).action(
    async (flags: JsonFlags) => {
      await untilInterrupted((await loadedFilters()).list(flags));
    },
  );
}

function info(): Command {
  return addClient(command('info', 'One filter: hash, cost a packet, verdicts, faults.'))
    .argument('<name>', 'of the filter')
    .action(async (name: string, flags: JsonFlags) => {
      await untilInterrupted((await loadedFilters()).info(name, flags));
    });
}

function use(): Command {
  const does = 'Let a filter answer for one subscriber, or for all and those to come.';
  return addClient(command('use', does))
    .argument('<name>', 'of the filter')
    .argument('[dest_ip]', 'IPv4 address of the subscriber (default: all)', address('dest_ip'))
    .argument('[dest_port]', 'its port', port('dest_port'))
    .option(
      '--param <param>',
      "the filter's parameter: text, or hex:4d4f; 64 bytes at most (default: none). Of dedupe: proto=moldudp64, or seq=OFFSET,SIZE[,le] for a number of 1, 2, 4 or 8 bytes there in the payload",
      paramText,
    )
    .action(
      async (name: string, ip: string | undefined, port: number | undefined, flags: UseFlags) => {
        if (ip !== undefined && port === undefined)
          throw new UsageError(
            'use takes <dest_ip> and <dest_port> together, or neither for all subscribers',
          );
        const to = ip === undefined || port === undefined ? null : { ip, port };
        await untilInterrupted((await loadedFilters()).use(name, to, flags));
      },
    );
}

function unload(): Command {
  return addClient(command('unload', 'Forget a filter that answers for nobody.'))
    .argument('<name>', 'of the filter')
    .action(async (name: string, flags: JsonFlags) => {
      await untilInterrupted((await loadedFilters()).unload(name, flags));
    });
}
