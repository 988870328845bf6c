/**
 * Work that may wait: checking and compiling a filter while packets flow, on cores that the packet
 * path may need. At equal priority two compiling threads leave a worker a third of its core, and
 * its RX ring is full after 82 ms at 100,000 packets/s.
 *
 * Not the lowest priority: where spinning loops have every core, that would be a hundredth of one,
 * and a filter is to be loaded within seconds.
 */
import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** Nice value: a fifth of an ordinary thread's share (sched(7): a tenth less for each step). */
const BACKGROUND_NICE = 7;

/** The calling thread alone: on Linux the nice value is a thread's own (setpriority(2)). */
export function lowerThisThread(): void {
  if (getPriority() < BACKGROUND_NICE) setPriority(0, BACKGROUND_NICE); // raising it takes a right
}

/** Every thread of this process but its first: V8's, which compile, and Node's own. */
export function lowerOtherThreads(): void {
  for (const thread of readdirSync('/proc/self/task').map(Number)) {
    if (thread === process.pid) continue;
    try {
      setPriority(thread, BACKGROUND_NICE);
    } catch {
      // it has just ended
    }
  }
}
