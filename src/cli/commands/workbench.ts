/**
 * `fantail filter new|build|test`: a filter written, compiled and tried, all without a replicator.
 */
import { readFileSync } from 'node:fs';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { Failure, FantailError, messageOf } from '../../domain/errors.js';
import { compileByRules } from '../../filters/check/checker.js';
import { checkFilter } from '../../filters/check/process.js';
import { Progress } from '../../terminal/progress.js';
import { grouped } from '../../terminal/tables.js';
import { layerText } from '../../workbench/frame.js';
import { type Built, buildProject, createProject } from '../../workbench/project.js';
import {
  capturedPackets,
  type Outcome,
  type Packet,
  samplePackets,
  Trial,
} from '../../workbench/trial.js';

/** What compiling the stock's filters takes, and a check: 2.2 and 0.2 CPU-s of a 2-core VM. */
const BUILD_MS = 2500;
/** A few milliseconds' work. */
const PACKETS_A_TURN = 64;

export interface TestFlags {
  param?: Uint8Array;
  udpChecksum: 'zero' | 'full';
  json?: boolean;
}

/** `fantail filter new <name>` */
export function newFilter(name: string): void {
  const folder = createProject(name, process.cwd());
  console.log(`made ${folder}; next: fantail filter build ${name}`);
}

/** `fantail filter build [folder]` */
export async function buildFilter(folder: string): Promise<void> {
  const progress = new Progress({ total: 2, usual_ms: BUILD_MS });
  let built: Built;
  try {
    progress.update(0, 'compiling');
    built = await buildProject(folder);
    progress.update(1, 'checking');
    await refusing(built.path, () => checkFilter(built.bytes));
  } finally {
    progress.close();
  }
  const { path, bytes } = built;
  console.log(`built ${path} (${bytes.length} bytes), which keeps the rules`);
}

/** `fantail filter test <file.wasm> [capture.pcap]` */
export async function testFilter(
  file: string,
  capture: string | undefined,
  flags: TestFlags,
): Promise<void> {
  const { param = new Uint8Array(), udpChecksum: checksum } = flags;
  const bytes = readWhole(file);
  const packets = capture === undefined ? samplePackets() : capturedPackets(readWhole(capture));
  const module = await refusing(file, async () => compileByRules(bytes));
  const refusal = await sampleRefusal(bytes);
  const trial = await refusing(file, async () => new Trial(module, { param, checksum }));
  const failures = await showAll(packets, trial, flags.json === true);
  if (refusal !== null) throw new Failure(`${file} is refused: ${refusal}`);
  if (failures > 0) throw new Failure(`${file} failed on ${failures} of ${packets.length} packets`);
}

function readWhole(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Failure(`cannot read ${file}: ${messageOf(error)}`);
  }
}

/** A refusal names the rule; this names the file. */
async function refusing<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FantailError)) throw error;
    throw new Failure(`${file} is refused: ${error.message}`);
  }
}

/**
 * Why a replicator would not take it, though it keeps the rules: packets are shown all the same.
 */
async function sampleRefusal(bytes: Uint8Array): Promise<string | null> {
  try {
    await checkFilter(bytes);
    return null;
  } catch (error) {
    if (error instanceof FantailError) return error.message;
    throw error;
  }
}

/** Prints what becomes of each packet; how many went wrong. */
async function showAll(
  packets: readonly (Packet | string)[],
  trial: Trial,
  json: boolean,
): Promise<number> {
  const progress = new Progress({ total: packets.length, asJson: json });
  let failures = 0;
  try {
    for (const [index, packet] of packets.entries()) {
      if (index % PACKETS_A_TURN === 0) {
        progress.update(index, `packet ${grouped(index)} of ${grouped(packets.length)}`);
        await endOfTurn(); // for Ctrl-C, and the line of progress
      }
      const outcome: Outcome =
        typeof packet === 'string' ? { outcome: 'skipped', why: packet } : trial.run(packet);
      if (outcome.outcome === 'trap' || outcome.outcome === 'bad_answer') failures++;
      const length = typeof packet === 'string' ? null : packet.bytes.length;
      const text = json ? jsonOf(index + 1, length, outcome) : textOf(index + 1, length, outcome);
      progress.aside(() => console.log(text));
    }
  } finally {
    progress.close();
  }
  return failures;
}

/** One JSON object a line. */
function jsonOf(packet: number, length: number | null, outcome: Outcome): string {
  if (outcome.outcome !== 'send') return JSON.stringify({ packet, length, ...outcome });
  const { headerStart, replaced, header, layers } = outcome;
  return JSON.stringify({
    packet,
    length,
    outcome: 'send',
    header_start: headerStart,
    header_length: header.length,
    replaced,
    header: Buffer.from(header).toString('hex'),
    layers: layers.map(({ layer, fields, wrong }) => ({ layer, ...fields, wrong })),
  });
}

function textOf(packet: number, length: number | null, outcome: Outcome): string {
  const name = `packet ${packet}${length === null ? '' : ` (${length} bytes)`}`;
  switch (outcome.outcome) {
    case 'drop':
      return `${name}: drop`;
    case 'skipped':
    case 'trap':
    case 'bad_answer':
      return `${name}: ${outcome.outcome.replace('_', ' ')}: ${outcome.why}`;
    default: {
      const { headerStart, replaced, header, layers } = outcome;
      const slot = `${header.length} bytes from ${headerStart} of the slot, for the packet's first ${replaced}`;
      const rows =
        Buffer.from(header)
          .toString('hex')
          .match(/.{1,64}/g) ?? [];
      return [
        `${name}: send: ${slot}`,
        ...rows.map((row) => `  ${row}`),
        ...layers.map((each) => `  ${layerText(each)}`),
      ].join('\n');
    }
  }
}
