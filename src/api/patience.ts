/**
 * A change that is to hold for everybody before one goes on: a worker that is slow to follow has it
 * answered BUSY, though it is done; whoever asks again is answered once all workers have followed.
 */
import { FantailError } from '../domain/errors.js';

/** For a worker that is replaced meanwhile, too. Each BUSY takes a while itself. */
const PATIENCE_MS = 10_000;

/** The first answer that is not BUSY; the last error after PATIENCE_MS. */
export async function whenFollowed<Answer>(change: () => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;)
    try {
      return await change();
    } catch (error) {
      const isBusy = error instanceof FantailError && error.code === 'BUSY';
      if (!isBusy || performance.now() > deadline) throw error;
    }
}
