/** What the parts of the page have in common: what is known, and how something is changed. */
import { createContext, useContext } from 'react';
import type { Question } from '../control/operations.js';
import type { Known, Link } from './link/link.js';
import type { Confirmation } from './parts/dialogs.js';

export interface Desk {
  readonly known: Known;
  readonly link: Link;
  /** The token may. */
  readonly mayChange: boolean;
  /** And there is a connection: else what changes something is there, and out of use. */
  readonly canChange: boolean;
  /**
   * Asks for a change; the sentence says that it is done. A refusal is told as the server words it.
   * Whether it was done.
   */
  change(question: Question, done: string): Promise<boolean>;
  confirm(confirmation: Confirmation): void;
}

export const DeskContext = createContext<Desk | null>(null);

export function useDesk(): Desk {
  const desk = useContext(DeskContext);
  if (desk === null) throw new Error('a part of the page stands outside of it');
  return desk;
}
