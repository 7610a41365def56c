/** The block cache: memory → disks → origin. What is here is served without I/O; what is not is fetched once, however many ask. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { BlockLease, Demand, Tier } from "../blocks/block-source.js";
import type { HoldRules, ObjectVersion } from "../blocks/object-version.js";
import { Slab } from "../blocks/slab.js";
import { partOf } from "../blocks/span.js";
import { abortedError, MillraceError } from "../errors.js";
import type { OriginStore } from "../storage/origin-store.js";
import { copyBytes } from "../util/copy-bytes.js";
import { Admission, type IsElsewhere, References } from "./admission.js";
import { BlockLoader } from "./block-loader.js";
import { CacheCounters, type CacheStats } from "./cache-counters.js";
import { CacheFill } from "./cache-fill.js";
import { type CacheLog, type DiskDirectoryOptions, DiskTier } from "./disk-tier.js";
import { Holdings } from "./holdings.js";
import type { LoadDemand } from "./load-job.js";
import { MemoryTier } from "./memory-tier.js";
import { OriginSource } from "./origin-source.js";
import { FlightTable, Ticket } from "./single-flight.js";
import type { SlotSource } from "./slot-source.js";
import { HeldSpan, type SpanLease } from "./span-lease.js";

export type { SpanLease } from "./span-lease.js";

export interface BlockCacheOptions {
  /** Capacity of the memory tier. 0: none. */
  readonly memoryBytes: number;
  readonly disk: readonly DiskDirectoryOptions[];
  readonly blockSize: number;
  readonly log?: CacheLog | undefined;
  /** The origins are read by other threads: only shared memory can be filled there. Default false. */
  readonly ioThreads?: boolean | undefined;
  /** Sources to ask between the disks and the origin. */
  readonly sources?: ((slab: Slab) => readonly SlotSource[]) | undefined;
  /** Hold also what is another node's, where there is room that nothing else takes. Default: false. */
  readonly copies?: boolean | undefined;
}

/** Priority, signal and account of one acquire, and whether its neighbours will be wanted. */
export type AcquireDemand = LoadDemand & Pick<Demand, "signal">;

interface Parts {
  readonly slab: Slab;
  readonly sources: readonly SlotSource[];
  /** Undefined where no source is another node. */
  readonly elsewhere: IsElsewhere | undefined;
  readonly references: References;
  readonly disk: DiskTier | undefined;
}

const TIERS = ["memory", "disk", "peer", "origin"] as const;

export class BlockCache {
  readonly slab: Slab;
  readonly blockSize: number;
  readonly #memory: MemoryTier;
  readonly #disk: DiskTier | undefined;
  readonly #references: References;
  readonly #holdings: Holdings;
  readonly #flights = new FlightTable();
  readonly #loader: BlockLoader;
  readonly #counters = new CacheCounters();
  #changes = 0;
  #closed: Promise<void> | undefined;

