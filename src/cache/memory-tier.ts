/** The fastest tier: slots of the slab, held for as long as admission wants them. */
import type { ObjectVersion } from "../blocks/object-version.js";
import { type Slab, type Slot, slotCost } from "../blocks/slab.js";
import { BlockIndex, type Claim, type Eviction, type HeldBlock } from "./block-index.js";

export interface MemoryBlock extends HeldBlock {
  readonly slot: Slot;
  /** Offset of the block in the object. */
  readonly begin: number;
}

export class MemoryTier {
  readonly capacity: number;
  readonly index: BlockIndex<MemoryBlock>;
  readonly #slab: Slab;
  readonly #onEvicted: () => void;
  #charged = 0;

  constructor(capacity: number, slab: Slab, eviction: Eviction, onEvicted: () => void) {
    this.capacity = capacity;
    this.#slab = slab;
    this.#onEvicted = onEvicted;
    this.index = new BlockIndex<MemoryBlock>(eviction);
  }

  /** Capacity taken: by what is held and by what is promised to blocks on their way. */
  get charged(): number {
    return this.#charged;
  }

  /** True where a block finds room without an eviction. */
  hasRoom(length: number): boolean {
    return this.#charged + slotCost(length) <= this.capacity;
  }

  /** Promises room for a block, evicting what may go for it. False: there is none. */
  reserve(length: number, claim: Claim): boolean {
    const charge = slotCost(length);
    if (charge > this.capacity) return false;
    while (this.#charged + charge > this.capacity) {
      const oldest = this.index.oldest(claim);
      if (oldest === undefined) return false;
      this.evict(oldest);
    }
    this.#charged += charge;
    return true;
  }

  /** Gives a promise back. */
  cancel(length: number): void {
    this.#charged -= slotCost(length);
  }

  /** Takes in a block that room was promised for. The tier is one more holder of the slot. */
  add(object: ObjectVersion, block: number, begin: number, slot: Slot, copy: boolean): void {
    slot.retain();
    this.#slab.enterTier(slot);
    const length = slot.bytes.length;
    const held = { objectId: object.id, block, begin, slot, length, charge: slot.cost, rules: object.rules, copy, stamp: 0 };
    this.index.add(held);
  }

  /** The block's object has this version now. */
  rename(block: MemoryBlock, to: ObjectVersion): void {
    if (this.index.get(to.id, block.block) !== undefined) this.drop(block);
    else if (this.index.remove(block)) this.index.add({ ...block, objectId: to.id });
  }

  evict(block: MemoryBlock): void {
    if (this.drop(block)) this.#onEvicted();
  }

  /** Lets a block go. Leases that are out keep its bytes alive, in the working account. */
  drop(block: MemoryBlock): boolean {
    if (!this.index.remove(block)) return false;
    this.#charged -= block.charge;
    this.#slab.leaveTier(block.slot);
    block.slot.release();
    return true;
  }
}
