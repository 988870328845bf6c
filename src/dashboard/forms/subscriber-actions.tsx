/** What is done to one subscriber, of this replicator or of the group that it is a member of. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import { RowButton } from '../parts/row-button.js';

export function SubscriberActions(props: {
  /** ip:port. */
  readonly name: string;
  readonly ip: string;
  readonly port: number;
  readonly isPaused: boolean;
  readonly isActive: boolean;
  onFilter(name: string): void;
  /** Absent: there is nowhere to move it to. */
  onMove?(name: string): void;
}): ReactNode {
  const { name, ip, port, isPaused, isActive, onFilter, onMove } = props;
  const { scope, canChange, change, confirm } = useDesk();
  const how = { name, isActive, isDisabled: !canChange };
  const isOfGroup = scope === 'group';
  const pause = () =>
    change<'pause' | 'fleet.pause'>(
      { op: isOfGroup ? 'fleet.pause' : 'pause', ip, port },
      ({ changed }) => (changed ? `${name} is paused.` : `${name} was paused already.`),
    );
  const resume = () =>
    change<'resume' | 'fleet.resume'>(
      { op: isOfGroup ? 'fleet.resume' : 'resume', ip, port },
      ({ changed }) => (changed ? `${name} is sent to again.` : `${name} was not paused.`),
    );
  const remove = () =>
    change<'remove' | 'fleet.remove'>(
      { op: isOfGroup ? 'fleet.remove' : 'remove', ip, port },
      ({ removed }) => (removed ? `${name} is removed.` : `${name} was not there any more.`),
    );
  const askPause = () =>
    confirm({
      title: `Pause ${name}?`,
      loses: 'It is owed nothing until it is resumed: those packets it never gets.',
      verb: 'Pause',
      perform: () => void pause(),
    });
  const askRemove = () =>
    confirm({
      title: `Remove ${name}?`,
      loses: isOfGroup
        ? 'No member sends to it from then on; its feeds, filter and parameter go.'
        : 'It gets no packet from then on; its filter, feeds and counters go.',
      verb: 'Remove',
      perform: () => void remove(),
    });
  return (
    <span className="actions">
      <RowButton
        verb={isPaused ? 'Resume' : 'Pause'}
        {...how}
        onClick={() => (isPaused ? void resume() : askPause())}
      />
      <RowButton verb="Filter" {...how} onClick={() => onFilter(name)} />
      {onMove === undefined ? null : (
        <RowButton verb="Move" {...how} onClick={() => onMove(name)} />
      )}
      <RowButton verb="Remove" {...how} onClick={askRemove} />
    </span>
  );
}
