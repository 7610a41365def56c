/**
 * Which block may be held, and where.
 *
 * `pin`: with one read a sample an epoch, the hit rate of a cache that never evicts is its part of the data, Belady's optimum; LRU at half the
 * data hits .15. So what open datasets refer to is never evicted, and what finds no room is streamed. Memory fills first, then the disks;
 * a pinned block is held once.
 * `lru`: held on disk and in memory, oldest first to go.
 * Blocks of objects that nobody refers to (an older version, yesterday's dataset) may go for either, and before them copies of what is another
 * node's to hold. Such a copy, and a pinned block that nobody refers to (yet), takes free room and what earlier processes left, so that it does not
 * push out what was used in this one.
 */
import type { HoldRules, ObjectVersion } from "../blocks/object-version.js";
import type { Claim, Eviction, HeldBlock, Standing } from "./block-index.js";
import type { DiskReservation, DiskTier } from "./disk-tier.js";
import type { MemoryTier } from "./memory-tier.js";

/** Where a block on its way will be held. Both are set for `lru`. */
export interface Placement {
  /** It is another node's to hold. */
  readonly copy: boolean;
  readonly memory: boolean;
  readonly disk: DiskReservation | undefined;
}

/** True where the block is another node's to hold. */
export type IsElsewhere = (object: ObjectVersion, block: number) => boolean;

/** Which objects open datasets refer to. */
export class References implements Eviction {
  readonly #counts = new Map<string, number>();
  /** Only where blocks may be another node's: of small files there are millions. */
  readonly #objects = new Map<string, ObjectVersion>();
  readonly #isElsewhere: IsElsewhere | undefined;

  constructor(isElsewhere?: IsElsewhere) {
    this.#isElsewhere = isElsewhere;
  }

  has(objectId: string): boolean {
    return this.#counts.has(objectId);
  }

  objectIds(): string[] {
    return [...this.#counts.keys()];
  }

  /** True where it is the first. */
  add(object: ObjectVersion): boolean {
    const count = this.#counts.get(object.id) ?? 0;
    this.#counts.set(object.id, count + 1);
    if (this.#isElsewhere !== undefined) this.#objects.set(object.id, object);
    return count === 0;
  }

  /** True where it was the last. */
  remove(objectId: string): boolean {
    const count = this.#counts.get(objectId) ?? 0;
    if (count > 1) this.#counts.set(objectId, count - 1);
    else {
      this.#counts.delete(objectId);
      this.#objects.delete(objectId);
    }
    return count === 1;
  }

  standing({ objectId, block, rules, copy }: HeldBlock): Standing {
    // Whose an earlier process's block is shows when it is first used; until then a dataset that refers to it keeps it.
    if (rules === undefined) return this.has(objectId) ? "needed" : "free";
    const object = this.#objects.get(objectId);
    if (object === undefined ? copy : this.#isElsewhere!(object, block)) return "copy";
    return rules.admission === "lru" || !this.has(objectId) ? "free" : "needed";
  }
}

export class Admission {
  readonly #references: References;
  readonly #memory: MemoryTier;
  readonly #disk: DiskTier | undefined;
  /** Bytes promised to blocks on their way, by mount: they count for its share. */
  readonly #promised = new Map<string, number>();

  constructor(references: References, memory: MemoryTier, disk: DiskTier | undefined) {
    this.#references = references;
    this.#memory = memory;
    this.#disk = disk;
  }

  /** Promises room for a block of `length` bytes, evicting what may go; undefined: stream it. `copy`: the block is another node's to hold. */
  async place(object: ObjectVersion, length: number, copy: boolean): Promise<Placement | undefined> {
    const claim = copy ? "guest" : this.#claim(object);
    if (!(await this.#promiseWithinShare(object.rules, length, claim))) return undefined;
    const placement = await this.#reserve(object, length, claim);
    if (placement === undefined) this.#promise(object.rules, -length);
    return placement && { ...placement, copy };
  }

  /** The block has come and is held, or will not come: ends the promise. The tiers' own are ended by whoever takes or cancels them. */
  settle(rules: HoldRules, length: number): void {
    this.#promise(rules, -length);
  }

  async #reserve(object: ObjectVersion, length: number, claim: Claim): Promise<Omit<Placement, "copy"> | undefined> {
    if (object.rules.admission === "pin") {
      if (this.#memory.reserve(length, claim)) return { memory: true, disk: undefined };
      const disk = await this.#disk?.reserve(length, claim);
      return disk === undefined ? undefined : { memory: false, disk };
    }
    const disk = await this.#disk?.reserve(length, claim);
    const memory = this.#memory.reserve(length, claim);
    return memory || disk !== undefined ? { memory, disk } : undefined;
  }

  #claim(object: ObjectVersion): Claim {
    if (object.rules.admission === "lru") return "lru";
    return this.#references.has(object.id) ? "referred" : "guest";
  }

  /** Makes room within the mount's share out of its own oldest, and takes it; false where it has no more to give. */
  async #promiseWithinShare(rules: HoldRules, length: number, claim: Claim): Promise<boolean> {
    if (rules.share >= 1) return true;
    const limit = rules.share * (this.#memory.capacity + (this.#disk?.capacity ?? 0));
    while (this.#heldBy(rules.mount) + length > limit) {
      const own = this.#memory.index.oldest(claim, rules.mount);
      if (own !== undefined) this.#memory.evict(own);
      else if ((await this.#disk?.evictOldest(claim, rules.mount)) !== true) return false;
    }
    this.#promise(rules, length);
    return true;
  }

  #heldBy(mount: string): number {
    return this.#memory.index.heldBy(mount) + (this.#disk?.heldBy(mount) ?? 0) + (this.#promised.get(mount) ?? 0);
  }

  #promise(rules: HoldRules, bytes: number): void {
    if (rules.share < 1) this.#promised.set(rules.mount, (this.#promised.get(rules.mount) ?? 0) + bytes);
  }
}
