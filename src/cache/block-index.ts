import type { HoldRules } from "../blocks/object-version.js";

/** A block that a tier holds. */
export interface HeldBlock {
  readonly objectId: string;
  readonly block: number;
  /** Bytes of data. */
  readonly length: number;
  /** Bytes of the tier's capacity that it takes, overhead included. */
  readonly charge: number;
  /** Whose it is; undefined for what an earlier process left until this one asks for it. */
  rules: HoldRules | undefined;
  /** Used or filled since this cache was opened. */
  fresh: boolean;
  /** Grows with each use: the smallest stamp is the oldest. */
  stamp: number;
}

/** Says which blocks may go: set by admission, asked by the tiers. */
export interface Eviction {
  /** False: an open dataset needs it. */
  evictable(block: HeldBlock): boolean;
}

/** Who asks for room, and what may go for it. */
export interface Claim {
  /** A pinned block that an open dataset refers to; one that nobody refers to yet; one of an `lru` mount. */
  readonly kind: "referred" | "guest" | "lru";
  mayEvict(block: HeldBlock): boolean;
}

/**
 * What one tier holds, by object and block, with those that may be evicted in order of age. Ages are kept by mount, so that a mount that
 * has reached its share can give up its own oldest.
 */
export class BlockIndex<B extends HeldBlock> {
  readonly #eviction: Eviction;
  readonly #objects = new Map<string, Map<number, B>>();
  readonly #queues = new Map<string, Set<B>>();
  readonly #held = new Map<string, number>();
  #stamp = 0;
  #bytes = 0;
  #count = 0;

  constructor(eviction: Eviction) {
    this.#eviction = eviction;
  }

  /** Bytes of data held. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes of capacity that a mount's blocks take. */
  heldBy(mount: string): number {
    return this.#held.get(mount) ?? 0;
  }

  blocks(objectId: string): ReadonlyMap<number, B> | undefined {
    return this.#objects.get(objectId);
  }

  get(objectId: string, block: number): B | undefined {
    return this.#objects.get(objectId)?.get(block);
  }

  objectIds(): IterableIterator<string> {
    return this.#objects.keys();
  }

  add(block: B): void {
    let blocks = this.#objects.get(block.objectId);
    if (blocks === undefined) {
      blocks = new Map();
      this.#objects.set(block.objectId, blocks);
    }
    blocks.set(block.block, block);
    this.#bytes += block.length;
    this.#count++;
    this.#hold(block, block.charge);
    this.#enqueue(block);
  }

  /** False where it was not held any more. */
  remove(block: B): boolean {
    const blocks = this.#objects.get(block.objectId);
    if (blocks?.get(block.block) !== block) return false;
    blocks.delete(block.block);
    if (blocks.size === 0) this.#objects.delete(block.objectId);
    this.#bytes -= block.length;
    this.#count--;
    this.#hold(block, -block.charge);
    this.#queues.get(mountOf(block))?.delete(block);
    return true;
  }

  /** Notes a use: an evictable block becomes the youngest, a pinned one has no age. */
  touch(block: B): void {
    const queue = this.#queues.get(mountOf(block));
    if (queue?.delete(block) !== true) return;
    block.fresh = true;
    block.stamp = ++this.#stamp;
    queue.add(block);
  }

  /** Gives a block that an earlier process left to the mount that uses it now. */
  adopt(block: B, rules: HoldRules): void {
    this.#queues.get(mountOf(block))?.delete(block);
    this.#hold(block, -block.charge);
    block.rules = rules;
    block.fresh = true;
    this.#hold(block, block.charge);
    this.#enqueue(block);
  }

  /** The object is referred to now, or not any more: its blocks leave or enter the queues. */
  requeue(objectId: string): void {
    for (const block of this.#objects.get(objectId)?.values() ?? []) {
      this.#queues.get(mountOf(block))?.delete(block);
      this.#enqueue(block);
    }
  }

  /** Puts the blocks first, in the order given: what an earlier process left is older than anything used since. */
  age(blocks: readonly B[]): void {
    for (const [mount, queue] of this.#queues) {
      const left = blocks.filter((block) => !block.fresh && mountOf(block) === mount && queue.has(block));
      if (left.length === 0) continue;
      for (const block of left) queue.delete(block);
      for (const [i, block] of left.entries()) block.stamp = i - left.length;
      this.#queues.set(mount, new Set([...left, ...queue]));
    }
  }

  /** The oldest block that may go; of one mount only where `mount` is given. */
  oldest(claim: Claim, mount?: string): B | undefined {
    let found: B | undefined;
    for (const [name, queue] of this.#queues) {
      if (mount !== undefined && name !== mount) continue;
      for (const block of queue) {
        if (found !== undefined && block.stamp > found.stamp) break;
        if (!claim.mayEvict(block)) continue;
        found = block;
        break;
      }
    }
    return found;
  }

  #hold(block: B, charge: number): void {
    const mount = mountOf(block);
    this.#held.set(mount, (this.#held.get(mount) ?? 0) + charge);
  }

  #enqueue(block: B): void {
    if (!this.#eviction.evictable(block)) return;
    if (block.fresh) block.stamp = ++this.#stamp;
    const mount = mountOf(block);
    const queue = this.#queues.get(mount);
    if (queue === undefined) this.#queues.set(mount, new Set([block]));
    else queue.add(block);
  }
}

function mountOf(block: HeldBlock): string {
  return block.rules?.mount ?? "";
}
