/**
 * What is known of drivers that users would want to know, as one table: which driver, which
 * kernels, what happens, what fantail does about it, and who says so. docs/zero-copy.md shows it,
 * `up` heeds it.
 */

/** A version as numbers, such as 6.18 or 2.13.1. */
type Version = readonly number[];

export interface DriverFact {
  /** As ethtool names it. */
  readonly driver: string;
  /** Kernels that it holds for, from the first on and below the second; absent: any. */
  readonly kernels?: { readonly from?: Version; readonly below?: Version };
  /**
   * Versions of a driver that does not come with the kernel; absent: any. One that comes with it
   * has the kernel's version.
   */
  readonly versions?: { readonly upTo?: Version };
  /** It holds only where the driver is a module, not part of the kernel's image. */
  readonly asModule?: true;
  readonly what: string;
  readonly handling: string;
  /** `auto` does without zero copy; a named mode is warned of it. */
  readonly noZeroCopy: boolean;
  /** The largest MTU with which it takes an XDP program; absent: that of any, or not known. */
  readonly mtuMax?: number;
  readonly source: string;
}

const PASSED_OVER = '`auto` passes zero copy over; `--mode zerocopy` is warned';

export const DRIVER_FACTS: readonly DriverFact[] = [
  {
    driver: 'ice',
    what: 'zero copy corrupts memory of the kernel',
    handling: PASSED_OVER,
    noZeroCopy: true,
    source: 'firedancer-io/firedancer#11245, 2026-09-01',
  },
  {
    driver: 'ena',
    versions: { upTo: [2, 13, 1] },
    what: 'zero copy corrupts memory under load',
    handling: PASSED_OVER,
    noZeroCopy: true,
    source: 'amzn/amzn-drivers#330, seen with 2.13.1',
  },
  {
    driver: 'mlx5_core',
    kernels: { below: [6, 1] },
    what: 'sockets for AF_XDP have queue numbers of their own, in the upper half',
    handling: PASSED_OVER,
    noZeroCopy: true,
    source: "Linux 3db4c85cde7a; Firedancer's floor (fd_config_auto.c)",
  },
  {
    driver: 'i40e',
    kernels: { below: [5, 19] },
    what: 'zero copy is not stable',
    handling: PASSED_OVER,
    noZeroCopy: true,
    source: "Firedancer's floor (fd_config_auto.c)",
  },
  {
    driver: 'igb',
    what: 'frames of more than 1024 bytes are cut, without a counter, where a UMEM has chunks of 2048',
    handling: 'chunks are of 4096 bytes',
    noZeroCopy: false,
    source: 'seen with 7.3, as emulated by QEMU',
  },
  {
    driver: 'igb',
    what: 'its XDP takes an MTU of 3046 at most',
    handling: '`up` says that it may be the MTU, with the line that mends it',
    noZeroCopy: false,
    mtuMax: 3046,
    source: 'seen with 7.3, as emulated by QEMU; igb_xdp_setup()',
  },
  {
    driver: 'igb',
    what: 'attaching XDP resets the link',
    handling: 'the start waits for the carrier, then for a frame of its own to be sent',
    noZeroCopy: false,
    source: 'seen with 7.3, as emulated by QEMU',
  },
  {
    driver: 'igb',
    what: 'a socket that is bound without an XDP program sends nothing (EINVAL)',
    handling: 'the program is attached first',
    noZeroCopy: false,
    source: 'seen with 7.3, as emulated by QEMU',
  },
  ...(['ice', 'i40e'] as const).map((driver) => ({
    driver,
    what: 'a socket that only sends, on a fill ring that is empty, leaks buffers',
    handling: 'each shares the fill ring of its queue, which is filled before the socket is bound',
    noZeroCopy: false,
    source: 'anza-xyz/agave#6836',
  })),
  {
    driver: 'virtio_net',
    asModule: true,
    what: 'it gives the card a wrong address of the header of each frame sent in zero copy, so memory of others stands before it: frames vanish, or are changed, behind their completion',
    handling: PASSED_OVER,
    noZeroCopy: true,
    source:
      'seen with 7.3, in QEMU (`test/vm/foreign-header.ts`); `xsk_hdr` of drivers/net/virtio_net.c',
  },
  {
    driver: 'virtio_net',
    kernels: { from: [6, 18] },
    what: 'detaching XDP under a socket on a queue past `combined` makes the kernel warn, then oops',
    handling: 'such queues are refused',
    noZeroCopy: false,
    source: 'seen with 6.18 and 7.3, in QEMU',
  },
];

/**
 * Drivers that are done with a frame sent in bulk when the call returns, as measured
 * (docs/bulk.md). Others keep the call's page pool alive, for up to a second.
 */
const DONE_AT_ONCE: readonly string[] = ['veth'];
/** And those that are not. */
const DONE_LATER: readonly string[] = ['virtio_net', 'igb'];

/** What speaks against bulk transmit on that driver: `auto` does without it then; or null. */
export function faultOfBulk(driver: string): string | null {
  if (DONE_AT_ONCE.includes(driver)) return null;
  return DONE_LATER.includes(driver)
    ? `${driver} is not done with a frame when a call returns: each call's page pool lives on for up to a second`
    : `whether ${driver} is done with a frame when a call returns was not measured`;
}

/** The numbers that it begins with: [6, 18, 44] of 6.18.44-amd64. */
export function versionOf(text: string): Version {
  return (/^\d+(?:\.\d+)*/.exec(text)?.[0] ?? '').split('.').filter(Boolean).map(Number);
}

/** Negative, 0 or positive; a place that one lacks is 0. */
export function compare(a: Version, b: Version): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export interface Driver {
  readonly name: string;
  readonly version: string;
  /** As `uname -r` has it. */
  readonly kernel: string;
  readonly isModule: boolean;
}

/** What holds for this one. */
export function factsOf({ name, version, kernel, isModule }: Driver): DriverFact[] {
  const ofKernel = versionOf(kernel);
  const own = version === kernel ? [] : versionOf(version);
  return DRIVER_FACTS.filter(({ driver, kernels, versions, asModule }) => {
    if (driver !== name || (asModule && !isModule)) return false;
    if (kernels?.from !== undefined && compare(ofKernel, kernels.from) < 0) return false;
    if (kernels?.below !== undefined && compare(ofKernel, kernels.below) >= 0) return false;
    if (versions?.upTo === undefined) return true;
    return own.length > 0 && compare(own, versions.upTo) <= 0;
  });
}

/** The largest MTU with which that driver is known to take XDP; null: none is known. */
export function mtuMaxOf(driver: string): number | null {
  return DRIVER_FACTS.find((fact) => fact.driver === driver && fact.mtuMax)?.mtuMax ?? null;
}

/** Why `auto` does without zero copy on it, or null. */
export function faultOfZeroCopy(driver: Driver): string | null {
  const fact = factsOf(driver).find(({ noZeroCopy }) => noZeroCopy);
  return fact === undefined ? null : `${driver.name}: ${fact.what} (${fact.source})`;
}
