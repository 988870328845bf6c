/** Where a member of a group has no form of its own: what it serves is the group's affair. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import { addressOf } from '../view.js';

export function OfGroup({ what }: { readonly what: string }): ReactNode {
  const { known, fleet, scope } = useDesk();
  if (fleet === null || scope === 'group' || known.rights !== 'all') return null;
  return (
    <p className="none">
      {what} are the group's: <a href={addressOf('group')}>change them there</a>, and each member
      follows.
    </p>
  );
}
