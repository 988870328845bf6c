/**
 * The part of the WebAssembly JavaScript API (W3C, "WebAssembly JavaScript Interface") that fantail
 * uses. Node has it and its type package does not; TypeScript's own copy comes only with all of a
 * browser's globals.
 */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): { module: string; name: string; kind: string }[];
    static exports(module: Module): { name: string; kind: string }[];
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum: number });
    readonly buffer: ArrayBuffer;
  }
  class Instance {
    constructor(module: Module, imports: { env: { memory: Memory } });
    readonly exports: Record<string, unknown>;
  }
  /** A trap. */
  class RuntimeError extends Error {}
  function compile(bytes: Uint8Array): Promise<Module>;
}
