/**
 * Which build of the page the control port serves, by the ETag of it; null: nobody says. A page of
 * another build than the replicator would misread what it is told.
 */
export async function servedBuild(): Promise<string | null> {
  try {
    const asked = { method: 'HEAD', headers: { Accept: 'text/html' }, cache: 'no-store' } as const;
    const { ok, headers } = await fetch('/', asked);
    return ok ? headers.get('ETag') : null;
  } catch (thrown) {
    if (thrown instanceof TypeError) return null; // as fetch says that nobody answers
    throw thrown;
  }
}

/** In the state of this entry of the tab's history, which outlasts a reload and nothing else. */
const MARK = 'fantail-renewed';

export function loadAgain(): void {
  history.replaceState(MARK, '');
  location.reload();
}

/** Whether the page was loaded again since another build answered; told once. */
export function wasRenewed(): boolean {
  const isSo = history.state === MARK;
  if (isSo) history.replaceState(null, '');
  return isSo;
}
