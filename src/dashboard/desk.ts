/** What the parts of the page have in common: what is known, and how something is changed. */
import { createContext, useContext } from 'react';
import type { Answer, Op, Question } from '../control/operations.js';
import type { FleetRow } from '../domain/fleet.js';
import type { Known, Link } from './link/link.js';
import type { Confirmation } from './parts/dialogs.js';
import type { Notice } from './parts/notices.js';
import type { View } from './view.js';

export interface Desk {
  readonly known: Known;
  readonly link: Link;
  /** As a member of a group; null: it is of none. */
  readonly fleet: FleetRow | null;
  /** What is shown, and changed: this replicator, or the group. */
  readonly scope: View;
  /** The token may, and it is changed here: what a member serves is changed for its group. */
  readonly mayChange: boolean;
  /**
   * And there is a connection, for the group that of its member to etcd too: else what changes
   * something is there, and out of use.
   */
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
