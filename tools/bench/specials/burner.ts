/** Takes a share of a core, `burner.js 0.5`, in slices as a program has that answers. */
import { setTimeout as sleep } from 'node:timers/promises';

const SLICE_MS = 2;
const share = Number(process.argv[2] ?? '0');

console.log('ready');
const start = performance.now();
/** What it has not had yet, ms. */
function owed(): number {
  const { user, system } = process.cpuUsage();
  return (performance.now() - start) * share - (user + system) / 1000;
}
for (;;) {
  const end = performance.now() + SLICE_MS;
  while (owed() > 0 && performance.now() < end);
  await sleep(owed() > 0 ? 0 : 1);
}
