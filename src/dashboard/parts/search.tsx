/** Which rows of a table are shown: those that have these words. */
import type { ReactNode } from 'react';

export function Search(props: {
  readonly pattern: string;
  onChange(pattern: string): void;
}): ReactNode {
  return (
    <input
      type="search"
      aria-label="Show subscribers with"
      placeholder="Find…"
      value={props.pattern}
      onChange={({ target }) => props.onChange(target.value)}
    />
  );
}
