/** Chooses the filter that answers for one subscriber, or for all and those to come. */
import { type ReactNode, useId, useState } from 'react';
import { useDesk } from '../desk.js';
import { Dialog } from '../parts/dialogs.js';
import { Field } from '../parts/field.js';

export function UseFilter(props: {
  /** ip:port; null: all. */
  readonly subscriber: string | null;
  /** The one to begin with; undefined: the first. */
  readonly filter: string | undefined;
  onClose(): void;
}): ReactNode {
  const { known, canChange, change } = useDesk();
  const { subscriber, onClose } = props;
  const id = useId();
  const names = known.filters.filter(({ status }) => status === 'ready').map(({ name }) => name);
  const [name, setName] = useState(names.find((each) => each === props.filter) ?? names[0] ?? '');
  const [param, setParam] = useState('');
  const whom = subscriber ?? 'all subscribers';
  const use = () => {
    const [ip = '', port = ''] = subscriber?.split(':') ?? [];
    const to = subscriber === null ? {} : { ip, port: Number(port) };
    const given = param === '' ? {} : { param };
    onClose();
    void change({ op: 'filter.use', name, ...to, ...given }, () => `${name} answers for ${whom}.`);
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
            ? 'Whatever filter each has, and its parameter, is replaced; new ones get this one too.'
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
