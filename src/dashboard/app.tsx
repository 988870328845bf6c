/** The page as a whole: its parts, what they share, and which of them there are in which phase. */
import { type ReactNode, useCallback, useMemo, useState, useSyncExternalStore } from 'react';
import type { Question } from '../control/operations.js';
import { type Desk, DeskContext } from './desk.js';
import type { History } from './link/history.js';
import type { Link } from './link/link.js';
import { Refusal } from './link/questions.js';
import { Changes } from './panels/changes.js';
import { Drops } from './panels/drops.js';
import { Feeds } from './panels/feeds.js';
import { Filters } from './panels/filters.js';
import { Subscribers } from './panels/subscribers.js';
import { Summary } from './panels/summary.js';
import { TokenForm } from './panels/token-form.js';
import { Workers } from './panels/workers.js';
import { Bar } from './parts/bar.js';
import { Confirm, type Confirmation } from './parts/dialogs.js';
import { type Notice, Notices } from './parts/notices.js';

export function App({
  link,
  history,
}: {
  readonly link: Link;
  readonly history: History;
}): ReactNode {
  const known = useSyncExternalStore(link.follow, link.current);
  const [notice, setNotice] = useState<Notice | null>(null);
  const { asked, confirm, putAway } = useConfirmation();
  const change = useChange(link, setNotice);
  const mayChange = known.rights === 'all';
  const canChange = mayChange && known.phase === 'live';
  const desk: Desk = useMemo(
    () => ({ known, link, mayChange, canChange, change, confirm }),
    [known, link, mayChange, canChange, change, confirm],
  );
  const hasFigures = known.interval !== null && known.phase !== 'asks';
  return (
    <DeskContext value={desk}>
      <Bar />
      <Notices notice={notice} onClose={() => setNotice(null)} />
      <main className={known.phase === 'lost' ? 'stale' : ''}>
        {known.phase === 'asks' ? <TokenForm /> : null}
        {hasFigures ? (
          <>
            <Summary history={history} />
            <div className="panels">
              <Feeds />
              <Subscribers />
              <Workers />
              <Drops />
              <Filters />
              <Changes />
            </div>
          </>
        ) : null}
      </main>
      {asked === null ? null : (
        <Confirm
          key={asked.turn}
          confirmation={asked.confirmation}
          onClose={() => putAway(asked)}
        />
      )}
    </DeskContext>
  );
}

interface Asked {
  readonly confirmation: Confirmation;
  readonly turn: number;
}

/** One at a time. The end of one that is told late takes no other with it. */
function useConfirmation() {
  const [asked, setAsked] = useState<Asked | null>(null);
  const confirm = useCallback(
    (confirmation: Confirmation) =>
      setAsked((before) => ({ confirmation, turn: (before?.turn ?? 0) + 1 })),
    [],
  );
  const putAway = useCallback((one: Asked) => setAsked((now) => (now === one ? null : now)), []);
  return { asked, confirm, putAway };
}

function useChange(link: Link, tell: (notice: Notice) => void): Desk['change'] {
  return useCallback(
    async (question: Question, done: string) => {
      try {
        await link.ask(question);
        tell({ code: null, sentence: done });
        return true;
      } catch (thrown) {
        const { message } = thrown as Error; // a Refusal, or what ended the connection
        const code = thrown instanceof Refusal ? thrown.code : 'LOST';
        tell({ code, sentence: message });
        return false;
      } finally {
        link.refresh();
      }
    },
    [link, tell],
  );
}
