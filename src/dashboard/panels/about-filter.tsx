/** What `filter info` tells of one. */
import { type ReactNode, useEffect, useState } from 'react';
import type { FilterInfo } from '../../domain/statistics.js';
import { useDesk } from '../desk.js';
import { Dialog } from '../parts/dialogs.js';
import * as numbers from '../parts/numbers.js';

export function AboutFilter(props: { readonly name: string; onClose(): void }): ReactNode {
  const { name, onClose } = props;
  const { link } = useDesk();
  const [told, setTold] = useState<FilterInfo | string | null>(null);
  useEffect(() => {
    link
      .ask({ op: 'filter.info', name })
      .then(({ filter }) => setTold(filter))
      .catch((thrown: Error) => setTold(thrown.message));
  }, [link, name]);
  return (
    <Dialog title={`Filter ${name}`} onClose={onClose}>
      {told === null ? <p>Asking…</p> : null}
      {typeof told === 'string' ? <p role="alert">{told}</p> : null}
      {told !== null && typeof told !== 'string' ? <Facts filter={told} /> : null}
      <div className="buttons">
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function Facts({ filter }: { readonly filter: FilterInfo }): ReactNode {
  const { verdicts, faults, rollback } = filter;
  const rows: readonly (readonly [string, ReactNode])[] = [
    ['SHA-256', <code key="hash">{filter.hash}</code>],
    ['Size, bytes', numbers.count(filter.size)],
    ['ABI', filter.abi],
    ['Keeps state', filter.state ? 'yes' : 'no'],
    ['Cost, ns a copy', filter.cost_ns === null ? numbers.NONE : filter.cost_ns.toFixed(1)],
    ['Bursts', numbers.count(filter.calls)],
    ['Copies judged', numbers.count(filter.jobs)],
    ['Sent', numbers.count(verdicts.send)],
    ['Dropped', numbers.count(verdicts.drop)],
    ['Traps', numbers.count(faults.trap)],
    ['Bad answers', numbers.count(faults.bad_answer)],
    ['Too big', numbers.count(faults.too_big)],
    ...(rollback === null
      ? []
      : [['Rolled back', `${numbers.moment(rollback.at_ms)}: ${rollback.reason}`] as const]),
  ];
  return (
    <dl>
      {rows.map(([title, value]) => (
        <div key={title}>
          <dt>{title}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
