import type { Destination } from "./block-source.js";
import { borrowedSlot, type Slab, type Slot, type SlotLease } from "./slab.js";

/** Those of the bytes [begin, end) of an object that have a place there; undefined where not all have. */
export function placeIn(into: Destination | undefined, begin: number, end: number): Uint8Array | undefined {
  if (into === undefined || begin < into.begin || end > into.begin + into.bytes.length) return undefined;
  return into.bytes.subarray(begin - into.begin, end - into.begin);
}

/** New slots for the bytes [begin, end), one a block, leased: the first and last block may be parts. Blocks that have a place in `into` lie there. Throws MILLRACE_NO_SPACE, holding none. */
export function leaseSpan(
  slab: Slab,
  blockSize: number,
  firstBlock: number,
  count: number,
  { begin, end, into }: { readonly begin: number; readonly end: number; readonly into?: Destination | undefined },
): SlotLease[] {
  const begins = Array.from({ length: count }, (_, i) => Math.max((firstBlock + i) * blockSize, begin));
  const places = begins.map((from, i) => placeIn(into, from, begins[i + 1] ?? end));
  const lengths = begins.flatMap((from, i) => (places[i] === undefined ? [(begins[i + 1] ?? end) - from] : []));
  const own = (lengths.length === 0 ? [] : slab.allocateRun(lengths)).values();
  return places.map((place, i) => {
    const slot: Slot = place === undefined ? own.next().value! : borrowedSlot(place);
    const lease = slot.lease(begins[i]!);
    slot.release();
    return lease;
  });
}

export function releaseAll(leases: readonly SlotLease[]): void {
  for (const lease of leases) lease.release();
}
