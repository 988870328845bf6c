/** Subscribes somebody, or changes the feeds of who is subscribed. */
import { type ReactNode, useState } from 'react';
import { endpointText } from '../../domain/endpoint.js';
import { useDesk } from '../desk.js';
import { AddForm, askedOf, numberOf } from '../forms/add-form.js';
import { Field } from '../parts/field.js';
import type { Notice } from '../parts/notices.js';

const NO_SESSION: Notice = {
  code: 'BAD_REQUEST',
  sentence: 'a lease on the connection of this page would end with it; give seconds, or nothing',
};
const EMPTY = { ip: '', port: '', feeds: '', lease: '' };

export function AddSubscriber(): ReactNode {
  const { known, change, tell, confirm } = useDesk();
  const [words, setWords] = useState(EMPTY);
  const set = (name: keyof typeof EMPTY) => (value: string) =>
    setWords((before) => ({ ...before, [name]: value.trim() }));
  const { lease } = words;
  const name = `${words.ip}:${words.port}`;
  const add = async () => {
    const kept = lease === '' ? {} : { lease: numberOf(lease) };
    const isDone = await change({ op: 'add', ...askedOf(words), ...kept }, ({ existing }) =>
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
    <AddForm words={words} set={set} onAdd={addOrAsk}>
      <Field
        label="Lease, s"
        value={words.lease}
        hint="for ever"
        size={7}
        isNumeric
        onChange={set('lease')}
      />
    </AddForm>
  );
}
