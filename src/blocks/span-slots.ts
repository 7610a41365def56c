import type { Slab, SlotLease } from "./slab.js";

/** New slots for the bytes [begin, end), one a block, leased: the first and last block may be parts. Throws MILLRACE_NO_SPACE, holding none. */
export function leaseSpan(
  slab: Slab,
  blockSize: number,
  firstBlock: number,
  count: number,
  { begin, end }: { readonly begin: number; readonly end: number },
): SlotLease[] {
  const leases: SlotLease[] = [];
  try {
    for (let block = firstBlock; block < firstBlock + count; block++) {
      const from = Math.max(block * blockSize, begin);
      const slot = slab.allocate(Math.min((block + 1) * blockSize, end) - from);
      leases.push(slot.lease(from));
      slot.release();
    }
    return leases;
  } catch (error) {
    releaseAll(leases);
    throw error;
  }
}

export function releaseAll(leases: readonly SlotLease[]): void {
  for (const lease of leases) lease.release();
}
