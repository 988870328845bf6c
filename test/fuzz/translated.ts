/**
 * Random modules of binaryen's own fuzzer (`wasm-opt --translate-to-fuzz`), rewired into filters:
 * what they import becomes functions that do nothing, their memory becomes env.memory, their loads
 * and stores move from the few bytes that the fuzzer keeps to into the whole of a filter's memory,
 * and fantail_burst calls some of their functions.
 *
 * The fuzzer's programs end by themselves: it counts loops and calls down, and traps at zero.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../src/domain/errors.js';
import { ROOT } from '../rig/program.js';
import { Chance } from './chance.js';
import { answerOf, constant, filterText } from './frame.js';
import { nearBorder } from './window.js';

const WASM_OPT = join(ROOT, 'node_modules', 'binaryen', 'bin', 'wasm-opt');
const OUTPUT_MAX = 64 << 20;
/** Random bytes that the fuzzer makes a module of: more bytes, more code. */
const SEED_BYTES_MAX = 12_000;
/** Functions of the fuzzer's that one filter calls. */
const CALLS_MAX = 4;

/** What engines of today read without flags, and the checker lets pass. */
const LAWFUL = ['simd', 'sign-ext', 'mutable-globals', 'nontrapping-float-to-int', 'tail-call'];
/** What it refuses, if the fuzzer makes use of it; some need each other. */
const UNLAWFUL = [
  ['bulk-memory', 'bulk-memory-opt'],
  ['threads'],
  ['reference-types'],
  ['exception-handling', 'reference-types'],
  ['multivalue'],
] as const;
/** The fuzzer itself gives up on some bytes; then others are tried. */
const TRIES_MAX = 5;

/** A module of the fuzzer as text; the same seed gives the same text. */
export async function translatedText(seed: number): Promise<string> {
  const chance = new Chance(seed);
  const folder = mkdtempSync(join(tmpdir(), 'fantail-fuzz-'));
  try {
    for (let tries = 1; ; tries++) {
      try {
        return await translate(join(folder, 'bytes'), chance);
      } catch (error) {
        if (tries === TRIES_MAX)
          throw new Error(`wasm-opt makes no module: ${messageOf(error).slice(0, 500)}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function translate(file: string, chance: Chance): Promise<string> {
  writeFileSync(file, chance.bytes(1000 + chance.below(SEED_BYTES_MAX)));
  const features = [...LAWFUL, ...(chance.oneIn(4) ? chance.pick(UNLAWFUL) : [])];
  const flags = features.map((name) => `--enable-${name}`);
  const args = [WASM_OPT, file, '--translate-to-fuzz', '--mvp-features', ...flags, '-S', '-o', '-'];
  return (await promisify(execFile)(process.execPath, args, { maxBuffer: OUTPUT_MAX })).stdout;
}

/** A filter of a module of the fuzzer; another chance gives another one of the same module. */
export function filterOf(text: string, chance: Chance): string {
  // One definition is one line with the lines that are further to the right.
  const definitions = text.split(/\n(?= \()/).slice(1);
  // without the module's own bracket
  definitions.push((definitions.pop() ?? '').replace(/\)\s*$/, ''));
  const functions = definitions.map(signatureOf).filter((found) => found !== null);
  const calls = Array.from({ length: 1 + chance.below(CALLS_MAX) }, () =>
    callOf(chance.pick(functions), chance),
  );
  const hasLimit = functions.some(({ name }) => name === '$hangLimitInitializer');
  const kept = definitions.map(rewired).join('\n');
  return filterText({
    memory: String(1 + chance.below(2)),
    gated: !chance.oneIn(4),
    stateful: chance.oneIn(2),
    work: `${hasLimit ? '(call $hangLimitInitializer)' : ''} ${calls.join(' ')}`,
    answer: answerOf(constant(chance.below(2)), constant(64), constant(42), constant(42)),
    more: kept.replace(ACCESS, (access, instruction) => moved(access, instruction, chance)),
  });
}

const NAME = String.raw`(\$(?:"[^"]*"|[^\s()]+))`;
const ACCESS = /\((\w+\.(?:load|store)\w*)(?: offset=\d+)?/g;

interface Signature {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly results: readonly string[];
}

const typesIn = (head: string, word: string) =>
  [...head.matchAll(new RegExp(`\\(${word} (?:\\$\\S+ )?([^()]*|\\(ref[^)]*\\))\\)`, 'g'))].flatMap(
    ([, types = '']) => types.split(' '),
  );

/** Of a function that is defined there. */
function signatureOf(definition: string): Signature | null {
  const head = definition.slice(0, definition.indexOf('\n') >>> 0);
  const name = new RegExp(`^ \\(func ${NAME}`).exec(head)?.[1];
  if (name === undefined) return null;
  return { name, parameters: typesIn(head, 'param'), results: typesIn(head, 'result') };
}

/** A constant of that type that is of no interest; a null for a reference. */
function nothing(type: string): string {
  if (type === 'v128') return '(v128.const i32x4 0 0 0 0)';
  return /^[if]\d\d$/.test(type) ? `(${type}.const 0)` : `(ref.null ${type.replace(/ref$/, '')})`;
}

function callOf({ name, parameters, results }: Signature, chance: Chance): string {
  const given = parameters.map((type) => {
    if (type !== 'i32') return nothing(type);
    return chance.oneIn(2) ? '(local.get $job)' : constant(nearBorder(chance));
  });
  const call = `(call ${name} ${given.join(' ')})`;
  return results.length === 1 ? `(drop ${call})` : call;
}

/**
 * A load or store with another offset: three times in four, and then near a border of the filter's
 * memory.
 */
function moved(access: string, instruction: string, chance: Chance): string {
  if (chance.oneIn(4)) return access;
  return `(${instruction} offset=${Math.min(nearBorder(chance), 2 ** 32 - 1)}`;
}

/** A definition as it may stand in a filter: nothing is imported, exported or started. */
function rewired(definition: string): string {
  if (/^ \((memory|export|start|@\S+)\b/.test(definition)) return '';
  const imported = /^ \(import "[^"]*" "[^"]*" (.*)\)$/s.exec(definition.trimEnd())?.[1];
  if (imported === undefined) return definition;
  if (imported.startsWith('(memory')) return '';
  if (imported.startsWith('(func')) {
    const results = typesIn(imported, 'result').map(nothing);
    return `${imported.replace(/\)$/, '')} ${results.join(' ')})`;
  }
  if (imported.startsWith('(global')) {
    const type = /(\w+)\)+$/.exec(imported)?.[1] ?? 'i32';
    return `${imported.replace(/\)$/, '')} ${nothing(type)})`;
  }
  return imported; // a table or a tag
}
