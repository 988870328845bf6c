/** What the kernel can do that all this runs on. */
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import { compare, versionOf } from '../../replicator/plan/driver-facts.js';
import type { Subject } from '../subject.js';

/** What is needed of XDP_SHARED_UMEM (net/xdp/xsk.c, acabf32805f7). */
const KERNEL_MIN = [5, 10];

export const KERNEL_KINDS = {
  kernel_old: {
    level: 'better',
    why: 'several queues share one memory since Linux 5.10; before, there is socket mode',
    instead: 'run it on Linux 5.10 or newer',
  },
  af_xdp: {
    level: 'better',
    why: 'without AF_XDP in the kernel there is socket mode',
    instead: 'run a kernel with CONFIG_XDP_SOCKETS=y, as those of distributions have',
  },
  bpf_jit: {
    level: 'better',
    why: 'the kernel interprets the XDP program, at each packet',
    cure: 'sysctl -w net.core.bpf_jit_enable=1',
  },
} as const satisfies Kinds;

const find = finder(KERNEL_KINDS);

export function checkKernel({ observed: { kernel }, machine }: Subject): Finding | null {
  if (compare(versionOf(kernel), KERNEL_MIN) < 0)
    return find('kernel_old', `the kernel is Linux ${kernel}`);
  return machine.hasAfXdp === false ? find('af_xdp', `Linux ${kernel} has no AF_XDP`) : null;
}

export function checkJit({ machine }: Subject): Finding | null {
  return machine.bpfJit === 0 ? find('bpf_jit', 'net.core.bpf_jit_enable is 0') : null;
}
