/** Several cache directories as one tier: the one with most room takes a block, whichever has it serves it. */
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab, Slot } from "../blocks/slab.js";
import { idleClock } from "../util/clock.js";
import { type Deferred, deferred } from "../util/deferred.js";
import type { Claim, Eviction } from "./block-index.js";
import { DiskCounters, type DiskStats } from "./disk-counters.js";
import type { DiskDirectory } from "./disk-directory.js";
import { openDirectory, scanDirectory } from "./disk-open.js";
import type { GroupClaims } from "./group-claims.js";

export interface DiskDirectoryOptions {
  readonly path: string;
  /** Bytes, overhead included. */
  readonly capacity: number;
  /** For `lru` data, parts of the capacity: eviction starts above the high one and stops at the low one. */
  readonly highWatermark: number;
  readonly lowWatermark: number;
}

export type CacheLog = (level: "debug" | "info" | "warn" | "error", fields: object, message: string) => void;

export interface DiskTierOptions {
  readonly directories: readonly DiskDirectoryOptions[];
  readonly blockSize: number;
  readonly slab: Slab;
  readonly eviction: Eviction;
  readonly log?: CacheLog | undefined;
}

/** Room for one block, promised. */
export interface DiskReservation {
  readonly directory: DiskDirectory;
  readonly length: number;
}

/** Bytes waiting to be written before those who bring more have to wait: half a second of a slow disk. */
const MAX_QUEUED = 64 * 2 ** 20;
/** How often to look which other processes use the directories: until then their blocks are fetched again. A look is a few file-system calls. */
const LOOK_EVERY_MS = 500;

export class DiskTier {
  readonly directories: readonly DiskDirectory[];
  readonly #counters: DiskCounters;
  readonly #writes = new Set<Promise<void>>();
  readonly #scans: Promise<unknown>;
  readonly #stop = new AbortController();
  #queued = 0;
  #drained: Deferred<void> | undefined;
  #shared = false;
  #processes = 1;

  private constructor(directories: readonly DiskDirectory[], counters: DiskCounters) {
    this.directories = directories;
    this.#counters = counters;
    // Where a scan fails, reads go on to look for files.
    this.#scans = Promise.all(directories.map((directory) => scanDirectory(directory, this.#stop.signal).catch(() => {})));
  }

  /** Throws MILLRACE_CONFIG, naming `cache.disk[i].path`, where a directory cannot be written. */
  static async open(options: DiskTierOptions): Promise<DiskTier> {
    const { blockSize, slab, eviction, log } = options;
    const counters = new DiskCounters();
    const disabled = (path: string, reason: string): void =>
      log?.("warn", { path, reason }, "A cache directory keeps failing and is not used any more");
    const opened: DiskDirectory[] = [];
    try {
      for (const [i, one] of options.directories.entries())
        opened.push(await openDirectory({ ...one, blockSize, slab, eviction, counters, disabled }, `cache.disk[${i}].path`));
    } catch (error) {
      await Promise.all(opened.map((directory) => directory.close()));
      throw error;
    }
    const tier = new DiskTier(opened, counters);
    await tier.#lookAround();
    void tier.#watch();
    return tier;
  }

  /** The stats of a cache without disks. */
  static none(): DiskStats {
    return statsOf(new DiskCounters(), [], 0, 0);
  }

  get capacity(): number {
    return this.#sum((directory) => (directory.health.disabled === undefined ? directory.capacity : 0));
  }

  heldBy(mount: string): number {
    return this.#sum((directory) => directory.index.heldBy(mount));
  }

  /** Bytes of data held. */
  get bytes(): number {
    return this.#sum((directory) => directory.index.bytes);
  }

