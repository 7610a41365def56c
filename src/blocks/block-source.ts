import type { Urgency } from "../storage/priority.js";
import type { ObjectVersion } from "./object-version.js";

/** Memory of a reader's own for the bytes of an object from `begin`. */
export interface Destination {
  readonly begin: number;
  readonly bytes: Uint8Array;
}

/** Which bytes are wanted, how urgently, and for whom. */
export interface Demand {
  /** Bytes of the object that are needed: `begin` inclusive, `end` exclusive. May lie inside the first and last block. */
  readonly begin: number;
  readonly end: number;
  /** Lower goes first: 0 demand, 1 read-ahead, 2 and up prefetch. */
  readonly priority: Urgency;
  readonly signal?: AbortSignal | undefined;
  /** The bytes around these will be wanted too, sooner or later. */
  readonly wide?: boolean | undefined;
  /** Where they may go at once: a block that a disk or the origin brings for nobody else lies there, and not in the slab. */
  readonly into?: Destination | undefined;
  /** Called as bytes arrive, with the tier they came from: a loader's own account. */
  readonly served?: ((tier: Tier, bytes: number, requests: number) => void) | undefined;
}

export type Tier = "memory" | "disk" | "peer" | "origin";

/** Bytes of one block, held in the slab until released. */
export interface BlockLease {
  /** Offset in the object of `bytes[0]`. */
  readonly begin: number;
  /** On a SharedArrayBuffer: `bytes.buffer` may be handed to another thread while the lease is held. */
  readonly bytes: Uint8Array;
  /** crc32c of `bytes`, whole. Worked out once for all who hold the block. */
  readonly checksum: number;
  /** Gives the lease back. Calling it twice does nothing. */
  release(): void;
}

/** A place that may have blocks. `undefined` at an index: not here, ask the next source. */
export interface BlockSource {
  /** `result[i]` covers the part of block `firstBlock + i` that `demand` needs, or is undefined. */
  read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly (BlockLease | undefined)[]>;
}
