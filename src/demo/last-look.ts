/** What has come of what was sent, once all of it has, or nothing more does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../domain/process/clock.js';

const AGAIN_MS = 200;
/** In which nothing more has come: what is missing then is lost. */
const QUIET_MS = 1000;
const ALL_MS_MAX = 5000;

/** `come`: what is to change no more. */
export async function lastLook<Look>(
  look: () => Promise<Look>,
  come: (found: Look) => unknown,
  isComplete: (found: Look) => boolean,
): Promise<Look> {
  const beganMs = monotonicMs();
  let [before, changedMs] = ['', beganMs];
  for (;;) {
    await sleep(AGAIN_MS);
    const found = await look();
    const [now, nowMs] = [JSON.stringify(come(found)), monotonicMs()];
    if (now !== before) changedMs = nowMs;
    before = now;
    if (isComplete(found) || nowMs - changedMs > QUIET_MS || nowMs - beganMs > ALL_MS_MAX)
      return found;
  }
}
