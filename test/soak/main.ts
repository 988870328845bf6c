/**
 * `npm run soak`: a data path under traffic, killed and disturbed for as long as one likes; prints
 * a ledger of what was done and where every copy ended. Exit 1: some copy did not end under one
 * name, was sent twice or wrong, or kills alone lost one.
 */
import { integer, number, oneOf } from '../../src/cli/arguments.js';
import { command, runProgram } from '../../src/cli/program.js';
import { Failure, UsageError } from '../../src/domain/errors.js';
import { Progress } from '../../src/terminal/progress.js';
import { Link } from '../rig/link.js';
import { lackForNetwork } from '../rig/program.js';
import { random } from '../rig/random.js';
import { LAYOUTS } from '../rig/scenario.js';
import { assertWell, soak } from './soak.js';
import { MODES, type SoakOptions, WAYS } from './world.js';

type Flags = Pick<
  SoakOptions,
  'layout' | 'mode' | 'transmit' | 'rate' | 'subscribers' | 'kills'
> & {
  minutes: number;
  devices?: readonly [string, string];
  seed?: number;
  events?: boolean;
};

async function run({ minutes, seed, devices, events = false, ...rest }: Flags): Promise<void> {
  const lack = lackForNetwork();
  if (lack !== null) throw new Failure(lack);
  if (seed !== undefined) process.env.FANTAIL_SEED = String(seed);
  const netGro = rest.transmit !== 'ring';
  const link = new Link({ queues: 1, netGro, ...(devices === undefined ? {} : { devices }) });
  const progress = new Progress({ total: 1 });
  const soaked = await soak({
    ...rest,
    link,
    events,
    seconds: minutes * 60,
    random: random('soak'),
    onProgress: (share, note) => progress.update(share, note),
  }).finally(() => progress.close());
  const { ledger, transferred, last, all } = soaked;
  console.log(ledger.text({ sent: transferred.sent, sunk: transferred, last }));
  try {
    await assertWell(soaked);
  } finally {
    for (const each of all) each.close();
    link.close();
  }
}

function pair(text: string): readonly [string, string] {
  const [near = '', far = '', ...more] = text.split(',');
  if (near === '' || far === '' || near === far || more.length > 0)
    throw new UsageError(`--devices must be two names such as eth0,eth1, not '${text}'`);
  return [near, far];
}

const of = (name: string, max: number) => integer(name, { min: 1, max });
const soakCommand = command('soak', 'Kill and disturb a data path under traffic; print a ledger.')
  .option('--minutes <n>', 'how long', number('--minutes', { min: 0.1, max: 100_000 }), 10)
  .option('--kills <n>', 'end after so many', of('--kills', 1e9), 1e9)
  .option('--seed <n>', 'of an earlier run, to have it again', of('--seed', 2 ** 32 - 1))
  .option('--layout <layout>', 'inline or split', oneOf('--layout', LAYOUTS), 'inline')
  .option('--mode <mode>', 'of AF_XDP', oneOf('--mode', MODES), 'copy')
  .option('--transmit <how>', WAYS.join(', '), oneOf('--transmit', WAYS), 'ring')
  .option('--devices <a,b>', 'two that are one wire, instead of a virtual link', pair)
  .option('--rate <n>', 'packets a second', of('--rate', 1_000_000), 10_000)
  .option('--subscribers <n>', 'of the feed', of('--subscribers', 16), 8)
  .option('--events', 'not kills alone: filters, subscribers, the link, neighbours, addresses')
  .action(run);

await runProgram(soakCommand, process.argv.slice(2));
