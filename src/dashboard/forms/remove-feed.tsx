/** Has a feed received no more, by this replicator or by any member of its group. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import { RowButton } from '../parts/row-button.js';

export function RemoveFeed(props: {
  readonly name: string;
  /** How many have it. */
  readonly subscribers: number;
  readonly isActive: boolean;
}): ReactNode {
  const { name, subscribers, isActive } = props;
  const { scope, canChange, change, confirm } = useDesk();
  const isOfGroup = scope === 'group';
  const remove = () =>
    change<'feed.remove' | 'fleet.feed.remove'>(
      { op: isOfGroup ? 'fleet.feed.remove' : 'feed.remove', name },
      ({ removed }) =>
        removed ? `Feed ${name} is removed.` : `Feed ${name} was not there any more.`,
    );
  const received = isOfGroup
    ? 'No member receives its packets any more'
    : 'Its packets are received no more';
  return (
    <RowButton
      verb="Remove"
      name={`feed ${name}`}
      isActive={isActive}
      isDisabled={!canChange}
      onClick={() =>
        confirm({
          title: `Remove feed ${name}?`,
          loses: `${received}; ${subscribers} subscribers get them now.`,
          verb: 'Remove',
          perform: () => void remove(),
        })
      }
    />
  );
}
