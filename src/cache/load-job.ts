/** What the rooms of the block loader hand each other. */
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab } from "../blocks/slab.js";
import type { BlockPart } from "../blocks/span.js";
import type { Admission, IsElsewhere, Placement } from "./admission.js";
import type { CacheCounters } from "./cache-counters.js";
import type { DiskTier } from "./disk-tier.js";
import type { Holdings } from "./holdings.js";
import type { MemoryTier } from "./memory-tier.js";
import type { Flight, FlightTable, Load, Ticket } from "./single-flight.js";
import type { SlotSource } from "./slot-source.js";

/**
 * What is fetched together, aligned: what a wide demand is widened to, a GB in 119 requests whatever the size of the pieces asked for, and what one
 * process of a node fetches at a time. As long as a group of peers.
 */
export const WIDE_BYTES: number = 8 * 2 ** 20;

export interface LoaderParts {
  readonly blockSize: number;
  readonly slab: Slab;
  readonly memory: MemoryTier;
  readonly holdings: Holdings;
  readonly disk: DiskTier | undefined;
  readonly admission: Admission;
  readonly isElsewhere: IsElsewhere;
  /** What is another node's to hold is held here too, where there is room that nothing else takes. */
  readonly copies: boolean;
  readonly flights: FlightTable;
  /** The last one has everything. */
  readonly sources: readonly SlotSource[];
  readonly counters: CacheCounters;
}

/** What a caller says of the bytes it asks for. */
export interface LoadDemand extends Pick<Demand, "priority" | "served" | "into"> {
  /** The caller will ask for the blocks around these too, sooner or later: where they find room in memory, one request brings them all. */
  readonly wide?: boolean | undefined;
  /** For a peer: memory, disks and the origin are asked, other peers are not. */
  readonly local?: boolean | undefined;
  /** The node that is to hold it did not serve: this one does, and keeps it meanwhile. */
  readonly standIn?: boolean | undefined;
}

/** One fetch, for one demand. */
export interface Job {
  readonly object: ObjectVersion;
  readonly load: Load;
  readonly demand: LoadDemand;
  /** Whose demand it is. */
  readonly ticket: Ticket;
}

/** A flight that the disks did not have. */
export interface Wanted extends BlockPart {
  readonly flight: Flight;
  placement: Placement | undefined;
}
