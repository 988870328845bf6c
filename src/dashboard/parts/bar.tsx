/** What this is a page of, whether its figures are of now, and how the page looks. */
import { type ReactNode, useEffect, useState } from 'react';
import { type FleetRow, STANDING_SENTENCES } from '../../domain/fleet.js';
import { useDesk } from '../desk.js';
import type { Known } from '../link/link.js';
import * as token from '../link/token.js';
import { type Theme, themes, useTheme } from '../theme.js';
import { addressOf, type View } from '../view.js';
import * as numbers from './numbers.js';

export function Bar(): ReactNode {
  const { known, link, fleet, scope } = useDesk();
  const stats = known.interval?.now.stats;
  useTitle(known);
  return (
    <header className="bar">
      <h1>fantail</h1>
      {stats === undefined ? null : (
        <p className="facts">
          <b>{stats.interface}</b> {stats.mode} · {stats.layout}
          {stats.queues.length === 0 ? '' : ` · queues ${stats.queues.join(', ')}`} · up{' '}
          {numbers.duration(stats.uptime_ms)}
        </p>
      )}
      {fleet === null || known.phase === 'asks' ? null : <Views fleet={fleet} scope={scope} />}
      <Connection known={known} />
      {known.phase === 'live' && known.rights === 'read' ? (
        <p className="rights">
          <strong>Read only</strong> this token may not change anything
        </p>
      ) : null}
      <div className="choices">
        <ThemeChoice />
        {token.kept() === null ? null : (
          <button type="button" onClick={() => link.forget()}>
            {known.rights === 'read' ? 'Use another token' : 'Forget token'}
          </button>
        )}
      </div>
      {fleet === null || known.phase === 'asks' ? null : <Standing fleet={fleet} known={known} />}
      {stats?.fallbacks.map(({ mode, reason }) => (
        <p key={mode} className="fallback">
          {mode} was not possible: {reason}
        </p>
      ))}
    </header>
  );
}

function Views(props: { readonly fleet: FleetRow; readonly scope: View }): ReactNode {
  const { fleet, scope } = props;
  const named = { member: `Member ${fleet.member}`, group: `Group ${fleet.group}` };
  return (
    <nav aria-label="Shown" className="views">
      {(['member', 'group'] as const).map((view) => (
        <a
          key={view}
          href={addressOf(view)}
          {...(view === scope ? { 'aria-current': 'page' as const } : {})}
        >
          {named[view]}
        </a>
      ))}
    </nav>
  );
}

/** What is not as it should be with the member in its group; it is read aloud when it changes. */
function Standing(props: { readonly fleet: FleetRow; readonly known: Known }): ReactNode {
  const { fleet, known } = props;
  const { away } = known.group;
  const { standing, is_draining, member } = fleet;
  const since =
    away === null || away.since_ms === null ? '' : ` since ${numbers.moment(away.since_ms)}`;
  const sentences = [
    ...(standing === 'joined'
      ? []
      : [
          `etcd is not reached${since}; until it is, nothing of the group can be changed.`,
          `${member}: ${STANDING_SENTENCES[standing]}.`,
        ]),
    ...(is_draining ? [`${member} drains: it ends once others serve what it has.`] : []),
  ];
  return (
    <p role="status" aria-label="Standing in the group" className="standing">
      {sentences.join(' ')}
    </p>
  );
}

/** The sentence is read aloud, so it changes with the state only; how long it lasts, beside it. */
function Connection({ known }: { readonly known: Known }): ReactNode {
  const { phase, lost } = known;
  const sentence = {
    connecting: 'Connecting',
    asks: 'A token is wanted',
    live: 'Connected',
    lost: `No connection since ${numbers.moment(lost?.at_ms ?? 0)}, trying again`,
  }[phase];
  return (
    <div className={`connection ${phase}`}>
      <p role="status" aria-label="Connection">
        {sentence}
      </p>
      {lost === null ? null : (
        <p>
          <Since since_ms={lost.since_ms} />
          {lost.reason}
        </p>
      )}
    </div>
  );
}

function Since({ since_ms }: { readonly since_ms: number }): ReactNode {
  const [now_ms, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return <span className="since">{numbers.duration(Math.max(0, now_ms - since_ms))} · </span>;
}

const THEME_NAMES: Readonly<Record<Theme, string>> = {
  auto: 'System colours',
  light: 'Light',
  dark: 'Dark',
};

function ThemeChoice(): ReactNode {
  const [theme, choose] = useTheme();
  return (
    <select
      aria-label="Colours"
      value={theme}
      onChange={({ target }) => choose(themes.find((name) => name === target.value) ?? 'auto')}
    >
      {themes.map((name) => (
        <option key={name} value={name}>
          {THEME_NAMES[name]}
        </option>
      ))}
    </select>
  );
}

function useTitle({ phase, interval }: Known): void {
  const name = interval?.now.stats.interface;
  const mark = phase === 'lost' ? '(no connection) ' : '';
  const title = `${mark}fantail${name === undefined ? '' : ` ${name}`}`;
  useEffect(() => {
    document.title = title;
  }, [title]);
}
