/**
 * Asks a control port without pause, so many questions under way: a subscriber that nobody is comes
 * and goes, with a look at all of them between. `flooder.js ws://…`; a line on its standard input
 * ends it, and it prints how many answers it had.
 */
import { once } from 'node:events';
import { connect } from '../../../src/control/client.js';

const UNDER_WAY = 32;
/** In the bench's subnet; nobody answers for it, so no copy is made for it. */
const NOBODY = { ip: '10.88.3.250', port: 9999 };

const client = await connect({ control: process.argv[2] ?? '' });
let isOver = false;
let answers = 0;
let asked = 0;
const next = () => {
  const which = asked++ % 3;
  if (which === 0) return client.ask({ op: 'add', ...NOBODY });
  if (which === 1) return client.ask({ op: 'remove', ...NOBODY });
  return client.ask({ op: 'list' });
};
async function keepAsking(): Promise<void> {
  while (!isOver) {
    await next();
    answers++;
  }
}
const all = Promise.all(Array.from({ length: UNDER_WAY }, keepAsking));
console.log('ready');
await once(process.stdin, 'data');
isOver = true;
await all;
console.log(answers);
client.close();
process.exit();
