/** The cores that the data path runs on, as the machine has them: /sys and /proc tell. */
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import { processesOf } from '../../replicator/plan/deployment.js';
import type { NetworkSubject, Subject } from '../subject.js';

export const CORES_KINDS = {
  isolation: {
    level: 'better',
    why: 'the scheduler puts other tasks there too, and each turn of theirs is latency',
    instead:
      'add isolcpus={cores} nohz_full={cores} rcu_nocbs={cores} to the command line of the kernel, and boot',
  },
  governor: {
    level: 'better',
    why: 'a core that slept is slow at first: latency after each pause of the feed',
    cure: 'for core in {cores}; do echo performance > /sys/devices/system/cpu/cpu$core/cpufreq/scaling_governor; done',
  },
  irq_affinity: {
    level: 'better',
    why: "the card's interrupts take turns away from the process that is pinned there",
    cure: 'for irq in {irqs}; do echo {others} > /proc/irq/$irq/smp_affinity_list; done',
    instead: 'leave a core to interrupts: name fewer with --cpus',
  },
  numa: {
    level: 'better',
    why: 'each frame crosses from the memory of one node to the other',
    flags: '--cpus {cores}',
  },
} as const satisfies Kinds;

const find = finder(CORES_KINDS);

/** Those that the data path runs on: the ones named, or any that it may. */
const usedBy = ({ config, observed }: Subject): readonly number[] => config.cpus ?? observed.cores;

export function checkIsolation({ config, machine }: Subject): Finding | null {
  const open = (config.cpus ?? []).filter((core) => !machine.isolated.includes(core));
  if (open.length === 0) return null;
  const cores = open.join(',');
  return find('isolation', `core ${cores} of --cpus is not isolated`, { cores });
}

export function checkGovernor(subject: Subject): Finding | null {
  const used = usedBy(subject);
  const slow = subject.machine.cores.filter(
    ({ number, governor }) =>
      used.includes(number) && governor !== null && governor !== 'performance',
  );
  if (slow.length === 0) return null;
  const numbers = slow.map(({ number }) => number);
  const what = `the governor of core ${numbers.join(', ')} is ${slow[0]?.governor}`;
  return find('governor', what, { cores: numbers.join(' ') });
}

export function checkIrqs({ config, machine, network }: NetworkSubject): Finding | null {
  const pinned = config.cpus ?? [];
  const irqs = network.device.irqs.filter((irq) => irq.cores.some((core) => pinned.includes(core)));
  if (irqs.length === 0) return null;
  const numbers = irqs.map(({ number }) => number);
  const what = `interrupt ${numbers.join(', ')} of ${network.link.name} comes to a core of --cpus`;
  const others = machine.cores.map(({ number }) => number).filter((core) => !pinned.includes(core));
  if (others.length === 0) return find('irq_affinity', what);
  return find('irq_affinity', what, { irqs: numbers.join(' '), others: others.join(',') });
}

export function checkNuma(subject: NetworkSubject): Finding | null {
  const { config, observed, machine, network, queues } = subject;
  const { node } = network.device;
  const far = machine.cores.filter(
    (core) => config.cpus?.includes(core.number) && core.node !== node,
  );
  if (node === null || far.length === 0) return null;
  const what = `core ${far.map(({ number }) => number).join(', ')} of --cpus is on node ${far[0]?.node}, and ${network.link.name} on node ${node}`;
  const near = machine.cores
    .filter((core) => core.node === node && observed.cores.includes(core.number))
    .map(({ number }) => number);
  const { processes } = processesOf(config, observed, queues.length);
  const cores = near.slice(0, Math.max(processes, config.cpus?.length ?? 0));
  return find('numa', what, cores.length === 0 ? {} : { cores: cores.join(',') });
}
