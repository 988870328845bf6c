/** `fantail doctor`: examines, and prints what is wrong and the line that mends it. */
import { callOf, isInPath } from '../../doctor/cures.js';
import { type DoctorFlags, examine } from '../../doctor/doctor.js';
import { textOf } from '../../doctor/report.js';

/** Something must be mended. */
const MUST_STATUS = 1;

export async function doctor(
  interfaceName: string | null,
  feed: { readonly ip: string; readonly port: number } | null,
  flags: DoctorFlags & { json?: boolean },
): Promise<void> {
  const report = await examine({
    interfaceName,
    feed,
    flags,
    shell: {
      netns: flags.netns ?? null,
      isRoot: process.geteuid?.() === 0,
      hasSudo: isInPath('sudo'),
      program: callOf(process.argv),
      words: process.argv.slice(3), // behind `doctor`
      isStart: feed !== null,
    },
  });
  const isColoured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  console.log(flags.json === true ? JSON.stringify(report) : textOf(report, isColoured));
  if (!report.ok) process.exitCode = MUST_STATUS;
}
