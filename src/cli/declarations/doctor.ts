/** `fantail doctor`: what it takes, and what runs. */
import type { Command } from 'commander';
import { CONTROL_URL } from '../../control/constants.js';
import type { DoctorFlags } from '../../doctor/doctor.js';
import { UsageError } from '../../domain/errors.js';
import { address, interfaceName, port, source } from '../arguments.js';
import { command } from '../program.js';
import { addFeeds, addPlacement } from './replicator.js';

export function doctor(): Command {
  const does =
    'Say what is wrong with machine, interface and subscribers, and the line that mends it; exit 1 if it must be.';
  const made = command('doctor', does)
    .argument('[interface]', 'such as eth0 (default: all that could serve)', interfaceName)
    .argument('[listen_ip]', 'destination address of the feed, as for up', address('listen_ip'))
    .argument('[listen_port]', 'its destination port, 1 to 65535', port('listen_port'))
    .option('--json', 'print it as JSON')
    .option(
      '--source <ip:port>',
      'whence the feed comes, ip or ip:port: which queue the card hashes it to',
      source,
    );
  return addPlacement(addFeeds(made))
    .option('--filter <file.wasm>', 'filter for all subscribers, as for up')
    .option('--netns <name>', 'namespace of the interface')
    .optionsGroup('A replicator that runs, whose subscribers are looked at:')
    .option('--control <url>', `its control port (default: ${CONTROL_URL}, if one answers)`)
    .option('--token-file <file>', 'file with the token, where the replicator wants one')
    .option('--tls-ca <file>', 'whom to trust with wss://, PEM (default: whom Node trusts)')
    .action(
      async (
        name: string | undefined,
        ip: string | undefined,
        listenPort: number | undefined,
        flags: DoctorFlags & { json?: boolean },
      ) => {
        if (ip !== undefined && listenPort === undefined)
          throw new UsageError('listen_ip needs its listen_port');
        if (ip === undefined && flags.feed !== undefined)
          throw new UsageError('--feed is one more than the first: name listen_ip and listen_port');
        const run = await import('../commands/doctor.js');
        const feed = ip === undefined || listenPort === undefined ? null : { ip, port: listenPort };
        await run.doctor(name ?? null, feed, flags);
      },
    );
}
