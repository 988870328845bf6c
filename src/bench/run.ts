/**
 * A measurement as a command: subscribes, measures, takes the subscription back whatever happens,
 * reports. The two commands that do this differ in how they subscribe.
 */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { Failure, messageOf } from '../domain/errors.js';
import { Progress } from '../terminal/progress.js';
import { grouped } from '../terminal/tables.js';
import { type Measured, measure, type Reached, Sockets } from './measure.js';
import type { Plan } from './plan.js';
import { pageOf, resultOf, warningsOf, writeCsv } from './report.js';
import type { Subscribe } from './subscription.js';
import { microseconds } from './times.js';

export async function runMeasurement(
  plan: Plan,
  subscribe: Subscribe,
  signal: AbortSignal,
): Promise<void> {
  const file = plan.csv === null ? null : await openFile(plan.csv);
  const sockets = new Sockets(plan);
  let measured: Measured;
  try {
    measured = await whileSubscribed(plan, subscribe, async () => {
      const shown = new Progress({ total: plan.count, asJson: plan.asJson });
      try {
        return await measure(sockets, {
          plan,
          signal,
          onProgress: (reached) => shown.update(reached.sent, noteOf(plan, reached)),
        });
      } finally {
        shown.close();
      }
    });
  } finally {
    sockets.close();
  }
  const result = resultOf(plan, measured);
  const warnings = warningsOf(result, measured.receiveBuffer);
  if (plan.asJson) console.log(JSON.stringify({ ok: true, ...result }));
  for (const warning of warnings) say(warning);
  if (!plan.asJson) console.log(pageOf(result).join('\n'));
  if (file !== null) await writeCsv(file, plan, measured);
  if (result.sent > 0 && result.received === 0 && !result.interrupted)
    throw new Failure(nothingCame(plan, result.refused));
}

/**
 * The subscription is taken back also when the work fails, whose failure is then the one that is
 * told.
 */
async function whileSubscribed(
  { local }: Plan,
  subscribe: Subscribe,
  work: () => Promise<Measured>,
): Promise<Measured> {
  const subscription = await subscribe(local);
  if (subscription.note !== null) say(subscription.note);
  let result: Measured;
  try {
    result = await work();
  } catch (thrown) {
    await subscription.end().catch((later) => say(stillSubscribed(local, later)));
    throw thrown;
  }
  await subscription.end().catch((thrown) => say(stillSubscribed(local, thrown)));
  return result;
}

function stillSubscribed(local: Endpoint, thrown: unknown): string {
  return `${endpointText(local)} may still be subscribed: ${messageOf(thrown)}`;
}

async function openFile(path: string): Promise<WriteStream> {
  const file = createWriteStream(path);
  try {
    await once(file, 'open');
    return file;
  } catch (thrown) {
    throw new Failure(`cannot write --csv: ${messageOf(thrown)}`);
  }
}

function noteOf({ count }: Plan, { sent, received, roundTrip }: Reached): string {
  const counts = `sent ${grouped(sent)} of ${grouped(count)}, received ${grouped(received)}`;
  if (roundTrip.count === 0) return counts;
  const at = (percent: number) => microseconds(roundTrip.percentile(percent));
  return `p50 ${at(50)} µs, p99 ${at(99)} µs, ${counts}`; // a terminal may be too narrow
}

function nothingCame({ replicator, local }: Plan, refused: number): string {
  const feed = endpointText(replicator);
  if (refused > 0)
    return `nobody listens at ${feed}: give the listen_ip and listen_port of fantail up`;
  return (
    `nothing came back: is ${feed} the feed of that replicator (its stats count what it received), ` +
    `and does ${endpointText(local)} lead here, through any firewall`
  );
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
