#!/usr/bin/env node
/**
 * `test_client <ip> <port> [count] [message]`: `fantail send` by the name that users bring with
 * them.
 */
import { senderCommand } from '../cli/declarations/traffic.js';
import { runProgram } from '../cli/program.js';

await runProgram(senderCommand('test_client'), process.argv.slice(2));