  /** Bytes of the object held. */
  heldBytes(objectId: string): number {
    return this.#sum((directory) => {
      let bytes = 0;
      for (const block of directory.index.blocks(objectId)?.values() ?? []) bytes += block.length;
      return bytes;
    });
  }

  *objectIds(): Iterable<string> {
    // Marked ids are blocks of another size: nobody asks for them, they go when room is needed.
    for (const directory of this.directories) for (const id of directory.index.objectIds()) if (!id.includes("/")) yield id;
  }

  has(objectId: string, block: number): boolean {
    return this.directories.some((directory) => directory.index.get(objectId, block) !== undefined);
  }

  /** False where the block is known not to be here: no read is tried. */
  mayHave(objectId: string, block: number): boolean {
    return this.directories.some(
      (directory) =>
        directory.health.disabled === undefined &&
        (this.#shared || !directory.scanned || directory.index.get(objectId, block) !== undefined),
    );
  }

  /** Living processes that share the first directory, this one included: the processes of one node. */
  get processes(): number {
    return this.#processes;
  }

  /** Who of them fetches what. */
  get claims(): GroupClaims {
    return this.directories[0]!.claims;
  }

  /** True where a directory has the block's file, whoever wrote it: cheaper than to try to read it. */
  async onDisk(objectId: string, block: number): Promise<boolean> {
    for (const directory of this.directories)
      if (directory.health.disabled === undefined && (await directory.onDisk(objectId, block))) return true;
    return false;
  }

  /** The block in a slot of its own, in `place` where that is given, which the caller releases; undefined where no directory has it sound. */
  async read(object: ObjectVersion, block: number, length: number, place?: Uint8Array): Promise<Slot | undefined> {
    const holder = this.directories.find((directory) => directory.index.get(object.id, block) !== undefined);
    const slot = await holder?.read(object, block, length, place);
    if (slot !== undefined) return slot;
    for (const directory of this.directories) {
      if (directory === holder || (directory.scanned && !this.#shared)) continue;
      const found = await directory.read(object, block, length, place);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Promises room in the directory that has most of it. */
  async reserve(length: number, claim: Claim): Promise<DiskReservation | undefined> {
    const byRoom = [...this.directories].sort((a, b) => b.ledger.free - a.ledger.free);
    for (const directory of byRoom) if (await directory.room.reserve(length, claim)) return { directory, length };
    return undefined;
  }

  cancel(reservation: DiskReservation): void {
    const { room } = reservation.directory;
    room.release(room.charge(reservation.length));
  }

  /** Queues a block that room was promised for. Resolves at once, or when the queue has room again. */
  async write(reservation: DiskReservation, object: ObjectVersion, block: number, slot: Slot, copy: boolean): Promise<void> {
    this.#queued += slot.bytes.length;
    const written = reservation.directory.write(object, block, slot, copy).finally(() => {
      this.#writes.delete(written);
      this.#queued -= slot.bytes.length;
      if (this.#queued > MAX_QUEUED) return;
      this.#drained?.resolve();
      this.#drained = undefined;
    });
    this.#writes.add(written);
    if (this.#queued <= MAX_QUEUED) return;
    this.#drained ??= deferred<void>();
    await this.#drained.promise;
  }

  /** Resolves when what is queued now is on disk, or has failed. */
  async written(): Promise<void> {
    await Promise.all(this.#writes);
  }

  /** Evicts the oldest that may go; false where there is none. */
  async evictOldest(claim: Claim, mount: string): Promise<boolean> {
    for (const directory of this.directories) if (await directory.evictOldest(claim, mount)) return true;
    return false;
  }

  async removeObject(objectId: string): Promise<void> {
    for (const directory of this.directories)
      for (const block of [...(directory.index.blocks(objectId)?.values() ?? [])]) await directory.remove(block);
  }

  /** What is held of an object that was being written is of this version now. */
  async rename(from: string, to: ObjectVersion): Promise<void> {
    await this.written();
    const renaming = this.directories.flatMap((directory) =>
      [...(directory.index.blocks(from)?.values() ?? [])].map((block) => directory.rename(block, to)),
    );
    await Promise.all(renaming);
  }

  requeue(objectId: string): void {
    for (const directory of this.directories) directory.index.requeue(objectId);
  }

  /** Resolves when the start-up scans have ended. */
  async scanned(): Promise<void> {
    await this.#scans;
  }

  stats(): DiskStats {
    return statsOf(this.#counters, this.directories, this.#queued, this.#processes);
  }

  /** Ends the scans, waits for the writes in flight and gives the grants back. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#scans;
    while (this.#writes.size > 0) await Promise.all(this.#writes);
    await Promise.all(this.directories.map((directory) => directory.close()));
  }

  async #watch(): Promise<void> {
    const sleep = () =>
      idleClock.sleep(LOOK_EVERY_MS, this.#stop.signal).then(
        () => true,
        () => false,
      );
    while (await sleep()) await this.#lookAround();
  }

  /** Once another process was seen, its blocks may be anywhere: from then on every miss looks for a file, at 8 µs. */
  async #lookAround(): Promise<void> {
    const counts = await Promise.all(this.directories.map((directory) => directory.ledger.processes()));
    this.#processes = counts[0]!;
    this.#shared ||= counts.some((count) => count > 1);
  }

  #sum(of: (directory: DiskDirectory) => number): number {
    return this.directories.reduce((sum, directory) => sum + of(directory), 0);
  }
}

function statsOf(counters: DiskCounters, directories: readonly DiskDirectory[], queuedBytes: number, processes: number): DiskStats {
  const disabled = directories.flatMap(({ path, health }) => (health.disabled === undefined ? [] : [{ path, reason: health.disabled }]));
  return {
    ...counters,
    errors: { ...counters.errors },
    heldBytes: directories.reduce((sum, directory) => sum + directory.index.bytes, 0),
    chargedBytes: directories.reduce((sum, directory) => sum + directory.room.charged, 0),
    capacityBytes: directories.reduce((sum, directory) => sum + directory.capacity, 0),
    queuedBytes,
    processes,
    claimTakeovers: directories.reduce((sum, directory) => sum + directory.claims.takeovers, 0),
    disabled,
  };
}
