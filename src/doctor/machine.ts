/**
 * What the machine is, as the kernel's files tell: read here, judged in findings/. Which files
 * those are is in the kernel's Documentation/: ABI/testing/sysfs-devices-system-cpu and
 * sysfs-class-net, ABI/stable/sysfs-devices-node, ABI/obsolete/sysfs-devices-system-clocksource,
 * admin-guide/sysctl/net.rst, core-api/irq/irq-affinity.rst.
 */
import { addon } from '../memory/addon.js';
import { coresIn } from '../replicator/plan/process.js';
import { Files } from './files.js';

export interface Core {
  readonly number: number;
  /** How its frequency is chosen; null: it is not the kernel that chooses. */
  readonly governor: string | null;
  /** NUMA node; null: there are none. */
  readonly node: number | null;
}

export interface Machine {
  readonly cores: readonly Core[];
  /** Kept free of other tasks by the kernel's command line (isolcpus=). */
  readonly isolated: readonly number[];
  readonly clocksource: { readonly current: string; readonly available: readonly string[] } | null;
  /** The kernel has AF_XDP; null: not known. */
  readonly hasAfXdp: boolean | null;
  /** net.core.bpf_jit_enable; null: not known, as in a container. */
  readonly bpfJit: number | null;
}

/** The time of day, looked at twice. */
export interface Clock {
  readonly passed_us: number;
  readonly monotonic_us: number;
  readonly isSynchronised: boolean;
  /** LD_PRELOAD is set: somebody's library may stand before the system's. */
  readonly isPreloaded: boolean;
}

const CPU = 'sys/devices/system/cpu';
const CLOCKSOURCE = 'sys/devices/system/clocksource/clocksource0';
/** Between two looks at the clock. */
const CLOCK_MS = 20;

export function readMachine(root = '/'): Machine {
  const files = new Files(root);
  const current = files.text(`${CLOCKSOURCE}/current_clocksource`);
  const available = files.text(`${CLOCKSOURCE}/available_clocksource`) ?? '';
  const protocols = files.text('proc/net/protocols');
  const nodes = nodesIn(files);
  const cores = coresIn(files.text(`${CPU}/online`) ?? '');
  return {
    cores: cores.map((number) => ({
      number,
      governor: files.text(`${CPU}/cpu${number}/cpufreq/scaling_governor`),
      node: nodes.get(number) ?? null,
    })),
    isolated: coresIn(files.text(`${CPU}/isolated`) ?? ''),
    clocksource: current === null ? null : { current, available: available.split(' ') },
    hasAfXdp: protocols === null ? null : /^XDP\b/m.test(protocols),
    bpfJit: files.number('proc/sys/net/core/bpf_jit_enable'),
  };
}

function nodesIn(files: Files): Map<number, number> {
  const nodes = new Map<number, number>();
  for (const name of files.names('sys/devices/system/node')) {
    const node = /^node(\d+)$/.exec(name)?.[1];
    if (node === undefined) continue;
    const list = files.text(`sys/devices/system/node/${name}/cpulist`) ?? '';
    for (const core of coresIn(list)) nodes.set(core, Number(node));
  }
  return nodes;
}

export async function readClock(): Promise<Clock> {
  const before = addon.readClocks();
  await new Promise((resolve) => setTimeout(resolve, CLOCK_MS));
  const after = addon.readClocks();
  return {
    passed_us: after.realtime_us - before.realtime_us,
    monotonic_us: (after.monotonic_ns - before.monotonic_ns) / 1000,
    isSynchronised: after.synchronised,
    isPreloaded: (process.env.LD_PRELOAD ?? '') !== '',
  };
}
