import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab, SlotLease } from "../blocks/slab.js";
import { leaseSpan, releaseAll } from "../blocks/span-slots.js";
import type { SlotSource } from "./slot-source.js";

/** The last tier: one ranged GET, from the socket into the slots. It has every block, so it never answers `undefined`. */
export class OriginSource implements SlotSource {
  readonly tier = "origin" as const;
  readonly groupBytes = 0;
  readonly sharedOnly: boolean;
  readonly #slab: Slab;
  readonly #blockSize: number;

  /** `sharedOnly`: other threads fill the slots, and can only reach shared memory. */
  constructor(slab: Slab, blockSize: number, sharedOnly = false) {
    this.#slab = slab;
    this.#blockSize = blockSize;
    this.sharedOnly = sharedOnly;
  }

  /** The leases hold exactly the bytes of `demand`: the first and last block may be parts. */
  async read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly SlotLease[]> {
    const leases = leaseSpan(this.#slab, this.#blockSize, firstBlock, count, this.sharedOnly ? { ...demand, into: undefined } : demand);
    try {
      const { signal, priority } = demand;
      const targets = leases.map((lease) => lease.bytes);
      await object.store.readInto(object.stored, demand.begin, targets, { signal, priority });
      demand.served?.("origin", demand.end - demand.begin, 1);
      return leases;
    } catch (error) {
      // The store has settled: nothing writes the slots any more.
      releaseAll(leases);
      throw error;
    }
  }
}
