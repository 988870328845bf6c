#!/usr/bin/env node
import { declareSender } from '../cli/declarations.js';
/**
 * `test_client <ip> <port> [count] [message]`: `fantail send` by the name that users bring with
 * them.
 */
import {
  command,
  interruption,
  runProgram,
  STOP_WAIT_MS,
  untilInterrupted,
  version,
} from '../cli/program.js';

const program = declareSender(command('test_client'))
  .description('Send test traffic: UDP packets that carry "<message> #<n>", n from 1.')
  .version(version, '--version', 'print the version')
  .action(
    async (
      ip: string,
      port: string,
      count: string | undefined,
      message: string | undefined,
      flags,
    ) => {
      const { send } = await import('../cli/commands/send.js');
      await untilInterrupted(send({ ip, port, count, message }, flags, interruption), STOP_WAIT_MS);
    },
  );

await runProgram(program, process.argv.slice(2));
