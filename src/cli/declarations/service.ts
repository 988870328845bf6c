/** `fantail install-service`: what it takes, and what runs. */
import type { Command } from 'commander';
import { command } from '../program.js';
import type { ServiceFlags } from '../service/install.js';

export function installService(): Command {
  const does = 'Write the unit with which systemd runs this installation, with next to no rights.';
  return command('install-service', does)
    .option(
      '--config <file.yaml>',
      'its configuration; fantail@NAME reads NAME.yaml beside it',
      '/etc/fantail/NAME.yaml',
    )
    .option('--folder <folder>', 'where units are', '/etc/systemd/system')
    .option('--print', 'print the unit, and write nothing')
    .option('--force', 'also over, or away, a unit that is not as it was written')
    .option('--remove', 'take it away again')
    .action(async (flags: ServiceFlags) => {
      const run = await import('../service/install.js');
      run.installService(flags);
    });
}
