/** Takes a share of a core of CPU time, `burner.js 0.5`, and makes up for what it did not get. */
import { setTimeout as sleep } from 'node:timers/promises';

const share = Number(process.argv[2] ?? '0');

console.log('ready');
const start = performance.now();
const startUp = process.cpuUsage();
/** What it has not had yet, ms. */
function owed(): number {
  const { user, system } = process.cpuUsage(startUp);
  return (performance.now() - start) * share - (user + system) / 1000;
}
for (;;) {
  while (owed() > 0);
  await sleep(1);
}
