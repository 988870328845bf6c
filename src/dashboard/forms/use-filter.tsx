/** Chooses the filter that answers for one subscriber, or for all and those to come. */
import { type ReactNode, useId, useState } from 'react';
import { BUILT_IN } from '../../domain/filter.js';
import { useDesk } from '../desk.js';
import { Dialog } from '../parts/dialogs.js';
import { Field } from '../parts/field.js';
import type { View } from '../view.js';

const FOR_ALL: Readonly<Record<View, string>> = {
  member: 'Whatever filter each has, and its parameter, is replaced; new ones get this one too.',
  group:
    'The default, and its parameter, is replaced: each that names no filter of its own has it.',
};

/** Those that may be chosen. */
function useFilterNames(): readonly string[] {
  const { known, scope } = useDesk();
  if (scope === 'member')
    return known.filters.filter(({ status }) => status === 'ready').map(({ name }) => name);
  const loaded = known.group.reading?.status.filters ?? [];
  return [BUILT_IN, ...loaded.map(({ name }) => name)];
}

export function UseFilter(props: {
  /** ip:port; null: all. */
  readonly subscriber: string | null;
  /** The one to begin with; undefined: the first. */
  readonly filter: string | undefined;
  onClose(): void;
}): ReactNode {
  const { scope, canChange, change } = useDesk();
  const { subscriber, onClose } = props;
  const id = useId();
  const names = useFilterNames();
  const isOfGroup = scope === 'group';
  const [name, setName] = useState(names.find((each) => each === props.filter) ?? names[0] ?? '');
  const [param, setParam] = useState('');
  const all = isOfGroup ? 'subscribers that name no filter' : 'all subscribers';
  const whom = subscriber ?? all;
  const use = () => {
    const [ip = '', port = ''] = subscriber?.split(':') ?? [];
    const to = subscriber === null ? {} : { ip, port: Number(port) };
    const given = param === '' ? {} : { param };
    onClose();
    void change<'filter.use' | 'fleet.filter.use'>(
      { op: isOfGroup ? 'fleet.filter.use' : 'filter.use', name, ...to, ...given },
      () => `${name} answers for ${whom}.`,
    );
  };
  return (
    <Dialog title={`Filter of ${whom}`} onClose={onClose}>
      <form
        className="stacked"
        onSubmit={(event) => {
          event.preventDefault();
          use();
        }}
      >
        <p>
          {subscriber === null
            ? FOR_ALL[scope]
            : 'The filter that it has, and its parameter, is replaced.'}
        </p>
        <span className="field">
          <label htmlFor={id}>Filter</label>
          <select id={id} value={name} onChange={({ target }) => setName(target.value)}>
            {names.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </span>
        <Field
          label="Parameter"
          value={param}
          hint="text, or hex:4d4f"
          size={24}
          onChange={setParam}
        />
        <div className="buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="main" disabled={!canChange}>
            Use it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
