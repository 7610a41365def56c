/** Metadata blobs of one directory: manifests and record indexes. Held within the directory's capacity, a twentieth of it at most. */
import { join } from "node:path";
import type { DiskCounters } from "./disk-counters.js";
import type { DiskHealth } from "./disk-health.js";
import { HEADER_BYTES, headerLength, matches, metaPath } from "./disk-layout.js";
import type { DiskRoom } from "./disk-room.js";
import { readFileInto, removeFile } from "./file-io.js";

/** Part of the capacity that blobs may take: an index is some 0.02 % of its shard, so this is plenty, and blocks never starve. */
const MAX_PART = 0.05;
export interface MetaFilesParts {
  readonly root: string;
  readonly capacity: number;
  readonly room: DiskRoom;
  readonly health: DiskHealth;
  readonly counters: DiskCounters;
  readonly write: (path: string, id: string, bytes: Uint8Array) => Promise<boolean>;
}

export class MetaFiles {
  readonly #parts: MetaFilesParts;
  /** Charge by hash, oldest first. */
  readonly #charges = new Map<string, number>();
  #charged = 0;

  constructor(parts: MetaFilesParts) {
    this.#parts = parts;
  }

  /** The blob's bytes, checked; undefined where it is not here or not sound. */
  async read(hash: string): Promise<Uint8Array | undefined> {
    const { health, counters, root } = this.#parts;
    const path = join(root, metaPath(hash));
    const header = new Uint8Array(HEADER_BYTES);
    const head = await health.attempt(() => readFileInto(path, [header]));
    if (head === undefined) return undefined;
    const length = head === HEADER_BYTES ? headerLength(header, hash, 0) : undefined;
    if (length !== undefined && length <= this.#parts.capacity) {
      const bytes = new Uint8Array(length);
      const read = await health.attempt(() => readFileInto(path, [header, bytes]));
      if (read === HEADER_BYTES + length && matches(header, hash, 0, bytes)) return bytes;
    }
    counters.checksumMisses++;
    await this.remove(hash);
    return undefined;
  }

  /** Best effort: false where there is no room or it cannot be written. */
  async write(hash: string, bytes: Uint8Array): Promise<boolean> {
    const { room, capacity } = this.#parts;
    const charge = room.charge(bytes.length);
    if (charge > MAX_PART * capacity) return false;
    for (const oldest of this.#charges.keys()) {
      if (this.#charged + charge <= MAX_PART * capacity) break;
      await this.remove(oldest);
    }
    // Like a block of a dataset in use, it may have old blocks evicted.
    if (!(await room.reserve(bytes.length, "referred"))) return false;
    if (!(await this.#parts.write(metaPath(hash), hash, bytes))) {
      room.release(charge);
      return false;
    }
    const replaced = this.#charges.get(hash);
    if (replaced !== undefined) room.release(replaced);
    this.#note(hash, charge);
    return true;
  }

  async remove(hash: string): Promise<void> {
    const removed = await this.#parts.health.attempt(() => removeFile(join(this.#parts.root, metaPath(hash))));
    const charge = this.#charges.get(hash);
    if (charge === undefined) return;
    this.#charges.delete(hash);
    this.#charged -= charge;
    if (removed === true) this.#parts.room.release(charge);
    else this.#parts.room.lost(charge);
  }

  /** Takes in a file that the scan found. */
  takeIn(hash: string, length: number): void {
    if (this.#charges.has(hash)) return;
    const charge = this.#parts.room.charge(length);
    this.#parts.room.found(charge);
    this.#note(hash, charge);
  }

  #note(hash: string, charge: number): void {
    this.#charged += charge - (this.#charges.get(hash) ?? 0);
    this.#charges.delete(hash);
    this.#charges.set(hash, charge);
  }
}
