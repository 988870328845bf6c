/** Has a member end, once others serve what it has. */
import type { ReactNode } from 'react';
import { counted } from '../../domain/counts.js';
import type { FleetMemberRow } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import { RowButton } from '../parts/row-button.js';

interface Drained {
  readonly row: FleetMemberRow;
  /** The one whose page this is. */
  readonly isThis: boolean;
  /** Who take their feed from it. */
  readonly relays: readonly string[];
  /** How many others may take what it serves. */
  readonly heirs: number;
}

/** What will happen. */
function outcomeOf({ row, isThis, relays, heirs }: Drained): string {
  const { member, subscribers } = row;
  if (relays.length > 0)
    return `${relays.join(', ')} would have no feed: it comes from ${member}. So this will be refused; drain or stop those first.`;
  const what = counted(subscribers, 'subscriber');
  if (heirs === 0)
    return `No other member can take over its ${what}: it goes on serving them until one can, and ends then.`;
  const page = isThis ? ' This page is its own, and goes with it.' : '';
  return (
    `Its ${what} go to ${counted(heirs, 'other member')}, and are served there before it stops: nobody misses a packet, ` +
    `and some may come twice meanwhile. Then the process of ${member} ends, and stays so until somebody starts it.${page}`
  );
}

export function DrainMember(props: Drained & { readonly isActive: boolean }): ReactNode {
  const { row, isActive } = props;
  const { canChange, change, confirm } = useDesk();
  const { member } = row;
  return (
    <RowButton
      verb="Drain"
      name={member}
      isActive={isActive}
      isDisabled={!canChange || row.is_draining}
      onClick={() =>
        confirm({
          title: `Drain ${member}?`,
          loses: outcomeOf(props),
          verb: 'Drain',
          perform: () =>
            void change(
              { op: 'fleet.drain', member },
              () => `${member} drains: it ends once others serve what it has.`,
            ),
        })
      }
    />
  );
}
