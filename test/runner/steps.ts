/**
 * The steps there are, and what each needs of the machine: the generated files are fresh, the
 * linter agrees, the native tests, then each *.test.ts below test/ in a process of its own.
 *
 * A test file says up to three things about itself in its head comment:
 *
 *   needs: a core          it computes, or waits: other steps may run beside it
 *   needs: a link          it has namespaces, processes and ports of its own, and keeps no rate:
 *                          one that is late loses nothing; beside those that compute
 *   needs: the machine     it keeps a rate, spins, or measures: nothing may run beside it
 *   takes: 60 s            about so long beside others: the longest begin first, or all would wait
 *                          for one in the end
 *   time limit: 1800 s     when it counts as hanging, if FILE_SECONDS_MAX is too little
 *
 * One that does not say what it needs gets the machine: that is slow, never wrong. One that claims
 * to need a core only and uses the wire's rig is refused, or it would disturb those beside it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Counts, countNative, countUvu, countWhole } from './counts.js';
import { type Command, type Finished, ROOT } from './process.js';

export type Need = 'core' | 'link' | 'machine';

export interface Step extends Command {
  readonly name: string;
  readonly needs: Need;
  readonly count: (finished: Finished) => Counts;
}

const FILE_SECONDS_MAX = 900;
const NATIVE_SECONDS_MAX = 1800;
/** What sends packets at a rate, or starts what does. */
const WIRE_IMPORT = /from '\.\.\/rig\/(?:link|wire|scenario|replicator)\.js'/;

/** Test files are found by source, never by a stale dist. */
export function allSteps(): Step[] {
  const node = process.execPath;
  const found = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const files = found.filter((file) => file.endsWith('.test.ts'));
  const tool = (name: string, program: string, args: string[]): Step => {
    const secondsMax = NATIVE_SECONDS_MAX;
    return { name, needs: 'core', program, args, secondsMax, count: countWhole };
  };
  const make = ['--no-print-directory', '-C', 'native', '-j2'];
  const tests = files.sort().map(stepOf);
  return [
    // Niced: it takes what the tests beside it leave of the cores.
    tool('native compile', 'nice', ['-n', '19', 'make', ...make, 'test-binaries']),
    tool('generated files', node, ['dist/tools/gen-layout.js', '--check']),
    tool('generated schema', node, ['dist/tools/gen-protocol.js', '--check']),
    tool('generated reference', node, ['dist/tools/gen-reference.js', '--check']),
    tool('lint', node, ['node_modules/@biomejs/biome/bin/biome', 'check', '.']),
    tool('format of native code', node, ['tools/format-native.mjs']),
    {
      name: 'native',
      needs: 'machine',
      program: 'make',
      // each program's output whole
      args: [...make, '--output-sync=target', 'test'],
      secondsMax: NATIVE_SECONDS_MAX,
      count: countNative,
    },
    ...tests.sort((a, b) => b.takes_s - a.takes_s),
  ];
}

function stepOf(file: string): Step & { readonly takes_s: number } {
  const text = readFileSync(join(ROOT, 'test', file), 'utf8');
  const asked = Number(/^(?:\/\/| \*) time limit: (\d+) s$/m.exec(text)?.[1] ?? 0);
  return {
    name: `test/${file}`,
    needs: needOf(file, text),
    takes_s: Number(/^(?:\/\/| \*) takes: (\d+) s$/m.exec(text)?.[1] ?? 0),
    program: process.execPath,
    args: [join('dist', 'test', file.replace(/\.ts$/, '.js'))],
    secondsMax: Math.max(asked, FILE_SECONDS_MAX),
    count: countUvu,
  };
}

function needOf(file: string, text: string): Need {
  const said = /^(?:\/\/| \*) needs: (.*)$/m.exec(text)?.[1] ?? 'the machine';
  if (said === 'the machine') return 'machine';
  if (said === 'a link') return 'link';
  if (said !== 'a core')
    throw new Error(`test/${file} needs: a core, a link, or the machine; not ${said}`);
  if (WIRE_IMPORT.test(text))
    throw new Error(`test/${file} says that it needs a core, and imports the rig of the wire`);
  return 'core';
}

/** Those whose name contains one of the words; all if there are none. */
export function stepsNamedLike(words: readonly string[]): Step[] {
  const steps = allSteps();
  const idle = words.find((word) => !steps.some((step) => step.name.includes(word)));
  if (idle !== undefined) {
    const names = steps.map((step) => step.name).join('\n  ');
    throw new Error(`no test is named like ${idle}; there are:\n  ${names}`);
  }
  return steps.filter(
    ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
  );
}
