/** What is measured beside the rounds: the type of it, and what all of them share. */
import type { Field } from './measure.js';
import type { Sizes } from './plan.js';

/** Bytes of payload of every one of them. */
export const SIZE = 200;

export interface SpecialResult {
  readonly special: string;
  /** What it is, for people. */
  readonly title: string;
  readonly round: number;
  readonly command: string;
  readonly mode: string;
  readonly values: Readonly<Record<string, number>>;
}

export interface Special {
  readonly id: string;
  readonly title: string;
  readonly rounds: number;
  run(field: Field, sizes: Sizes): Promise<Pick<SpecialResult, 'command' | 'mode' | 'values'>>;
}
