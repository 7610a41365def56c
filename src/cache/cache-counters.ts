import type { SlabStats } from "../blocks/slab.js";
import type { DiskStats } from "./disk-counters.js";

/** What the cache counts from its opening on. Blocks, unless a name says bytes. */
export class CacheCounters {
  /** Blocks found in memory, or on their way to it for another caller. */
  memoryHits = 0;
  /** Bytes asked for and served from memory. */
  memoryBytes = 0;
  /** Blocks read from disk, or from the queue of blocks on their way there. */
  diskHits = 0;
  /** Bytes asked for and served from disk. */
  diskBytes = 0;
  /** Blocks served by peers. */
  peerHits = 0;
  /** Bytes asked for and served by peers. */
  peerBytes = 0;
  /** Blocks that had to come from the origin. */
  misses = 0;
  /** Bytes asked for and served from the origin. */
  originBytes = 0;
  /** Bytes that origin requests brought: more than `originBytes` where whole blocks were fetched, less where several waited for one fetch. */
  originFetchedBytes = 0;
  /** Ranged GETs that succeeded. */
  originRequests = 0;
  /** Blocks that were waited for on another caller's fetch. */
  joined = 0;
  /** Blocks fetched that found no room and were streamed. */
  streamed = 0;
  /** Fetches given up because the last who waited had left. */
  abandoned = 0;
  /** Blocks that left memory to make room. */
  memoryEvictions = 0;
}

/** The counters, and what the tiers hold now. */
export interface CacheStats extends Readonly<CacheCounters> {
  /** Bytes of data in memory now. */
  readonly memoryHeldBytes: number;
  /** Bytes of the memory tier's capacity taken now: data, rounding, and room promised to blocks on their way. */
  readonly memoryChargedBytes: number;
  readonly memoryCapacityBytes: number;
  /** Bytes of data held, each block counted once however many tiers hold it. Exact for pinned blocks; `lru` blocks in both tiers count as the disk's. */
  readonly admittedBytes: number;
  readonly slab: SlabStats;
  readonly disk: DiskStats;
}
