/**
 * A change that is to hold for everybody before one goes on: a worker that is slow to follow has it
 * answered BUSY, though it is done; whoever asks again is answered once all workers have followed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FantailError } from '../domain/errors.js';

/** For a worker that is replaced meanwhile, too. */
const PATIENCE_MS = 10_000;
const ASK_AGAIN_MS = 20;

/** The first answer that is not BUSY; the last error after PATIENCE_MS. */
export async function whenFollowed<Answer>(change: () => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;)
    try {
      return await change();
    } catch (error) {
      const isBusy = error instanceof FantailError && error.code === 'BUSY';
      if (!isBusy || performance.now() > deadline) throw error;
      await sleep(ASK_AGAIN_MS);
    }
}
