/** A part of the page with a heading, which is a landmark by that name. */
import { type ReactNode, useId } from 'react';

export function Panel(props: {
  readonly title: string;
  /** How many there are. */
  readonly counted?: string;
  readonly aside?: ReactNode;
  readonly children: ReactNode;
}): ReactNode {
  const id = useId();
  const { title, counted, aside, children } = props;
  return (
    <section aria-labelledby={id} className={`panel ${title.toLowerCase()}`}>
      <header>
        <h2 id={id}>{title}</h2>
        {counted === undefined ? null : <span className="counted">{counted}</span>}
        {aside === undefined ? null : <div className="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}
