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
  /** When it came it was another node's to hold. */
  readonly copy: boolean;
  /** Grows with each use: the smallest stamp is the oldest. */
  stamp: number;
}

/** "needed": an open dataset needs it. "free": it may go. "copy": it is another node's to hold, and goes before all others. */
export type Standing = "needed" | "free" | "copy";

/** Says which blocks may go: set by admission, asked by the tiers. */
export interface Eviction {
  standing(block: HeldBlock): Standing;
}

/**
 * Who asks for room: a pinned block that an open dataset refers to, one that nobody refers to (yet) or that is a copy of what another node
 * holds, or one of an `lru` mount. A guest may only have what earlier processes left and nobody has used since; the others whatever is in the
 * queues.
 */
export type Claim = "referred" | "guest" | "lru";

/** Queue of what earlier processes left: no mount has this name. */
const UNCLAIMED = "\0";

/**
 * What one tier holds, by object and block, with those that may be evicted in order of age. Ages are kept by mount, so that a mount that
 * has reached its share can give up its own oldest.
 */
export class BlockIndex<B extends HeldBlock> {
  readonly #eviction: Eviction;
  readonly #objects = new Map<string, Map<number, B>>();
  readonly #queues = new Map<string, Set<B>>();
  readonly #copies = new Set<B>();
  readonly #held = new Map<string, number>();
  #stamp = 0;
  #bytes = 0;

  constructor(eviction: Eviction) {
    this.#eviction = eviction;
  }

  /** Bytes of data held. */
  get bytes(): number {
    return this.#bytes;
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
    this.#hold(block, -block.charge);
    this.#dequeue(block);
    return true;
  }

  /** Notes a use: an evictable block becomes the youngest, a pinned one has no age. */
  touch(block: B): void {
    const queue = this.#dequeue(block);
    if (queue === undefined) return;
    block.stamp = ++this.#stamp;
    queue.add(block);
  }

  /** Gives a block that an earlier process left to the mount that uses it now. */
  adopt(block: B, rules: HoldRules): void {
    this.#dequeue(block);
    this.#hold(block, -block.charge);
    block.rules = rules;
    this.#hold(block, block.charge);
    this.#enqueue(block);
  }

  /** The object is referred to now, or not any more: its blocks leave or enter the queues. */
  requeue(objectId: string): void {
    for (const block of this.#objects.get(objectId)?.values() ?? []) {
      this.#dequeue(block);
      this.#enqueue(block);
    }
  }

  /** Puts what earlier processes left in the order given: oldest first, and older than anything used since. */
  age(blocks: readonly B[]): void {
    const left = this.#queues.get(UNCLAIMED);
    for (const [i, block] of blocks.entries()) {
      if (block.rules !== undefined) continue;
      block.stamp = i - blocks.length;
      if (left?.delete(block) === true) left.add(block);
    }
  }

  /** The oldest block that may go, copies first; of one mount only where `mount` is given. */
  oldest(claim: Claim, mount?: string): B | undefined {
    if (claim === "guest") return mount === undefined ? this.#first(UNCLAIMED) : undefined;
    if (mount !== undefined) return this.#copyOf(mount) ?? this.#first(mount);
    let found: B | undefined = this.#copies.values().next().value;
    if (found !== undefined) return found;
    for (const name of this.#queues.keys()) {
      const first = this.#first(name);
      if (first !== undefined && (found === undefined || first.stamp < found.stamp)) found = first;
    }
    return found;
  }

  #copyOf(mount: string): B | undefined {
    for (const block of this.#copies) if (mountOf(block) === mount) return block;
    return undefined;
  }

  #first(queue: string): B | undefined {
    return this.#queues.get(queue)?.values().next().value;
  }

  #hold(block: B, charge: number): void {
    const mount = mountOf(block);
    this.#held.set(mount, (this.#held.get(mount) ?? 0) + charge);
  }

  /** The queue it was in. */
  #dequeue(block: B): Set<B> | undefined {
    if (this.#copies.delete(block)) return this.#copies;
    const queue = this.#queues.get(mountOf(block));
    return queue?.delete(block) === true ? queue : undefined;
  }

  #enqueue(block: B): void {
    const standing = this.#eviction.standing(block);
    if (standing === "needed") return;
    if (block.rules !== undefined) block.stamp = ++this.#stamp;
    if (standing === "copy") {
      this.#copies.add(block);
      return;
    }
    const mount = mountOf(block);
    const queue = this.#queues.get(mount);
    if (queue === undefined) this.#queues.set(mount, new Set([block]));
    else queue.add(block);
  }
}

function mountOf(block: HeldBlock): string {
  return block.rules?.mount ?? UNCLAIMED;
}
