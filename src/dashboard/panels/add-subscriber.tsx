/** Subscribes somebody, or changes the feeds of who is subscribed. */
import { type ReactNode, useState } from 'react';
import { endpointText } from '../../domain/endpoint.js';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';
import type { Notice } from '../parts/notices.js';

const NO_SESSION: Notice = {
  code: 'BAD_REQUEST',
  sentence: 'a lease on the connection of this page would end with it; give seconds, or nothing',
};
const EMPTY = { ip: '', port: '', feeds: '', lease: '' };

export function AddSubscriber(): ReactNode {
  const { known, canChange, change, tell, confirm } = useDesk();
  const [words, setWords] = useState(EMPTY);
  const set = (name: keyof typeof EMPTY) => (value: string) =>
    setWords((before) => ({ ...before, [name]: value.trim() }));
  const { ip, port, feeds, lease } = words;
  const name = `${ip}:${port}`;
  const add = async () => {
    const question = {
      op: 'add' as const,
      ip,
      port: numberOf(port),
      ...(feeds === '' ? {} : { feeds: feeds.split(',').map((each) => each.trim()) }),
      ...(lease === '' ? {} : { lease: numberOf(lease) }),
    };
    const isDone = await change(question, ({ existing }) =>
      existing ? `${name} was there already, and has what is asked for now.` : `${name} is added.`,
    );
    if (isDone) setWords(EMPTY);
  };
  const addOrAsk = () => {
    if (lease === 'session') return tell(NO_SESSION);
    const row = known.interval?.now.subscribers.find((each) => endpointText(each) === name);
    const left = row?.expires_s ?? null;
    if (lease !== '' || left === null) return void add();
    const whose =
      left === 'session'
        ? 'a lease of the connection that added it'
        : `${left} s left of its lease`;
    confirm({
      title: `Keep ${name} for ever?`,
      loses: `It has ${whose}. Added without one, it stays until somebody removes it.`,
      verb: 'Keep',
      perform: () => void add(),
    });
  };
  return (
    <form
      aria-label="Add a subscriber"
      onSubmit={(event) => {
        event.preventDefault();
        addOrAsk();
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
  /^\d+(\.\d+)?$/.test(word) ? Number(word) : (word as never);
