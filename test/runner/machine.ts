/** What this machine lacks for the tests that need privileges. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Bits of a capability set: linux/capability.h. */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_SYS_ADMIN: 21, CAP_BPF: 39 };

/** Tried and not assumed; null: it lacks nothing, so that a skip is a fault. */
export function lackOfMachine(): string | null {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  for (const [name, bit] of Object.entries(CAPABILITIES)) {
    if (((effective >> BigInt(bit)) & 1n) === 0n) return name;
  }
  const namespace = `fantail-test-${process.pid}`;
  const ip = (...args: string[]) => spawnSync('ip', args, { stdio: 'ignore' }).status === 0;
  try {
    if (!ip('netns', 'add', namespace)) return 'network namespaces';
    if (!ip('-n', namespace, 'link', 'add', 'test0', 'type', 'veth', 'peer', 'name', 'test1'))
      return 'veth links';
  } finally {
    ip('netns', 'del', namespace);
  }
  return null;
}
