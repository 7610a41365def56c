import type { ObjectVersion } from "../blocks/object-version.js";
import type { DiskTier } from "./disk-tier.js";
import type { MemoryTier } from "./memory-tier.js";

/** What memory and disks hold together, each block counted once. */
export class Holdings {
  readonly #memory: MemoryTier;
  readonly #disk: DiskTier | undefined;

  constructor(memory: MemoryTier, disk: DiskTier | undefined) {
    this.#memory = memory;
    this.#disk = disk;
  }

  has(objectId: string, block: number): boolean {
    return this.#memory.index.get(objectId, block) !== undefined || this.#disk?.has(objectId, block) === true;
  }

  objectIds(): Set<string> {
    return new Set([...this.#memory.index.objectIds(), ...(this.#disk?.objectIds() ?? [])]);
  }

  /** Bytes of data of one object. */
  bytesOf(objectId: string): number {
    let bytes = this.#disk?.heldBytes(objectId) ?? 0;
    for (const [block, held] of this.#memory.index.blocks(objectId) ?? [])
      if (this.#disk?.has(objectId, block) !== true) bytes += held.length;
    return bytes;
  }

  /** Bytes of data of all objects. */
  bytes(): number {
    if (this.#disk === undefined) return this.#memory.index.bytes;
    let twice = 0;
    for (const id of this.#memory.index.objectIds())
      for (const [block, held] of this.#memory.index.blocks(id)!) {
        // Only `lru` blocks are held twice, and an object has one admission.
        if (held.rules?.admission === "pin") break;
        if (this.#disk.has(id, block)) twice += held.length;
      }
    return this.#memory.index.bytes + this.#disk.bytes - twice;
  }

  /** Drops an object's blocks; resolves to the bytes of data freed. */
  async drop(objectId: string): Promise<number> {
    const freed = this.bytesOf(objectId);
    for (const block of [...(this.#memory.index.blocks(objectId)?.values() ?? [])]) this.#memory.drop(block);
    await this.#disk?.removeObject(objectId);
    return freed;
  }

  /** What is held of an object that was being written is of this version now. */
  async rename(from: string, to: ObjectVersion): Promise<void> {
    for (const block of [...(this.#memory.index.blocks(from)?.values() ?? [])]) this.#memory.rename(block, to);
    await this.#disk?.rename(from, to);
  }

  /** The object is referred to now, or not any more. */
  requeue(objectId: string): void {
    this.#memory.index.requeue(objectId);
    this.#disk?.requeue(objectId);
  }
}
