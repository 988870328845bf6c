/**
 * What is asked before something is lost, and forms that need a place of their own. The browser's
 * own modal dialog keeps the focus, and gives it back.
 */
import { type ReactNode, useId, useLayoutEffect, useRef } from 'react';

interface DialogProps {
  readonly title: string;
  readonly children: ReactNode;
  onClose(): void;
}

export function Dialog({ title, children, onClose }: DialogProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // before it leaves the document: a dialog that is gone gives no focus back
  useLayoutEffect(() => {
    const { current } = dialog;
    current?.showModal();
    return () => current?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface Confirmation {
  readonly title: string;
  /** What is lost. */
  readonly loses: string;
  /** On the button. */
  readonly verb: string;
  perform(): void;
}

export function Confirm(props: {
  readonly confirmation: Confirmation;
  onClose(): void;
}): ReactNode {
  const { confirmation, onClose } = props;
  return (
    <Dialog title={confirmation.title} onClose={onClose}>
      <p>{confirmation.loses}</p>
      <div className="buttons">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          className="danger"
          onClick={() => {
            onClose();
            confirmation.perform();
          }}
        >
          {confirmation.verb}
        </button>
      </div>
    </Dialog>
  );
}
