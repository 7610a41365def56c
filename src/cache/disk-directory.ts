/** The blocks of one directory of the disk tier. No error of it reaches a reader. */
import { join } from "node:path";
import pLimit from "p-limit";
import type { ObjectVersion } from "../blocks/object-version.js";
import { borrowedSlot, type Slab, type Slot } from "../blocks/slab.js";
import { BlockIndex, type Claim, type Eviction, type HeldBlock } from "./block-index.js";
import type { DiskCounters } from "./disk-counters.js";
import { DiskHealth } from "./disk-health.js";
import { blockPath, CLAIMS, encodeHeader, HEADER_BYTES, matches, renamedHeader } from "./disk-layout.js";
import { DiskLedger } from "./disk-ledger.js";
import { DiskRoom, type RoomLimits } from "./disk-room.js";
import { fileExists, readFileInto, removeFile, renameFile, writeFileAtomically } from "./file-io.js";
import { GroupClaims } from "./group-claims.js";
import { MetaFiles } from "./meta-files.js";
import type { ProcessIdentity } from "./process-identity.js";

export interface DiskBlock extends HeldBlock {
  readonly blockSize: number;
  /** Its file is on its way. */
  writing: boolean;
  /** The bytes, for as long as somebody holds them, the writer or a reader: nobody else need read them. Not held by this. */
  slot: Slot | undefined;
}

export interface DirectoryParts extends RoomLimits {
  readonly path: string;
  /** The layout's folder below `path`. */
  readonly root: string;
  readonly blockSize: number;
  readonly me: ProcessIdentity;
  readonly slab: Slab;
  readonly eviction: Eviction;
  readonly counters: DiskCounters;
  readonly disabled: (path: string, reason: string) => void;
}

/** Of one directory: half the threads of libuv's pool, so that reads do not wait behind all of them. Two write no less than four: 1,112 MB/s and 865. */
const WRITERS = 2;
/** Files open at once: fewer than a process of 256 descriptors can spare. */
const READERS = 16;

export class DiskDirectory {
  readonly path: string;
  readonly root: string;
  readonly capacity: number;
  readonly index: BlockIndex<DiskBlock>;
  readonly ledger: DiskLedger;
  readonly room: DiskRoom;
  readonly health: DiskHealth;
  readonly meta: MetaFiles;
  readonly claims: GroupClaims;
  readonly counters: DiskCounters;
  /** True once the scan has ended: what is not in the index is not on disk, unless another process wrote it. */
  scanned = false;
  readonly #parts: DirectoryParts;
  readonly #readers = pLimit(READERS);
  readonly #writers = pLimit(WRITERS);
  readonly #writing = new Set<Promise<unknown>>();
  #temp = 0;

