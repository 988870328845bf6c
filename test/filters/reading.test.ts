/**
 * The checker reads a module's bytes by tables of its own (check/instructions.ts), and what it took
 * for one thing and the engine for another would run unguarded. So binaryen, slow and written by
 * others, reads the same modules: what it finds in one that we accept must be allowed.
 *
 * needs: a core
 * takes: 25 s
 */
import binaryen from 'binaryen';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../src/domain/errors.js';
import { compileByRules } from '../../src/filters/check/checker.js';
import { Generator } from '../fuzz/campaign.js';
import { seedOfRun } from '../fuzz/chance.js';
import { answerOf, assemble, constant, filterText } from '../fuzz/frame.js';

const test = suite('reading');
const MODULES = 60;
/** Of those, however odd they are, so many must be accepted, or nothing was compared. */
const ACCEPTED_MIN = 5;

/** Expressions that a filter may use, by binaryen's names, and where each holds others. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  Nop: [],
  Unreachable: [],
  Block: ['children'],
  Loop: ['body'],
  If: ['condition', 'ifTrue', 'ifFalse'],
  Break: ['condition', 'value'],
  Switch: ['condition', 'value'],
  Return: ['value'],
  Call: ['operands'],
  CallIndirect: ['target', 'operands'],
  Drop: ['value'],
  Select: ['ifTrue', 'ifFalse', 'condition'],
  LocalGet: [],
  LocalSet: ['value'],
  GlobalGet: [],
  GlobalSet: ['value'],
  MemorySize: [],
  Load: ['ptr'],
  Store: ['ptr', 'value'],
  Const: [],
  Unary: ['value'],
  Binary: ['left', 'right'],
  SIMDExtract: ['vec'],
  SIMDReplace: ['vec', 'value'],
  SIMDShuffle: ['left', 'right'],
  SIMDTernary: ['a', 'b', 'c'],
  SIMDShift: ['vec', 'shift'],
  SIMDLoad: ['ptr'],
  SIMDLoadStoreLane: ['ptr', 'vec'],
  // what several results of one block become
  TupleMake: ['operands'],
  TupleExtract: ['tuple'],
};
const KINDS = new Map<unknown, string>(
  Object.entries(binaryen)
    .filter(([name]) => /^[A-Z]\w+Id$/.test(name))
    .map(([name, id]) => [id, name.slice(0, -2)]),
);

/** The kind of an expression, and the expressions that it holds. */
function lookAt(expression: number): { kind: string; holds: number[] } {
  const kind = KINDS.get(binaryen.getExpressionId(expression)) ?? 'unknown';
  const fields = ALLOWED[kind] ?? [];
  if (fields.length === 0) return { kind, holds: [] };
  // its types know no fields by name
  const info = binaryen.getExpressionInfo(expression) as unknown as Record<string, unknown>;
  const holds = fields.flatMap((field) => info[field] as number | number[]);
  return { kind: info.isAtomic === true ? `atomic ${kind}` : kind, holds };
}

/** What binaryen finds in the functions of a module that a filter may not use. */
function forbiddenIn(bytes: Uint8Array): string[] {
  const module = binaryen.readBinary(bytes);
  const found = new Set<string>();
  const open = Array.from(
    { length: module.getNumFunctions() },
    (_, index) => binaryen.getFunctionInfo(module.getFunctionByIndex(index)).body,
  );
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { kind, holds } = lookAt(next);
    if (!(kind in ALLOWED)) found.add(kind);
    open.push(...holds.filter((each) => each !== 0));
  }
  module.dispose();
  return [...found];
}

async function refusalOf(bytes: Uint8Array): Promise<string | null> {
  try {
    compileByRules(bytes);
    return null;
  } catch (error) {
    if (error instanceof FantailError) return error.message;
    throw error;
  }
}

test('what binaryen finds in a module that the rules accept is allowed', async () => {
  const seed = seedOfRun();
  console.log(`reading: SEED=${seed}`);
  const generator = new Generator(seed);
  let accepted = 0;
  for (let index = 0; index < MODULES; index++) {
    const { kind, bytes } = await generator.module(index);
    if ((await refusalOf(bytes)) !== null) continue;
    accepted++;
    assert.equal(forbiddenIn(bytes), [], `module ${index}, ${kind}`);
  }
  assert.ok(accepted >= ACCEPTED_MIN, `${accepted} of ${MODULES} are accepted`);
});

test('what the rules refuse for an instruction, binaryen finds in the assembled module', async () => {
  const store = '(i32.store (i32.const 0) (i32.const 0))';
  const filter = (work: string) =>
    assemble(
      filterText({
        memory: '1',
        gated: false,
        stateful: false,
        work,
        answer: answerOf(constant(0), constant(0), constant(0), constant(0)),
        more: '',
      }),
    );
  const copy = '(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))';
  assert.equal([forbiddenIn(filter(store)), await refusalOf(filter(store))], [[], null]);
  assert.equal(forbiddenIn(filter(copy)), ['MemoryCopy']);
  assert.match((await refusalOf(filter(copy))) ?? '', /uses memory\.copy/);
});

test.run();
