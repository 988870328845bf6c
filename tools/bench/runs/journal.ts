/**
 * A run as it grows: a file with one JSON object a line, the head first, then each turn when it is
 * done. A run that was interrupted goes on where it stopped, if the head is the same; else a new
 * one begins.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { Machine } from './machine.js';
import type { Turn } from './measure.js';
import type { SpecialResult } from './special.js';

export interface Head {
  readonly plan: string;
  readonly seed: number;
  readonly machine: Machine;
  readonly started: string;
}

export interface Run {
  readonly head: Head;
  readonly turns: readonly Turn[];
  readonly specials: readonly SpecialResult[];
}

type Entry = { head: Head } | { turn: Turn } | { special: SpecialResult } | { done: true };

export class Journal {
  readonly turns: Turn[] = [];
  readonly specials: SpecialResult[] = [];
  isResumed = false;

  private constructor(
    private readonly path: string,
    readonly head: Head,
  ) {}

  /** `fresh`: what is there is put aside even if it could be gone on with. */
  static open(path: string, head: Head, fresh: boolean): Journal {
    mkdirSync(dirname(path), { recursive: true });
    const before = fresh || !existsSync(path) ? null : read(path);
    if (before !== null && !before.done && isSame(before.head, head)) {
      const journal = new Journal(path, before.head);
      journal.turns.push(...before.turns);
      journal.specials.push(...before.specials);
      journal.isResumed = true;
      return journal;
    }
    if (existsSync(path)) renameSync(path, `${path}.old`);
    writeFileSync(path, `${JSON.stringify({ head })}\n`);
    return new Journal(path, head);
  }

  addTurn(turn: Turn): void {
    this.turns.push(turn);
    this.append({ turn });
  }

  addSpecial(special: SpecialResult): void {
    this.specials.push(special);
    this.append({ special });
  }

  /** Nothing is left to do: the next run is a new one. */
  finish(): void {
    this.append({ done: true });
  }

  private append(entry: Entry): void {
    appendFileSync(this.path, `${JSON.stringify(entry)}\n`);
  }
}

/** All but the time of day. */
function isSame(a: Head, b: Head): boolean {
  return JSON.stringify({ ...a, started: '' }) === JSON.stringify({ ...b, started: '' });
}

function read(path: string): (Run & { done: boolean }) | null {
  let head: Head | null = null;
  let done = false;
  const turns: Turn[] = [];
  const specials: SpecialResult[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    let entry: Entry;
    try {
      entry = JSON.parse(line) as Entry; // written by append()
    } catch {
      continue; // the last line of a run that was killed while writing, or the empty one
    }
    if ('head' in entry) head = entry.head;
    else if ('turn' in entry) turns.push(entry.turn);
    else if ('special' in entry) specials.push(entry.special);
    else done = true;
  }
  return head === null ? null : { head, turns, specials, done };
}
