/**
 * Asks a control port as fast as it answers, so many questions under way and so many a second at
 * most: a subscriber that nobody is comes and goes, with a look at all of them between. `flooder.js
 * ws://…`; a line on its standard input ends it, and it prints how many answers it had a second.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectClient } from '../../../src/control/client.js';

const UNDER_WAY = 32;
/** A session that asks more is refused, and then not read until the second is over. */
const PER_SECOND_MAX = 1800;
/** In the bench's subnet, and none of its subscribers: it is never live, so it gets no copy. */
const NOBODY = { ip: '10.88.200.1', port: 9999 };

const client = await connectClient({ control: process.argv[2] ?? '' });
let isOver = false;
let answers = 0;
let asked = 0;
const next = () => {
  const which = asked++ % 3;
  if (which === 0) return client.ask({ op: 'add', ...NOBODY });
  if (which === 1) return client.ask({ op: 'remove', ...NOBODY });
  return client.ask({ op: 'list' });
};
const start = performance.now();
async function keepAsking(): Promise<void> {
  while (!isOver) {
    const early_ms = (asked / PER_SECOND_MAX) * 1000 - (performance.now() - start);
    if (early_ms > 0) await sleep(early_ms);
    const { text, body } = await next();
    // a flood makes workers slow to follow a table
    if (!body.ok && body.error.code !== 'BUSY') throw new Error(text);
    answers++;
  }
}
const all = Promise.all(Array.from({ length: UNDER_WAY }, keepAsking));
console.log('ready');
await once(process.stdin, 'data');
isOver = true;
await all;
console.log(answers / ((performance.now() - start) / 1000));
client.close();
process.exit();
