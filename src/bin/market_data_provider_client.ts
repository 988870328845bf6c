#!/usr/bin/env node
import { type MeasureFlags, planOf } from '../bench/plan.js';
import { runMeasurement } from '../bench/run.js';
import { subscribeLegacy } from '../bench/subscription.js';
/**
 * `market_data_provider_client <replicator_ip> <port> <local_ip> <local_port> <count> <rate>`:
 * `fantail bench` that subscribes by the legacy UDP protocol, and takes that back.
 */
import { portOf } from '../cli/arguments.js';
import { declareMeasure } from '../cli/declarations.js';
import {
  command,
  interruption,
  MEASURE_STOP_WAIT_MS,
  runProgram,
  untilInterrupted,
  version,
} from '../cli/program.js';
import { LegacyClient } from '../legacy/client.js';
import { LEGACY_PORT } from '../legacy/protocol.js';

type Flags = MeasureFlags & { controlPort?: string };

const program = declareMeasure(command('market_data_provider_client'))
  .usage('<replicator_ip> <port> <local_ip> <local_port> <count> <rate>')
  .description(
    'Measure round trips: subscribe by legacy control, send trade messages, time their copies.',
  )
  .option('--control-port <n>', `UDP port of legacy control (default: ${LEGACY_PORT})`)
  .version(version, '--version', 'print the version')
  .action(
    async (
      ip: string,
      port: string,
      localIp: string,
      localPort: string,
      count: string,
      rate: string,
      flags: Flags,
    ) => {
      const plan = planOf({ ip, port, localIp, localPort, count, rate }, flags);
      const controlPort = portOf('--control-port', flags.controlPort ?? String(LEGACY_PORT));
      const client = new LegacyClient({ ip, port: controlPort, netns: plan.netns });
      const work = runMeasurement(plan, (local) => subscribeLegacy(client, local), interruption);
      await untilInterrupted(work, MEASURE_STOP_WAIT_MS);
    },
  );

await runProgram(program, process.argv.slice(2));
