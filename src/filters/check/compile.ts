/** A process to throw away (throw-away.ts): compiles one module, with the flags of a worker. */
import { moduleAndGiveUp } from './throw-away.js';

new WebAssembly.Module(moduleAndGiveUp());