  constructor(parts: DirectoryParts) {
    const { root, capacity, me, counters } = parts;
    this.#parts = parts;
    this.path = parts.path;
    this.root = root;
    this.capacity = capacity;
    this.counters = counters;
    this.index = new BlockIndex<DiskBlock>(parts.eviction);
    this.health = new DiskHealth(counters, (reason) => this.#giveUp(reason));
    this.ledger = new DiskLedger(root, capacity, me, counters, () => (this.scanned ? this.room.charged : undefined));
    this.claims = new GroupClaims(join(root, CLAIMS), me);
    this.room = new DiskRoom(parts, this.ledger, this.health, (claim) => this.evictOldest(claim));
    this.meta = new MetaFiles({
      root,
      capacity,
      room: this.room,
      counters,
      write: (path, id, bytes) => this.#write(path, id, 0, bytes),
      health: this.health,
    });
  }

  /** A name for a file in the making: what is left under it when this process is killed goes at the next scan. */
  temp(): string {
    return join(this.root, "tmp", `${this.#parts.me.instance}-${this.#temp++}`);
  }

  /** True where the block's file is there, whoever wrote it. */
  onDisk(objectId: string, block: number): Promise<boolean> {
    return fileExists(join(this.root, blockPath(objectId, block, this.#parts.blockSize)));
  }

  /** The block's bytes in a slot of its own, in `place` where that is given, checked; undefined where it is not here or not sound. */
  async read(object: ObjectVersion, block: number, length: number, place?: Uint8Array): Promise<Slot | undefined> {
    const held = this.index.get(object.id, block);
    if (held?.rules === undefined && held !== undefined) this.index.adopt(held, object.rules);
    else if (held !== undefined) this.index.touch(held);
    if (held?.slot !== undefined) {
      held.slot.retain();
      return held.slot;
    }
    const slot = place === undefined ? this.#parts.slab.allocate(length) : borrowedSlot(place);
    const header = new Uint8Array(HEADER_BYTES);
    const path = join(this.root, blockPath(object.id, block, this.#parts.blockSize));
    const read = await this.health.attempt(() => this.#readers(() => readFileInto(path, [header, slot.bytes])));
    if (read === HEADER_BYTES + length && matches(header, object.id, block, slot.bytes)) {
      this.#parts.counters.reads++;
      remember(held ?? this.#adopt(object, block, length), slot);
      return slot;
    }
    slot.release();
    if (read !== undefined) await this.#unsound(path, held);
    else if (held !== undefined) this.#vanished(held);
    return undefined;
  }

  /** Writes a block that room was promised for. Resolves when it is on disk or has failed; it can be read meanwhile. */
  async write(object: ObjectVersion, block: number, slot: Slot, copy: boolean): Promise<void> {
    const { counters } = this.#parts;
    const held: DiskBlock = { ...this.#entry(object.id, block, slot.bytes.length), rules: object.rules, copy, writing: true };
    slot.retain();
    remember(held, slot);
    this.index.add(held);
    const path = blockPath(object.id, block, this.#parts.blockSize);
    const done = await this.#write(path, object.id, block, slot.bytes);
    held.writing = false;
    slot.release();
    if (!done) {
      counters.failedWrites++;
      this.index.remove(held);
      this.room.release(held.charge);
      return;
    }
    counters.writes++;
    counters.writtenBytes += held.length;
    // Evicted while it was being written: the file goes too.
    if (this.index.get(object.id, block) !== held) await this.#unlink(path, held.charge);
  }

  /** Removes a block and frees its room. Where it is still being written, its writer does. */
  async remove(block: DiskBlock): Promise<void> {
    if (!this.index.remove(block) || block.writing) return;
    await this.#unlink(blockPath(block.objectId.slice(0, 32), block.block, block.blockSize), block.charge);
  }

  /** The block's object has this version now: its file gets another name, and its header says so. */
  async rename(block: DiskBlock, to: ObjectVersion): Promise<void> {
    if (!this.index.remove(block)) return;
    const from = join(this.root, blockPath(block.objectId, block.block, block.blockSize));
    const path = join(this.root, blockPath(to.id, block.block, block.blockSize));
    const renamed = await this.#writers(() =>
      this.health.attempt(() => renameFile(from, path, HEADER_BYTES, (header) => renamedHeader(header, to.id)).then(() => true), true),
    );
    if (renamed !== true) return this.#unlink(blockPath(block.objectId, block.block, block.blockSize), block.charge);
    if (this.index.get(to.id, block.block) !== undefined) return this.room.release(block.charge);
    const held = { ...block, objectId: to.id, slot: undefined };
    this.index.add(held);
    if (block.slot !== undefined) remember(held, block.slot);
  }

  /** Waits for the writes in flight, then gives the grant back. */
  async close(): Promise<void> {
    while (this.#writing.size > 0) await Promise.allSettled(this.#writing);
    await this.ledger.close().catch(() => {});
  }

  /** False where nothing may go. */
  async evictOldest(claim: Claim, mount?: string): Promise<boolean> {
    const oldest = this.index.oldest(claim, mount);
    if (oldest === undefined) return false;
    this.#parts.counters.evictions++;
    await this.remove(oldest);
    return true;
  }

  /** Takes in a file that the scan found. */
  takeIn(objectId: string, block: number, blockSize: number, length: number): DiskBlock | undefined {
    // Blocks of another size are never asked for; the mark keeps them apart until they are evicted.
    const id = blockSize === this.#parts.blockSize ? objectId : `${objectId}/${blockSize}`;
    if (this.index.get(id, block) !== undefined) return undefined;
    const held = { ...this.#entry(id, block, length), blockSize };
    this.room.found(held.charge);
    this.index.add(held);
    return held;
  }

  #entry(objectId: string, block: number, length: number): DiskBlock {
    const { blockSize } = this.#parts;
    const charge = this.room.charge(length);
    return { objectId, block, blockSize, length, charge, rules: undefined, copy: false, stamp: 0, writing: false, slot: undefined };
  }

  /** Takes in a file that a read found before the scan did, or that another process wrote. */
  #adopt(object: ObjectVersion, block: number, length: number): DiskBlock | undefined {
    const held = this.takeIn(object.id, block, this.#parts.blockSize, length);
    if (held === undefined) return undefined;
    this.index.adopt(held, object.rules);
    this.#parts.counters.found++;
    return held;
  }

  async #write(path: string, id: string, block: number, bytes: Uint8Array): Promise<boolean> {
    const written = this.#writers(() =>
      this.health.attempt(async () => {
        await writeFileAtomically(this.temp(), join(this.root, path), [encodeHeader(id, block, bytes), bytes]);
        return true;
      }, true),
    );
    this.#writing.add(written);
    try {
      return (await written) === true;
    } finally {
      this.#writing.delete(written);
    }
  }

  /** A file that is not what its name says: counted and removed, so that the block is fetched and held again. */
  async #unsound(path: string, held: DiskBlock | undefined): Promise<void> {
    this.#parts.counters.checksumMisses++;
    const known = held !== undefined && this.index.remove(held);
    const removed = await this.health.attempt(() => removeFile(path));
    if (known && removed === true) this.room.release(held.charge);
    else if (known) this.room.lost(held.charge);
  }

  #vanished(held: DiskBlock): void {
    if (!this.index.remove(held)) return;
    this.#parts.counters.vanished++;
    this.room.lost(held.charge);
  }

  async #unlink(path: string, charge: number): Promise<void> {
    const removed = await this.health.attempt(() => removeFile(join(this.root, path)));
    if (removed === true) this.room.release(charge);
    else this.room.lost(charge);
  }

  #giveUp(reason: string): void {
    for (const id of [...this.index.objectIds()]) for (const block of [...this.index.blocks(id)!.values()]) this.index.remove(block);
    this.#parts.disabled(this.path, reason);
  }
}

/** Until the slot is freed, the block need not be read again. */
function remember(held: DiskBlock | undefined, slot: Slot): void {
  if (held === undefined || slot.borrowed) return;
  held.slot = slot;
  slot.watch(() => {
    if (held.slot === slot) held.slot = undefined;
  });
}
