/**
 * `npm run soak -- --minutes N --seed S`: a data path under traffic, killed and disturbed for as
 * long as one likes; prints a ledger of what was done and where every copy ended. Exit 1: some copy
 * did not end under one name, or kills alone lost or doubled one.
 *
 *   --layout inline|split   --rate packets/s   --subscribers n   --kills n (then it ends)
 *   --events                not kills alone: filters, subscribers, the link, neighbours, addresses
 */
import { parseArgs } from 'node:util';
import { differences } from '../../src/replicator/conservation.js';
import { Link } from '../rig/link.js';
import { lackForNetwork } from '../rig/program.js';
import { random } from '../rig/random.js';
import { assertReceived } from '../rig/scenario.js';
import { soak } from './soak.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string' },
    layout: { type: 'string', default: 'inline' },
    rate: { type: 'string', default: '10000' },
    subscribers: { type: 'string', default: '8' },
    kills: { type: 'string', default: '1000000' },
    events: { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  const lack = lackForNetwork();
  if (lack !== null) throw new Error(lack);
  if (values.seed !== undefined) process.env.FANTAIL_SEED = values.seed;
  const link = new Link({ queues: 1 });
  const soaked = await soak({
    link,
    layout: values.layout === 'split' ? 'split' : 'inline',
    kills: Number(values.kills),
    seconds: Number(values.minutes) * 60,
    rate: Number(values.rate),
    subscribers: Number(values.subscribers),
    events: values.events,
    random: random('soak'),
    onProgress: (text) => process.stderr.write(`${text}\n`),
  });
  const { ledger, transferred, last, replicator } = soaked;
  console.log(ledger.text({ sent: transferred.sent, sunk: transferred, last }));
  const faults = differences(transferred.before, last);
  if (faults.length > 0) throw new Error(faults.join('\n'));
  if (!values.events) await assertReceived(replicator, transferred);
  const end = await replicator.stop();
  if (end.status !== 0) throw new Error(`it ended badly\n${replicator.told()}`);
  const left = await replicator.residue();
  if (left.length > 0) throw new Error(`it left ${left.join(', ')}`);
  link.close();
}

await main();
