/** The group that this replicator is a member of, as it stands in etcd. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import { Changes } from '../panels/changes.js';
import { GroupFaults } from './faults.js';
import { GroupFeeds } from './feeds.js';
import { GroupFilters } from './filters.js';
import { Members } from './members.js';
import { GroupSubscribers } from './subscribers.js';
import { GroupSummary } from './summary.js';

export function Group(): ReactNode {
  const { reading, refusal, away } = useDesk().known.group;
  const alert = refusal === null || away !== null ? null : <p role="alert">{refusal}</p>;
  if (reading === null)
    return (
      <section aria-label="Summary" className="summary">
        {alert ?? (
          <p className="none">
            {away === null
              ? 'Reading the group in etcd…'
              : 'Nothing of the group was read yet: that is done as soon as etcd is reached.'}
          </p>
        )}
      </section>
    );
  return (
    <>
      {alert}
      <GroupSummary reading={reading} />
      <div className="panels">
        <Members reading={reading} />
        <GroupSubscribers reading={reading} />
        <GroupFeeds reading={reading} />
        <GroupFilters reading={reading} />
        <GroupFaults reading={reading} />
        <Changes />
      </div>
    </>
  );
}
