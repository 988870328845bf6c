/** What is done to the row that it stands in; Tab reaches it in the active row alone. */
import type { ReactNode } from 'react';

export function RowButton(props: {
  readonly verb: string;
  /** Of what it is done to, for who does not see the row. */
  readonly name: string;
  readonly isActive: boolean;
  readonly isDisabled?: boolean;
  onClick(): void;
}): ReactNode {
  return (
    <button
      type="button"
      aria-label={`${props.verb} ${props.name}`}
      tabIndex={props.isActive ? 0 : -1}
      disabled={props.isDisabled === true}
      onClick={props.onClick}
    >
      {props.verb}
    </button>
  );
}
