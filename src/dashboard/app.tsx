/** The page as a whole: its parts, what they share, and which of them there are in which phase. */
import {
  type ReactNode,
  useCallback,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from 'react';
import type { Answer, Op, Question } from '../control/operations.js';
import { type Desk, DeskContext } from './desk.js';
import { Group } from './group/group.js';
import type { History } from './link/history.js';
import type { Link } from './link/link.js';
import { Lost, Refusal } from './link/questions.js';
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
import { useView } from './view.js';

export function App({
  link,
  history,
  isRenewed,
}: {
  readonly link: Link;
  readonly history: History;
  /** It was loaded again, since another build answered than the page was of. */
  readonly isRenewed: boolean;
}): ReactNode {
  const known = useSyncExternalStore(link.follow, link.current);
  const { notice, turn, tell, putNoticeAway } = useNotice(isRenewed ? RENEWED : null);
  const { asked, confirm, putAway } = useConfirmation();
  const change = useChange(link, tell);
  const view = useView();
  const fleet = known.interval?.now.stats.fleet ?? null;
  const scope = fleet === null ? 'member' : view;
  useEffect(() => link.showGroup(scope === 'group'), [link, scope]);
  const mayChange = known.rights === 'all' && (scope === 'group' || fleet === null);
  const isReached = scope === 'member' || known.group.away === null;
  const canChange = mayChange && known.phase === 'live' && isReached;
  const desk: Desk = useMemo(
    () => ({ known, link, fleet, scope, mayChange, canChange, change, tell, confirm }),
    [known, link, fleet, scope, mayChange, canChange, change, tell, confirm],
  );
  const isStale = known.phase === 'lost' || !isReached;
  const hasFigures = known.interval !== null && known.phase !== 'asks';
  return (
    <DeskContext value={desk}>
      <Bar />
      <Notices notice={notice} turn={turn} onClose={putNoticeAway} />
      <main className={isStale ? 'stale' : ''}>
        {known.phase === 'asks' ? <TokenForm /> : null}
        {hasFigures && scope === 'group' ? <Group /> : null}
        {hasFigures && scope === 'member' ? (
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

const RENEWED: Notice = {
  code: null,
  sentence: 'Another build of fantail answers now: the page was loaded again.',
};

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

/** Each is told by itself, one that says the same as the last too. */
function useNotice(first: Notice | null) {
  const [{ notice, turn }, set] = useState({ notice: first, turn: 0 });
  const tell = useCallback(
    (told: Notice | null) => set((before) => ({ notice: told, turn: before.turn + 1 })),
    [],
  );
  const putNoticeAway = useCallback(() => tell(null), [tell]);
  return { notice, turn, tell, putNoticeAway };
}

function useChange(link: Link, tell: (notice: Notice) => void): Desk['change'] {
  return useCallback(
    async <Name extends Op>(question: Question<Name>, done: (answer: Answer<Name>) => string) => {
      try {
        tell({ code: null, sentence: done(await link.ask(question)) });
        return true;
      } catch (thrown) {
        if (thrown instanceof Refusal) tell({ code: thrown.code, sentence: thrown.message });
        else if (thrown instanceof Lost) tell({ code: 'LOST', sentence: thrown.message });
        else throw thrown;
        return false;
      } finally {
        link.refresh();
      }
    },
    [link, tell],
  );
}
