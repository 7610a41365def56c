import type { BlockSource, Demand, Tier } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { SlotLease } from "../blocks/slab.js";

/** A BlockSource behind the disks whose leases are slots of this cache's slab, so that they can be held without a copy. */
export interface SlotSource extends BlockSource {
  readonly tier: Tier;
  /** Spans asked of it end at multiples of it; 0: anywhere. */
  readonly groupBytes: number;
  /** Fills slots of the slab only, whatever place a demand names. Default: no. */
  readonly sharedOnly?: boolean;
  /** True where the block that begins there is another node's to fetch and to hold: it is asked for here, and no copy is kept. Default: never. */
  elsewhere?(object: ObjectVersion, begin: number): boolean;
  /** True where the block is this node's to hold when those before it in order do not serve: it is fetched here, once for all who ask, and kept. Default: never. */
  standsIn?(object: ObjectVersion, begin: number): boolean;
  read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly (SlotLease | undefined)[]>;
}
