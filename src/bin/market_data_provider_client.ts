#!/usr/bin/env node
/**
 * `market_data_provider_client <replicator_ip> <port> <local_ip> <local_port> <count> <rate>`:
 * `fantail bench` that subscribes by the legacy UDP protocol, and takes that back.
 */
import type { MeasureFlags } from '../bench/plan.js';
import { runMeasurement } from '../bench/run.js';
import { subscribeLegacy } from '../bench/subscription.js';
import { addLegacyControl, type LegacyFlags, measureCommand } from '../cli/declarations/traffic.js';
import { interruption, runProgram } from '../cli/program.js';
import { LegacyClient } from '../legacy/client.js';

const program = measureCommand(
  'market_data_provider_client',
  'Measure round trips: subscribe by legacy control, send trade messages, time their copies.',
  async (plan, { controlPort }: MeasureFlags & LegacyFlags) => {
    const { replicator, netns } = plan;
    const client = new LegacyClient({ ip: replicator.ip, port: controlPort, netns });
    await runMeasurement(plan, (local) => subscribeLegacy(client, local), interruption);
  },
).usage('<replicator_ip> <port> <local_ip> <local_port> <count> <rate>');

await runProgram(addLegacyControl(program), process.argv.slice(2));
