/** What the parts of the page have in common: what is known, and how something is changed. */
import { createContext, useContext } from 'react';
import type { Answer, Op, Question } from '../control/operations.js';
import type { Known, Link } from './link/link.js';
import type { Confirmation } from './parts/dialogs.js';
import type { Notice } from './parts/notices.js';

export interface Desk {
  readonly known: Known;
  readonly link: Link;
  /** The token may. */
  readonly mayChange: boolean;
  /** And there is a connection: else what changes something is there, and out of use. */
  readonly canChange: boolean;
  /**
   * Asks for a change; the sentence says what was done, by the answer. A refusal is told as the
   * server words it. Whether it was done.
   */
  change<Name extends Op>(
    question: Question<Name>,
    done: (answer: Answer<Name>) => string,
  ): Promise<boolean>;
  /** Tells of what is not even asked for. */
  tell(notice: Notice): void;
  confirm(confirmation: Confirmation): void;
}

export const DeskContext = createContext<Desk | null>(null);

export function useDesk(): Desk {
  const desk = useContext(DeskContext);
  if (desk === null) throw new Error('a part of the page stands outside of it');
  return desk;
}
