import type { Slab, SlotLease } from "./slab.js";

/** New slots for the bytes [begin, end), one a block, leased: the first and last block may be parts. Throws MILLRACE_NO_SPACE, holding none. */
export function leaseSpan(
  slab: Slab,
  blockSize: number,
  firstBlock: number,
  count: number,
  { begin, end }: { readonly begin: number; readonly end: number },
): SlotLease[] {
  const begins = Array.from({ length: count }, (_, i) => Math.max((firstBlock + i) * blockSize, begin));
  const slots = slab.allocateRun(begins.map((from, i) => (begins[i + 1] ?? end) - from));
  return slots.map((slot, i) => {
    const lease = slot.lease(begins[i]!);
    slot.release();
    return lease;
  });
}

export function releaseAll(leases: readonly SlotLease[]): void {
  for (const lease of leases) lease.release();
}
