/** How the last change was answered: said once, aloud too, and there until it is put away. */
import type { ReactNode } from 'react';
import type { Code } from '../../domain/errors.js';

export interface Notice {
  /** Null: it was done. LOST: nobody knows. */
  readonly code: Code | 'LOST' | null;
  /** The server's own where there is a code of its. */
  readonly sentence: string;
}

export function Notices(props: { readonly notice: Notice | null; onClose(): void }): ReactNode {
  const { notice, onClose } = props;
  const isRefused = notice !== null && notice.code !== null;
  return (
    <div className="notices">
      {/* both are there from the start: what appears with its text is not read by all */}
      <div role="status" aria-label="Last change">
        {notice !== null && !isRefused ? notice.sentence : ''}
      </div>
      <div role="alert" aria-label="Refused change">
        {isRefused ? (
          <>
            <strong>{notice.code}</strong> {notice.sentence}
          </>
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
