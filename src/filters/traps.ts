/**
 * A filter sees packets and records through pages that it may only read. What keeps its worker
 * alive when it stores there is V8's trap handler, which turns the fault into a trap of the module.
 * V8 has one on x86-64, and on arm64 since Node 22 (src/trap-handler/trap-handler.h); it can be
 * switched off (node --disable-wasm-trap-handler). Without it V8 compares addresses instead, and
 * knows nothing of pages: the store would end the worker.
 */
import { setFlagsFromString } from 'node:v8';
import { runInThisContext } from 'node:vm';

/** Whether this Node has it and uses it. */
export function hasTrapHandler(): boolean {
  setFlagsFromString('--allow-natives-syntax');
  try {
    return runInThisContext('%IsWasmTrapHandlerEnabled()') === true;
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}
