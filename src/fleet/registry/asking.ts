/** How a group's etcd is asked for somebody: its silence is told, a change is tried again. */
import { FantailError, messageOf } from '../../domain/errors.js';
import { EtcdAway, EtcdRefusal } from '../etcd/answers.js';

/** Each fails only because somebody else has changed the same in the milliseconds between. */
const TRIES_MAX = 100;

/** Throws FantailError BUSY with the reason while etcd is away, or refuses. */
export async function reached<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof EtcdAway)
      throw new FantailError(
        'BUSY',
        `${error.message}; nothing of the group can be read or changed until it does`,
      );
    if (error instanceof EtcdRefusal) throw new FantailError('BUSY', messageOf(error));
    throw error;
  }
}

/** Does it until it is done: null is a try that found something changed meanwhile. */
export async function untilDone<Result>(work: () => Promise<Result | null>): Promise<Result> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const result = await work();
    if (result !== null) return result;
  }
  throw new FantailError('BUSY', 'others change the same all the time; ask again');
}
