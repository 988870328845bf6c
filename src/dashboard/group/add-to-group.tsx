/** Subscribes somebody in the group, or changes what who is subscribed gets. */
import { type ReactNode, useState } from 'react';
import { useDesk } from '../desk.js';
import { AddForm, askedOf } from '../forms/add-form.js';
import { Field } from '../parts/field.js';

const EMPTY = { ip: '', port: '', feeds: '', filter: '', param: '' };

export function AddToGroup(): ReactNode {
  const { change } = useDesk();
  const [words, setWords] = useState(EMPTY);
  const setAs = (name: keyof typeof EMPTY) => (value: string) =>
    setWords((before) => ({ ...before, [name]: value }));
  const set = (name: keyof typeof EMPTY) => (value: string) => setAs(name)(value.trim());
  const { filter, param } = words;
  const name = `${words.ip}:${words.port}`;
  const add = async () => {
    const chosen = filter === '' ? {} : { filter };
    const parameter = param === '' ? {} : { param };
    const isDone = await change(
      { op: 'fleet.add', ...askedOf(words), ...chosen, ...parameter },
      ({ existing }) =>
        existing
          ? `${name} was there already, and has what is asked for now.`
          : `${name} is added; whoever has its shard serves it.`,
    );
    if (isDone) setWords(EMPTY);
  };
  return (
    <AddForm words={words} set={set} onAdd={() => void add()}>
      <Field label="Filter" value={filter} hint="default" size={10} onChange={set('filter')} />
      <Field
        label="Parameter"
        value={param}
        hint="text, or hex:4d4f"
        size={14}
        onChange={setAs('param')}
      />
    </AddForm>
  );
}
