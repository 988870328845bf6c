#!/usr/bin/env node
/**
 * `packet_replicator <interface> <listen_ip> <listen_port>`: `fantail up` with legacy control at
 * the listen address, so that existing control clients find it where they look for it.
 */
import { replicatorCommand } from '../cli/declarations/replicator.js';
import { runProgram } from '../cli/program.js';
import { LEGACY_PORT } from '../legacy/protocol.js';

const program = replicatorCommand(
  'packet_replicator',
  'Run fantail as users of packet_replicator know it: with legacy UDP control on port 12345.',
  (address, flags) => ({ legacyControl: { address, port: LEGACY_PORT }, ...flags }),
);

await runProgram(program, process.argv.slice(2));
