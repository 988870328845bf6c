/** The face of native/rewrite.cpp. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ADDON = join(
  dirname(fileURLToPath(import.meta.url)),
  '../../../../tools/bench/build/rewrite.node',
);

export interface Rewrite {
  attach(memory: ArrayBuffer): void;
  burst(jobs: number, first: number, count: number): void;
}

export function loadRewrite(): Rewrite {
  const holder = { exports: {} as Rewrite }; // filled in by the addon
  process.dlopen(holder, ADDON);
  return holder.exports;
}
