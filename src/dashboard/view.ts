/**
 * What of a member of a group is shown: itself, or the group. It stands in the address, so that it
 * can be linked to, lasts over a reload, and is gone back from.
 */
import { useSyncExternalStore } from 'react';

export type View = 'member' | 'group';

export const addressOf = (view: View): string => `#${view}`;

const current = (): View => (location.hash === addressOf('group') ? 'group' : 'member');

function follow(listener: () => void): () => void {
  addEventListener('hashchange', listener);
  return () => removeEventListener('hashchange', listener);
}

export const useView = (): View => useSyncExternalStore(follow, current);
