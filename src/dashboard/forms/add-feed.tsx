/** Has another feed received, by this replicator or by all members of its group. */
import { type ReactNode, useState } from 'react';
import { feedAddressOf } from '../../domain/feed.js';
import { useDesk } from '../desk.js';
import { Field } from '../parts/field.js';

export function AddFeed(): ReactNode {
  const { scope, canChange, change } = useDesk();
  const [name, setName] = useState('');
  const [address, setAddress] = useState('');
  const isOfGroup = scope === 'group';
  const add = async () => {
    // what is no address is sent as it is: the server says what is wrong with it
    const { source = null, ...to } = feedAddressOf(address) ?? { ip: address, port: 0 };
    const from = source === null ? {} : { source };
    const wasThere = isOfGroup ? 'was there, and is this one now' : 'was there already';
    const isDone = await change<'feed.add' | 'fleet.feed.add'>(
      { op: isOfGroup ? 'fleet.feed.add' : 'feed.add', name, ...to, ...from },
      ({ existing }) => (existing ? `Feed ${name} ${wasThere}.` : `Feed ${name} is added.`),
    );
    if (!isDone) return;
    setName('');
    setAddress('');
  };
  return (
    <form
      aria-label="Add a feed"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <Field label="Name" value={name} hint="b" size={8} isRequired onChange={setName} />
      <Field
        label="Address"
        value={address}
        hint="239.1.1.1:5000@10.0.0.9"
        size={22}
        isRequired
        onChange={(value) => setAddress(value.trim())}
      />
      <button type="submit" className="main" disabled={!canChange}>
        Add feed
      </button>
    </form>
  );
}
