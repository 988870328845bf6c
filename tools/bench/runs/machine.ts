/** What a figure is worth nothing without: where it was measured. */
import { readFileSync } from 'node:fs';
import { arch, cpus, release, totalmem } from 'node:os';
import { run } from './process.js';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_gib: number;
  readonly kernel: string;
  readonly arch: string;
  readonly virtual: string;
  readonly node: string;
  readonly driver: string;
  readonly commit: string;
}

function attempt(command: string, args: readonly string[]): string {
  try {
    return run(command, args).trim();
  } catch {
    return 'unknown';
  }
}

export function machineOf(): Machine {
  const isGuest = /^flags\s*:.*\bhypervisor\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
  const isChanged = attempt('git', ['status', '--porcelain', '--untracked-files=no']) !== '';
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    arch: arch(),
    virtual: isGuest ? 'virtual machine' : 'bare metal',
    node: process.version,
    driver: 'veth, native XDP, one queue, MTU 3314 (3498 for packets that are longer)',
    commit: `${attempt('git', ['rev-parse', '--short', 'HEAD'])}${isChanged ? ' + changes' : ''}`,
  };
}

export function machineLine(machine: Machine): string {
  const {
    cpu,
    cores,
    memory_gib,
    kernel,
    arch: architecture,
    virtual,
    node,
    driver,
    commit,
  } = machine;
  return `${cpu}, ${cores} cores, ${memory_gib} GiB, ${virtual}, Linux ${kernel} ${architecture}, Node ${node}, ${driver}, commit ${commit}`;
}