  private constructor(options: BlockCacheOptions, { slab, sources, elsewhere, references, disk }: Parts) {
    this.slab = slab;
    this.blockSize = options.blockSize;
    this.#references = references;
    this.#disk = disk;
    this.#memory = new MemoryTier(options.memoryBytes, slab, references, () => this.#counters.memoryEvictions++);
    this.#holdings = new Holdings(this.#memory, disk);
    this.#loader = new BlockLoader({
      holdings: this.#holdings,
      blockSize: options.blockSize,
      slab,
      memory: this.#memory,
      disk,
      admission: new Admission(references, this.#memory, disk),
      flights: this.#flights,
      isElsewhere: elsewhere ?? (() => false),
      copies: options.copies === true,
      sources,
      counters: this.#counters,
    });
  }

  /** Throws MILLRACE_CONFIG, naming `cache.disk[i].path`, where a directory cannot be written. */
  static async open(options: BlockCacheOptions): Promise<BlockCache> {
    const slab = new Slab();
    const { disk: directories, blockSize, log } = options;
    const sources = [...(options.sources?.(slab) ?? []), new OriginSource(slab, blockSize, options.ioThreads)];
    const elsewhere = isElsewhere(sources, blockSize);
    const references = new References(elsewhere);
    const disk = directories.length === 0 ? undefined : await DiskTier.open({ directories, blockSize, slab, eviction: references, log });
    return new BlockCache(options, { slab, sources, elsewhere, references, disk });
  }

  /** The disk tier, for those who keep other things under its capacity. */
  get disk(): DiskTier | undefined {
    return this.#disk;
  }

  /** A dataset uses the object: under `pin` its blocks are not evicted until `unrefer` was called as often. */
  refer(object: ObjectVersion): void {
    if (this.#references.add(object)) this.#holdings.requeue(object.id);
  }

  unrefer(objectId: string): void {
    if (this.#references.remove(objectId)) this.#holdings.requeue(objectId);
  }

  /** Other nodes hold other blocks from now on: what has become theirs may go when room is needed, what has become ours stays. */
  async ownersChanged(): Promise<void> {
    const change = ++this.#changes;
    for (const id of this.#references.objectIds()) {
      if (change !== this.#changes || this.#closed !== undefined) return;
      this.#holdings.requeue(id);
      // Of 400,000 blocks it takes a second in all.
      await nextTurn();
    }
  }

  /**
   * Bytes [begin, end) of the object, held until released. A hit resolves without I/O; a miss asks the tiers in order, once however many ask.
   * Who joins a fetch under way raises its priority to their own. Throws what the store throws, MILLRACE_ABORTED, MILLRACE_CLOSED.
   */
  acquire(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): Promise<SpanLease> {
    const refusal = this.#refusal(object, begin, end, demand);
    if (refusal !== undefined) return Promise.reject(refusal);
    const hit = this.#hit(object, begin, end, demand);
    return hit === undefined ? this.#miss(object, begin, end, demand) : Promise.resolve(hit);
  }

  /** Holds the blocks that `bytes`, which begin at `begin` in the object, cover whole. Best effort: a block without room is left out. */
  async put(object: ObjectVersion, begin: number, bytes: Uint8Array): Promise<void> {
    const { blockSize } = this;
    const end = begin + bytes.length;
    for (let block = Math.ceil(begin / blockSize); block * blockSize < end && this.#closed === undefined; block++) {
      const part = partOf(block, blockSize, object.size, 0, 0, true);
      if (part.end > end || this.#flights.has(object.id, block)) continue;
      const slot = this.slab.allocate(part.end - part.begin);
      copyBytes(slot.bytes, 0, bytes.subarray(part.begin - begin, part.end - begin));
      await this.#loader.admit(object, block, part.begin, slot);
      slot.release();
    }
  }

  /** For an object that is about to be written there, `size` bytes long. */
  fill(store: OriginStore, path: string, size: number, rules: HoldRules): CacheFill {
    return new CacheFill(this.#loader, this.#holdings, store, { path, size }, rules);
  }

  /** Bytes of [begin, end) of the object, by default of all of it, that memory or the disks hold, each counted once. */
  cachedBytes(object: ObjectVersion, begin = 0, end: number = object.size): number {
    if (begin === 0 && end === object.size) return this.#holdings.bytesOf(object.id);
    let bytes = 0;
    for (let block = Math.floor(begin / this.blockSize); block * this.blockSize < end; block++)
      if (this.#holdings.has(object.id, block))
        bytes += Math.min(end, (block + 1) * this.blockSize) - Math.max(begin, block * this.blockSize);
    return bytes;
  }

  /** Drops the blocks of these objects; resolves to the bytes of data freed. What is being fetched meanwhile may come to be held. */
  async evict(objectIds: Iterable<string> | ((objectId: string) => boolean)): Promise<number> {
    const held = this.#holdings.objectIds();
    const chosen = typeof objectIds === "function" ? [...held].filter(objectIds) : [...new Set(objectIds)].filter((id) => held.has(id));
    let freed = 0;
    for (const id of chosen) freed += await this.#holdings.drop(id);
    return freed;
  }

  stats(): CacheStats {
    return {
      ...this.#counters,
      memoryHeldBytes: this.#memory.index.bytes,
      memoryChargedBytes: this.#memory.charged,
      memoryCapacityBytes: this.#memory.capacity,
      admittedBytes: this.#holdings.bytes(),
      slab: this.slab.stats(),
      disk: this.#disk?.stats() ?? DiskTier.none(),
    };
  }

  /** Fails the reads under way with MILLRACE_CLOSED, waits for their I/O and for writes in flight. Leases that are out stay valid. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const flight of [...this.#flights.all()]) {
      flight.load.abort();
      flight.fail(closedError());
    }
    await this.#loader.idle();
    await this.#disk?.close();
    for (const id of [...this.#memory.index.objectIds()])
      for (const block of [...this.#memory.index.blocks(id)!.values()]) this.#memory.drop(block);
  }

  #refusal(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): MillraceError | undefined {
    if (this.#closed !== undefined) return closedError();
    if (demand.signal?.aborted) return abortedError(demand.signal, "The read");
    if (begin >= 0 && begin <= end && end <= object.size) return undefined;
    const message = `${object.uri}: bytes ${begin} to ${end} asked of an object of ${object.size}`;
    return new MillraceError("MILLRACE_CONFIG", message, { uri: object.uri, range: { begin, end } });
  }

  #hit(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): SpanLease | undefined {
    if (begin === end) return new HeldSpan(begin, end, [], this.blockSize);
    const blocks = this.#memory.index.blocks(object.id);
    if (blocks === undefined) return undefined;
    const first = Math.floor(begin / this.blockSize);
    const count = Math.ceil(end / this.blockSize) - first;
    for (let i = 0; i < count; i++) if (!blocks.has(first + i)) return undefined;
    const leases = new Array<BlockLease>(count);
    for (let i = 0; i < count; i++) {
      const held = blocks.get(first + i)!;
      this.#memory.index.touch(held);
      leases[i] = held.slot.lease(held.begin);
    }
    this.#counters.memoryHits += count;
    this.#counters.memoryBytes += end - begin;
    demand.served?.("memory", end - begin, 0);
    return new HeldSpan(begin, end, leases, this.blockSize);
  }

  async #miss(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): Promise<SpanLease> {
    const { signal } = demand;
    const ticket = this.#ticket(object, begin, end, demand);
    const onAbort = (): void => ticket.fail(abortedError(signal!, "The read"));
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await ticket.landed();
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
    this.#account(ticket, begin, end, demand);
    return new HeldSpan(begin, end, ticket.leases as readonly BlockLease[], this.blockSize);
  }

  /** Takes what memory has, joins what is on its way, starts the rest: in one turn, so that nobody else starts it too. */
  #ticket(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): Ticket {
    const { blockSize } = this;
    const first = Math.floor(begin / blockSize);
    const ticket = new Ticket(Math.ceil(end / blockSize) - first, demand.priority, demand.local === true);
    const missing: number[] = [];
    for (let i = 0; i < ticket.leases.length; i++) {
      const held = this.#memory.index.get(object.id, first + i);
      const part = partOf(first + i, blockSize, object.size, begin, end, false);
      if (held !== undefined) {
        this.#memory.index.touch(held);
        ticket.leases[i] = held.slot.lease(held.begin);
        ticket.tiers[i] = "memory";
      } else if (this.#flights.join(object.id, first + i, ticket, i, part.begin, part.end)) this.#counters.joined++;
      else missing.push(first + i);
    }
    if (missing.length > 0) this.#loader.start(object, missing, begin, end, ticket, demand);
    return ticket;
  }

  #account(ticket: Ticket, begin: number, end: number, demand: AcquireDemand): void {
    const bytes: Record<Tier, number> = { memory: 0, disk: 0, peer: 0, origin: 0 };
    for (const [i, lease] of ticket.leases.entries()) {
      const tier = ticket.tiers[i]!;
      bytes[tier] += Math.min(end, lease!.begin + lease!.bytes.length) - Math.max(begin, lease!.begin);
      if (tier === "origin") this.#counters.misses++;
      else this.#counters[`${tier}Hits`]++;
    }
    for (const tier of TIERS) {
      this.#counters[`${tier}Bytes`] += bytes[tier];
      if (bytes[tier] > 0) demand.served?.(tier, bytes[tier], 0);
    }
  }
}

/** Undefined where no source is another node. */
function isElsewhere(sources: readonly SlotSource[], blockSize: number): IsElsewhere | undefined {
  const nodes = sources.filter((source) => source.elsewhere !== undefined);
  if (nodes.length === 0) return undefined;
  return (object, block) => object.rules.local !== true && nodes.some((source) => source.elsewhere!(object, block * blockSize));
}

function closedError(): MillraceError {
  return new MillraceError("MILLRACE_CLOSED", "The cache is closed; open a new mill");
}
