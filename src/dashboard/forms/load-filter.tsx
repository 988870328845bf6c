/** Has a .wasm file of the operator's checked and loaded. */
import { type ReactNode, useId, useRef, useState } from 'react';
import { MODULE_SIZE_MAX } from '../../domain/filter.js';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';
import type { Notice } from '../parts/notices.js';

/** `names`: of those that are loaded. */
export function LoadFilter({ names }: { readonly names: readonly string[] }): ReactNode {
  const { scope, canChange, change, tell, confirm } = useDesk();
  const id = useId();
  const [name, setName] = useState('');
  const file = useRef<HTMLInputElement>(null);
  const load = async () => {
    const chosen = file.current?.files?.[0];
    if (chosen === undefined) return;
    const read = await readModule(chosen);
    if ('code' in read) return tell(read);
    const { module } = read;
    const isDone =
      scope === 'group'
        ? await change(
            { op: 'fleet.filter.load', name, module },
            ({ sha256 }) =>
              `${name} is loaded. It runs where its hash is allowed: --fleet-allow-module ${sha256}`,
          )
        : await change({ op: 'filter.load', name, module }, () => `${name} is loaded.`);
    if (!isDone) return;
    setName('');
    if (file.current !== null) file.current.value = '';
  };
  return (
    <form
      aria-label="Load a filter"
      onSubmit={(event) => {
        event.preventDefault();
        if (!names.includes(name)) return void load();
        confirm({
          title: `Replace ${name}?`,
          loses: 'Who has it gets the new module with the next packet; the old one is forgotten.',
          verb: 'Replace',
          perform: () => void load(),
        });
      }}
    >
      <Field label="Name" value={name} hint="mine" size={8} isRequired onChange={setName} />
      <span className="field">
        <label htmlFor={id}>Module</label>
        <input id={id} ref={file} type="file" accept=".wasm,application/wasm" required />
      </span>
      <button type="submit" className="main" disabled={!canChange}>
        Load filter
      </button>
    </form>
  );
}

/** In base64, or why not: one that is too large is not even read. */
async function readModule(file: File): Promise<{ readonly module: string } | Notice> {
  const { name, size } = file;
  if (size > MODULE_SIZE_MAX)
    return {
      code: 'TOO_LARGE',
      sentence: `${name} has ${size} bytes; a module has up to ${MODULE_SIZE_MAX}`,
    };
  try {
    return { module: base64Of(new Uint8Array(await file.arrayBuffer())) };
  } catch (thrown) {
    if (!(thrown instanceof DOMException)) throw thrown;
    return { code: 'UNREADABLE', sentence: `the browser cannot read ${name}: ${thrown.message}` };
  }
}

function base64Of(bytes: Uint8Array): string {
  let text = '';
  // as many arguments as a call surely takes
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
