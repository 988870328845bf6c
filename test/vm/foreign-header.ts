/**
 * Where virtio_net, as a module, really takes the header (struct virtio_net_hdr) of what it sends
 * in zero copy from. The driver has it in a static variable (`xsk_hdr`) and asks for its physical
 * address by virt_to_phys(), which holds for memory that the kernel maps one to one and for its own
 * image, not for modules: the card is given the address that the variable would have there. What
 * lies at it is somebody else's. In this guest it is nobody's: see guest.ts.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { FOREIGN_HEADER } from './guest.js';

/** Where the kernel's own image begins (Documentation/arch/x86/x86_64/mm.rst). */
const IMAGE_BEGIN = 0xffff_ffff_8000_0000n;

/** Its physical address; null: the driver has no such variable any more. */
export function foreignHeader(): number | null {
  const found = /^([0-9a-f]+) \w xsk_hdr\s+\[virtio_net\]$/m.exec(
    readFileSync('/proc/kallsyms', 'utf8'),
  );
  return found === null ? null : Number(BigInt(`0x${found[1]}`) - IMAGE_BEGIN);
}

/** Puts a header there, by mem(4). */
export function writeForeignHeader(address: number, header: Uint8Array): void {
  const { begin, size_mib } = FOREIGN_HEADER;
  if (address < begin || address + header.length > begin + size_mib * 2 ** 20)
    throw new Error(`0x${address.toString(16)} is not in the memory that is reserved for this`);
  const fd = openSync('/dev/mem', 'r+');
  try {
    writeSync(fd, header, 0, header.length, address);
  } finally {
    closeSync(fd);
  }
}
