/** Figures in large, beside each other. */
import type { ReactNode } from 'react';

export interface Sum {
  readonly title: string;
  readonly unit: string;
  readonly value: string;
  readonly note?: string;
  readonly isAlarm?: boolean;
}

export function Sums({ sums }: { readonly sums: readonly Sum[] }): ReactNode {
  return (
    <dl className="sums">
      {sums.map(({ title, unit, value, note, isAlarm }) => (
        <div key={`${title} ${unit}`} className={isAlarm ? 'sum alarm' : 'sum'}>
          <dt>
            {title} <small>{unit}</small>
          </dt>
          <dd>
            {value}
            {note === undefined ? null : <small> {note}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
