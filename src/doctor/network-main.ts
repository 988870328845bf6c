/**
 * Reads the network of the namespace that it is started in, for a doctor that is outside: a
 * question as JSON in its argument, the answer as JSON on its stdout.
 */
import { type NetworkQuestion, readNetwork } from './network.js';

const question = JSON.parse(process.argv[2] ?? '') as NetworkQuestion; // doctor.ts writes it
process.stdout.write(JSON.stringify(readNetwork(question)));
