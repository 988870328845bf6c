/** Who is subscribed to what: the words of it that are the same for a replicator and for a group. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';

export interface AddWords {
  readonly ip: string;
  readonly port: string;
  readonly feeds: string;
}

export function AddForm(props: {
  readonly words: AddWords;
  set(name: keyof AddWords): (value: string) => void;
  onAdd(): void;
  /** Fields behind those. */
  readonly children: ReactNode;
}): ReactNode {
  const { words, set, onAdd, children } = props;
  const { canChange } = useDesk();
  return (
    <form
      aria-label="Add a subscriber"
      onSubmit={(event) => {
        event.preventDefault();
        onAdd();
      }}
    >
      <Field
        label="IP"
        value={words.ip}
        hint="10.0.0.34"
        size={13}
        isRequired
        onChange={set('ip')}
      />
      <Field
        label="Port"
        value={words.port}
        hint="9001"
        size={5}
        isRequired
        isNumeric
        onChange={set('port')}
      />
      <Field label="Feeds" value={words.feeds} hint="main" size={10} onChange={set('feeds')} />
      {children}
      <button type="submit" className="main" disabled={!canChange}>
        Add subscriber
      </button>
    </form>
  );
}

/** As operations take them: feeds that are not named are left as they are, or begin with main. */
export function askedOf({ ip, port, feeds }: AddWords) {
  const chosen = feeds === '' ? {} : { feeds: feeds.split(',').map((each) => each.trim()) };
  return { ip, port: numberOf(port), ...chosen };
}

/** What is no number is left for the server to say so; its types know numbers alone. */
export const numberOf = (word: string): number =>
  /^\d+(\.\d+)?$/.test(word) ? Number(word) : (word as never);
