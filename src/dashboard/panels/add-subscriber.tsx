/** Subscribes somebody, or changes the feeds of who is subscribed. */
import { type ReactNode, useState } from 'react';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';

const EMPTY = { ip: '', port: '', feeds: '', lease: '' };

export function AddSubscriber(): ReactNode {
  const { canChange, change } = useDesk();
  const [words, setWords] = useState(EMPTY);
  const set = (name: keyof typeof EMPTY) => (value: string) =>
    setWords((before) => ({ ...before, [name]: value.trim() }));
  const add = async () => {
    const { ip, port, feeds, lease } = words;
    const question = {
      op: 'add' as const,
      ip,
      port: numberOf(port),
      ...(feeds === '' ? {} : { feeds: feeds.split(',') }),
      ...(lease === '' ? {} : { lease: numberOf(lease) }),
    };
    if (await change(question, `${ip}:${port} is added.`)) setWords(EMPTY);
  };
  return (
    <form
      aria-label="Add a subscriber"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
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
      <Field
        label="Lease, s"
        value={words.lease}
        hint="for ever"
        size={7}
        isNumeric
        onChange={set('lease')}
      />
      <button type="submit" className="main" disabled={!canChange}>
        Add subscriber
      </button>
    </form>
  );
}

/** What is no number is left for the server to say so; its types know numbers alone. */
const numberOf = (word: string): number =>
  /^[0-9.]+$/.test(word) ? Number(word) : (word as never);
