/**
 * A fuzzing campaign: random modules, one after the other, each to the checker and, unless a rule
 * refuses it, onto the guarded memory of a worker; after each, every byte of the arena that a
 * filter may not write is compared with what it was. Two children do what could crash (child.ts); a
 * child that dies, does not answer, or answers what it should not, is a fault of ours, as is a
 * changed byte.
 *
 * The checker's samples refuse what misbehaves on them, and a filter could behave on those and
 * nowhere else. So a module that only the samples refuse is run too.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { atEnd } from '../rig/program.js';
import { Chance, seedOf } from './chance.js';
import type { Report } from './child.js';
import { assemble } from './frame.js';
import { type OpenedArena, openArena } from './guard.js';
import { mutated } from './mutated.js';
import { targetedText } from './targeted.js';
import { filterOf, translatedText } from './translated.js';

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url));
/**
 * The checker and the optimising compiler are slow on long modules; past this, a child is stuck.
 */
const ANSWER_MS_MAX = 120_000;
/** Filters made of one module of binaryen's fuzzer, which takes a second to make. */
const FILTERS_PER_TRANSLATION = 40;
/** What records and packets consist of: bytes that a store is likely to change. */
const PATTERN = 0x5a;

export const KINDS = ['targeted', 'translated', 'mutated'] as const;
export type Kind = (typeof KINDS)[number];

/** Sentences of the checker and the loader, and what they are counted as. */
const RULES = [
  ['locals', /^its functions have more/],
  ['engine', /^not a WebAssembly module/],
  ['imports', /^it (imports|does not import)/],
  ['memory', /^env\.memory|^it has a memory of its own/],
  ['exports', /^it does not export|^its export|^a filter exports/],
  ['abi and state', /^fantail_(abi|state)\(\) answers|must answer a constant/],
  ['start', / is a start function/],
  ['tables', /^tables? \d+ .*ha(s|ve)|^it has \d+ tables/],
  ['data', /^data segment/],
  ['instructions', / uses /],
  [
    'unreadable',
    /the checker can read|known to the checker|reaches past its end|unknown kind|a type that is not/,
  ],
  ['compiler', /^compiling it as workers do takes/],
  ['samples: no end', /does not return within/],
  ['samples: trap', / fails in |: .*(out of bounds|call stack|unreachable)/],
  ['samples: answer', /: (it is not answered|its verdict|its header)/],
  ['samples: write', /: it writes at address/],
] as const;

export interface Fault {
  readonly index: number;
  readonly kind: Kind;
  readonly what: string;
  readonly module: Uint8Array;
}

export interface Tally {
  readonly seed: number;
  readonly counts: Record<Kind, Record<string, number>>;
  readonly faults: Fault[];
}

/** One child, started again when it is gone. */
export class Child {
  #process: ChildProcess | null = null;

  constructor(
    private readonly role: 'check' | 'run',
    private readonly descriptors: readonly number[],
  ) {}

  /** What it says of a module; a sentence where it says nothing. */
  async ask(module: Uint8Array): Promise<Report> {
    const child = this.#process ?? (await this.start());
    const said = this.#next(child);
    child.send(module);
    return said;
  }

  async start(): Promise<ChildProcess> {
    const child = fork(CHILD, [this.role], {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...this.descriptors],
    });
    const end = atEnd(() => child.kill('SIGKILL'));
    child.once('exit', end);
    const { is } = await this.#next(child);
    if (is !== 'ready') throw new Error(`a ${this.role} process does not start: ${is}`);
    this.#process = child;
    return child;
  }

  get runs(): boolean {
    return this.#process !== null;
  }

  close(): void {
    this.#process?.disconnect();
    this.#process = null;
  }

  #next(child: ChildProcess): Promise<Report> {
    return new Promise((resolve) => {
      const done = (report: Report) => {
        clearTimeout(timer);
        child.off('message', done).off('exit', died);
        resolve(report);
      };
      const lose = (what: string) => {
        this.#process = null;
        done({ is: 'odd', what });
      };
      const died = (status: number | null, signal: string | null) =>
        lose(`crashed: the ${this.role} process ended by ${signal ?? `status ${status}`}`);
      const timer = setTimeout(() => {
        child.off('exit', died).kill('SIGKILL');
        lose(`stuck: the ${this.role} process did not answer within ${ANSWER_MS_MAX} ms`);
      }, ANSWER_MS_MAX);
      child.on('message', done).on('exit', died);
    });
  }
}

/** What no filter may change. */
export class ReadOnly {
  readonly #arena: OpenedArena;
  readonly #parts: readonly (readonly [number, number])[];
  #before: readonly Uint8Array[] = [];

  constructor(arena: OpenedArena) {
    this.#arena = arena;
    const parts: [number, number][] = [];
    let from = 0;
    const writable = arena.writable
      .filter(([start, end]) => end > start)
      .toSorted(([a], [b]) => a - b);
    for (const [start, end] of [...writable, [arena.bytes.length, 0] as const]) {
      parts.push([from, start]);
      from = end;
    }
    this.#parts = parts;
  }

  remember(): void {
    this.#before = this.#parts.map(([start, end]) => this.#arena.bytes.slice(start, end));
  }

  /** The offset in the arena of a byte that is not what it was. */
  changed(): number | null {
    for (const [index, [start, end]] of this.#parts.entries()) {
      const before = this.#before[index] ?? new Uint8Array();
      const now = this.#arena.bytes.subarray(start, end);
      if (Buffer.compare(before, now) !== 0)
        return start + now.findIndex((byte, at) => byte !== before[at]);
    }
    return null;
  }
}

