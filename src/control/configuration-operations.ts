/** The operations of the control channel on the configuration, a row each. */

import { changeText } from '../domain/configuration.js';
import { counted } from '../domain/counts.js';
import { settingLine } from './lines.js';
import { operation } from './operation.js';

export const configurationOperations = {
  config: operation({
    typed: 'config',
    does: 'how it was told to be, and by whom',
    takes: {},
    reads: true,
    perform: ({ replicator }) => replicator.configuration(),
    lines: ({ settings }) => [
      ...settings.map(settingLine),
      `ok ${counted(settings.length, 'setting')}`,
    ],
  }),
  reload: operation({
    typed: 'reload',
    does: 'read the configuration file again, and apply it',
    takes: {},
    perform: ({ replicator }) => replicator.reload(),
    lines: ({ applied, refused }) => [
      ...applied.map((row) => `applied ${changeText(row)}`),
      ...refused.map((row) => `refused ${changeText(row)}: ${row.reason}`),
      `ok ${applied.length} applied, ${refused.length} refused`,
    ],
  }),
} as const;
