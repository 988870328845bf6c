/** How the last change was answered: said once, aloud too, and there until it is put away. */
import type { ReactNode } from 'react';
import type { Code } from '../../domain/errors.js';

export interface Notice {
  /** Null: it was done. LOST: nobody knows. UNREADABLE: a file of the operator's. */
  readonly code: Code | 'LOST' | 'UNREADABLE' | null;
  /** The server's own where there is a code of its. */
  readonly sentence: string;
}

export function Notices(props: {
  readonly notice: Notice | null;
  /** Another one with each notice: what is put in anew is read aloud, though it says the same. */
  readonly turn: number;
  onClose(): void;
}): ReactNode {
  const { notice, turn, onClose } = props;
  const isRefused = notice !== null && notice.code !== null;
  return (
    <div className="notices">
      {/* both are there from the start: what appears with its text is not read by all */}
      <div role="status" aria-label="Last change">
        {notice !== null && !isRefused ? <span key={turn}>{notice.sentence}</span> : ''}
      </div>
      <div role="alert" aria-label="Refused change">
        {isRefused ? (
          <span key={turn}>
            <strong>{notice.code}</strong> {notice.sentence}
          </span>
        ) : (
          ''
        )}
      </div>
      {notice === null ? null : (
        <button type="button" onClick={onClose} aria-label="Put this message away">
          ✕
        </button>
      )}
    </div>
  );
}
