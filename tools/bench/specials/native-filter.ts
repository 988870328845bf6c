/**
 * Loaded into a TX worker before its own code (`NODE_OPTIONS=--import=…`), this puts the C++
 * rewrite where the WebAssembly filter would be: same memory, same jobs, same place in the loop.
 * For the benchmark only, which so needs no switch in fantail itself. In any other process it does
 * nothing.
 */
import { loadRewrite } from './rewrite.js';

if (process.argv[1]?.endsWith('tx-worker.js')) {
  const { attach, burst } = loadRewrite();
  class NativeInstance {
    readonly exports: Record<string, unknown>;
    constructor(_module: WebAssembly.Module, { env }: { env: { memory: WebAssembly.Memory } }) {
      attach(env.memory.buffer);
      this.exports = { fantail_abi: () => 1, fantail_burst: burst };
    }
  }
  WebAssembly.Instance = NativeInstance;
}
