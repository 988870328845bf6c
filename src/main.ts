#!/usr/bin/env node
/** `fantail`: its commands are declared in cli/fantail.ts. */
import { fantail } from './cli/fantail.js';
import { runProgram } from './cli/program.js';

await runProgram(fantail(), process.argv.slice(2));
