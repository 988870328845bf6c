#!/usr/bin/env node
import { declareReplicator } from '../cli/declarations.js';
/**
 * `packet_replicator <interface> <listen_ip> <listen_port>`: `fantail up` with legacy control at
 * the listen address, so that existing control clients find it where they look for it.
 */
import { command, runProgram, version } from '../cli/program.js';
import type { UpFlags } from '../replicator/config.js';

const program = declareReplicator(command('packet_replicator'))
  .description(
    'Run fantail as users of packet_replicator know it: with legacy UDP control on port 12345.',
  )
  .version(version, '--version', 'print the version')
  .action(async (interfaceName: string, listenIp: string, listenPort: string, flags: UpFlags) => {
    const { up } = await import('../cli/commands/up.js');
    await up(interfaceName, listenIp, listenPort, {
      ...flags,
      legacyControl: flags.legacyControl ?? listenIp,
    });
  });

await runProgram(program, process.argv.slice(2));