/** Makes module after module; the same seed gives the same ones, whatever becomes of them. */
export class Generator {
  readonly #seed: number;
  readonly #translations = new Map<number, Promise<string>>();

  constructor(seed: number) {
    this.#seed = seed;
  }

  async module(index: number): Promise<{ kind: Kind; bytes: Uint8Array }> {
    const chance = new Chance(seedOf(this.#seed, index));
    const kind = KINDS[[0, 0, 0, 1, 1, 2, 2, 2][chance.below(8)] ?? 0] ?? 'targeted';
    switch (kind) {
      case 'targeted':
        return { kind, bytes: assemble(targetedText(chance)) };
      case 'translated':
        return { kind, bytes: assemble(filterOf(await this.#text(index), chance)) };
      case 'mutated': {
        const text = chance.oneIn(3)
          ? filterOf(await this.#text(index), chance)
          : targetedText(chance);
        return { kind, bytes: mutated(assemble(text), chance) };
      }
    }
  }

  /**
   * What binaryen's fuzzer makes for the modules round this one; for the next ones it is made
   * meanwhile.
   */
  #text(index: number): Promise<string> {
    const number = Math.floor(index / FILTERS_PER_TRANSLATION);
    this.#translations.delete(number - 1);
    this.#translate(number + 1).catch(() => {}); // reported when its modules are made
    return this.#translate(number);
  }

  #translate(number: number): Promise<string> {
    const text = this.#translations.get(number) ?? translatedText(seedOf(~this.#seed, number));
    this.#translations.set(number, text);
    return text;
  }
}

export class Campaign {
  readonly tally: Tally;
  readonly #generator: Generator;
  #checker = new Child('check', []);

  constructor(seed: number) {
    const counts = Object.fromEntries(KINDS.map((kind) => [kind, {}])) as Record<
      Kind,
      Record<string, number>
    >;
    this.tally = { seed, counts, faults: [] };
    this.#generator = new Generator(seed);
  }

  /** Modules `from`, `from` + 1, … until the time is over or `count` are done. */
  async run({ from, count, ms }: { from: number; count: number; ms: number }): Promise<Tally> {
    const arena = await openArena();
    for (const [start, end] of arena.patterned) arena.bytes.fill(PATTERN, start, end);
    const runner = new Child('run', arena.descriptors);
    const readOnly = new ReadOnly(arena);
    const end = Date.now() + ms;
    try {
      let next = this.#checked(from);
      for (let index = from; index < from + count && Date.now() < end; index++) {
        const { kind, bytes, report } = await next;
        next = this.#checked(index + 1); // while this one runs
        const note = (what: string) => this.tally.faults.push({ index, kind, what, module: bytes });
        this.#count(kind, 'generated');
        if (!this.#goesOn(kind, report, note)) continue;
        if (!runner.runs) {
          await runner.start();
          readOnly.remember(); // what attaching has changed is no filter's doing
        }
        this.#judge(kind, await runner.ask(bytes), note);
        const changed = readOnly.changed();
        if (changed === null) continue;
        this.#count(kind, 'leaked');
        note(`leaked: byte ${changed} of the arena has changed`);
        readOnly.remember();
      }
      await next;
    } finally {
      this.#checker.close();
      runner.close();
    }
    return this.tally;
  }

  async #checked(index: number): Promise<{ kind: Kind; bytes: Uint8Array; report: Report }> {
    const { kind, bytes } = await this.#generator.module(index);
    return { kind, bytes, report: await this.#checker.ask(bytes) };
  }

  /** Counts what the checker says; whether the module is to be run. */
  #goesOn(kind: Kind, report: Report, note: (what: string) => void): boolean {
    if (report.is === 'accepted') {
      this.#count(kind, 'accepted');
      return true;
    }
    if (report.is !== 'refused') {
      this.#judge(kind, report, note);
      return false;
    }
    const rule = RULES.find(([, sentence]) => sentence.test(report.sentence))?.[0];
    if (rule === undefined) note(`refused with a sentence of no known rule: ${report.sentence}`);
    this.#count(kind, `refused, ${rule ?? 'unknown'}`);
    return rule?.startsWith('samples') ?? false;
  }

  #judge(kind: Kind, report: Report, note: (what: string) => void): void {
    if (report.is === 'odd') {
      this.#count(kind, /^\w+/.exec(report.what)?.[0] ?? 'odd');
      note(report.what);
    } else this.#count(kind, report.is === 'refused' ? 'refused by the loader' : report.is);
  }

  #count(kind: Kind, outcome: string): void {
    this.tally.counts[kind][outcome] = (this.tally.counts[kind][outcome] ?? 0) + 1;
  }
}

const OUTCOMES = [
  'generated',
  'accepted',
  'returned',
  'trapped',
  'timed out',
  'crashed',
  'stuck',
  'leaked',
];

/** The counts as lines of text, those that must be zero always among them. */
export function told({ seed, counts, faults }: Tally): string {
  const lines = KINDS.map((kind) => {
    const more = Object.keys(counts[kind]).filter((outcome) => !OUTCOMES.includes(outcome));
    const parts = [...OUTCOMES, ...more.sort()].map(
      (outcome) => `${outcome} ${counts[kind][outcome] ?? 0}`,
    );
    return `${kind}: ${parts.join('; ')}`;
  });
  const said = faults.slice(0, 10).map(({ index, kind, what, module }) => {
    const code = Buffer.from(module).toString('base64');
    return `module ${index} (${kind}): ${what}\n  ${code.length > 4000 ? `${module.length} bytes` : code}`;
  });
  return [`SEED=${seed}`, ...lines, ...said].join('\n');
}
