/** Sends a subscriber, with all of its shard, to another member, or back to whose it is. */
import { type ReactNode, useId, useState } from 'react';
import { counted } from '../../domain/counts.js';
import type { FleetStatus } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import { Dialog } from '../parts/dialogs.js';
import type { GroupSubscriber } from './rows.js';

/** No member has that name. */
const BY_WEIGHT = '';

export function MoveSubscriber(props: {
  readonly subscriber: GroupSubscriber;
  readonly status: FleetStatus;
  onClose(): void;
}): ReactNode {
  const { canChange, change } = useDesk();
  const { subscriber, status, onClose } = props;
  const { name, row, isMoved } = subscriber;
  const id = useId();
  const names = status.members.map(({ member }) => member);
  const others = names.filter((member) => member !== row.member);
  const [member, setMember] = useState(others[0] ?? BY_WEIGHT);
  const move = () => {
    const to = member === BY_WEIGHT ? {} : { member };
    const whom = member === BY_WEIGHT ? 'the member whose it is by weight' : member;
    onClose();
    void change(
      { op: 'fleet.move', ip: row.ip, port: row.port, ...to },
      ({ shard, subscribers }) => {
        return `Shard ${shard}, with ${counted(subscribers, 'subscriber')}, goes to ${whom}.`;
      },
    );
  };
  return (
    <Dialog title={`Move ${name}`} onClose={onClose}>
      <form
        className="stacked"
        onSubmit={(event) => {
          event.preventDefault();
          move();
        }}
      >
        <p>
          All subscribers of shard {row.shard} go with it, and stay there until they are moved
          again. Nobody misses a packet; some may come twice meanwhile.
        </p>
        <span className="field">
          <label htmlFor={id}>To</label>
          <select id={id} value={member} onChange={({ target }) => setMember(target.value)}>
            {others.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
            <option value={BY_WEIGHT}>
              {isMoved ? 'whose it is by weight' : 'whose it is by weight (as now)'}
            </option>
          </select>
        </span>
        <div className="buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="main" disabled={!canChange}>
            Move it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
