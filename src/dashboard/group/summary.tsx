/** The sums of a group, and of when they are. */
import type { ReactNode } from 'react';
import { useDesk } from '../desk.js';
import type { GroupReading, KnownGroup } from '../link/group.js';
import * as numbers from '../parts/numbers.js';
import { type Sum, Sums } from '../parts/sums.js';

function figuresOf({ status, asked }: GroupReading, away: KnownGroup['away']): Sum[] {
  const { members, subscribers, unserved, free_shards, unowned, moving, revision } = status;
  const draining = members.filter(({ is_draining }) => is_draining).length;
  return [
    {
      title: 'Members',
      unit: '',
      value: numbers.count(members.length),
      ...(draining === 0 ? {} : { note: `${draining} draining` }),
    },
    { title: 'Subscribers', unit: '', value: numbers.count(subscribers) },
    {
      title: 'Not served',
      unit: 'by their member',
      value: numbers.count(unserved),
      isAlarm: unserved > 0,
    },
    {
      title: 'Of no member',
      unit: 'subscribers',
      value: numbers.count(unowned),
      isAlarm: unowned > 0,
      ...(free_shards === 0 ? {} : { note: `in ${free_shards} of 256 shards` }),
    },
    { title: 'On their way', unit: 'shards', value: numbers.count(moving) },
    {
      title: 'etcd',
      unit: `revision ${revision}`,
      value: away === null ? 'reached' : 'away',
      isAlarm: away !== null,
      note: `read at ${numbers.moment(asked.at_ms)}`,
    },
  ];
}

export function GroupSummary({ reading }: { readonly reading: GroupReading }): ReactNode {
  const { away } = useDesk().known.group;
  return (
    <section aria-label="Summary" className="summary">
      <Sums sums={figuresOf(reading, away)} />
    </section>
  );
}
