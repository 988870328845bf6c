/** Asks for the token, and says why the last one was not taken. */
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';

export function TokenForm(): ReactNode {
  const { known, link } = useDesk();
  const [word, setWord] = useState('');
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector('input')?.focus(), []);
  return (
    <form
      ref={form}
      className="token"
      aria-label="Token"
      onSubmit={(event) => {
        event.preventDefault();
        link.show(word.trim());
      }}
    >
      <p>
        This replicator asks for a token: what is in the file of its <code>--token-file</code>, or
        of <code>--read-token-file</code>. It is kept in this tab until the tab is closed or the
        token forgotten, and shown again with each new connection
        {location.protocol === 'https:' ? '.' : ', to whoever listens on that port then.'}
      </p>
      {known.refusal === null ? null : (
        <p role="alert">
          <strong>{known.refusal.code}</strong> {known.refusal.message}
        </p>
      )}
      <Field label="Token" type="password" value={word} size={34} isRequired onChange={setWord} />
      <button type="submit" className="main">
        Show token
      </button>
    </form>
  );
}
