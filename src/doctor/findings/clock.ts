/** The time of day, which stamps are of, and the clock that it is read from. */
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import type { NetworkSubject, Subject } from '../subject.js';

/** Reading one of these is no system call (vDSO). */
const FAST = /^(tsc|kvm-clock|hyperv_clocksource_tsc_page|arch_sys_counter)$/;

export const CLOCK_KINDS = {
  clock_frozen: {
    level: 'better',
    why: 'stamps are the time of day, and all would be the same',
    cure: 'env -u LD_PRELOAD {up}',
    instead:
      'unset LD_PRELOAD where it is set; else set the clock, and let it go on: its hypervisor stopped it',
  },
  clock_kept: {
    level: 'better',
    why: 'who compares stamps with a clock of another host compares two that drift apart',
    cure: 'timedatectl set-ntp true',
    instead: 'set it by the clock of the card: ptp4l -i {interface} and phc2sys -a -r (linuxptp)',
  },
  clocksource: {
    level: 'better',
    why: 'each burst reads the clock: from that one it is a system call and a slow device',
    cure: 'echo {source} > /sys/devices/system/clocksource/clocksource0/current_clocksource',
    instead: 'the kernel has found no better one: see what it says of tsc in dmesg',
  },
} as const satisfies Kinds;

const find = finder(CLOCK_KINDS);

export function checkClock({ clock, isStamped, upLine }: Subject): Finding | null {
  if (clock.passed_us !== 0) return null;
  const what = `the time of day stands still while ${Math.round(clock.monotonic_us / 1000)} ms pass`;
  const level = isStamped ? 'must' : 'better';
  if (!clock.isPreloaded) return find('clock_frozen', what, { level });
  const by = `${what}, by a library that LD_PRELOAD puts before the system's`;
  return find('clock_frozen', by, { level, ...(upLine === null ? {} : { up: upLine }) });
}

export function checkKept({ clock, isStamped, network }: NetworkSubject): Finding | null {
  if (!isStamped || clock.isSynchronised) return null;
  const { name } = network.link;
  const own =
    network.card.clock < 0 ? '' : `; ${name} has one of its own, /dev/ptp${network.card.clock}`;
  const what = `nothing keeps the clock of this host right${own}`;
  return find('clock_kept', what, own === '' ? {} : { interface: name });
}

export function checkClocksource({ machine: { clocksource } }: Subject): Finding | null {
  if (clocksource === null || FAST.test(clocksource.current)) return null;
  const source = clocksource.available.find((name) => FAST.test(name));
  const what = `the clock is read from ${clocksource.current}`;
  return find('clocksource', what, source === undefined ? {} : { source });
}
