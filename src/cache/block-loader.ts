/**
 * Brings missing blocks: disk first, then the sources in order, the origin last. Every flight given to it lands or fails; it never rejects.
 */
import type { BlockSource, Demand, Tier } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slab, Slot, SlotLease } from "../blocks/slab.js";
import { type BlockPart, partOf, planSpans, SPAN_BYTES, type Span } from "../blocks/span.js";
import { placeIn } from "../blocks/span-slots.js";
import { abortedError } from "../errors.js";
import { priorityValue } from "../storage/priority.js";
import { copyBytes } from "../util/copy-bytes.js";
import type { Admission, Placement } from "./admission.js";
import type { CacheCounters } from "./cache-counters.js";
import type { DiskTier } from "./disk-tier.js";
import type { Holdings } from "./holdings.js";
import type { MemoryTier } from "./memory-tier.js";
import { type Apart, Flight, type FlightTable, Load, type Ticket } from "./single-flight.js";

/** A BlockSource behind the disks whose leases are slots of this cache's slab, so that they can be held without a copy. */
export interface SlotSource extends BlockSource {
  readonly tier: Tier;
  /** Spans asked of it end at multiples of it; 0: anywhere. */
  readonly groupBytes: number;
  /** True where the block that begins there is another node's to fetch and to hold: it is asked for here, and no copy is kept. Default: never. */
  elsewhere?(object: ObjectVersion, begin: number): boolean;
  /** True where that other node is known not to answer, and this one is next in order: it keeps copies meanwhile. Default: never. */
  standsIn?(object: ObjectVersion, begin: number): boolean;
  read(object: ObjectVersion, firstBlock: number, count: number, demand: Demand): Promise<readonly (SlotLease | undefined)[]>;
}

export interface LoaderParts {
  readonly blockSize: number;
  readonly slab: Slab;
  readonly memory: MemoryTier;
  readonly holdings: Holdings;
  readonly disk: DiskTier | undefined;
  readonly admission: Admission;
  readonly flights: FlightTable;
  /** The last one has everything. */
  readonly sources: readonly SlotSource[];
  readonly counters: CacheCounters;
}

/** Between two callers' parts of a streamed block, bytes that are cheaper to read than to ask around: 0.7 ms at 90 MB/s. */
const MAX_GAP = 64 * 1024;

/** What a caller says of the bytes it asks for. */
export interface LoadDemand extends Pick<Demand, "priority" | "served" | "into"> {
  /** The caller will ask for the blocks around these too, sooner or later: where they find room in memory, one request brings them all. */
  readonly wide?: boolean | undefined;
  /** For a peer: memory, disks and the origin are asked, other peers are not. */
  readonly local?: boolean | undefined;
}

/** What a wide demand is widened to, aligned: a GB in 119 requests, whatever the size of the pieces asked for. As long as a group of peers. */
const WIDE_BYTES = 8 * 2 ** 20;

interface Job {
  readonly object: ObjectVersion;
  readonly load: Load;
  readonly demand: LoadDemand;
  /** Whose demand it is. */
  readonly ticket: Ticket;
}

/** A flight that the disks did not have. */
interface Wanted extends BlockPart {
  readonly flight: Flight;
  placement: Placement | undefined;
}

export class BlockLoader {
  readonly #parts: LoaderParts;
  readonly #running = new Set<Promise<void>>();

  constructor(parts: LoaderParts) {
    this.#parts = parts;
  }

  /** Starts the fetch of blocks for a ticket, whose slot for block b is b − `firstBlock`. */
  start(object: ObjectVersion, blocks: readonly number[], begin: number, end: number, ticket: Ticket, demand: Job["demand"]): void {
    const { blockSize, flights } = this.#parts;
    const load = new Load();
    const firstBlock = Math.floor(begin / blockSize);
    const started = blocks.map((block) => {
      const part = partOf(block, blockSize, object.size, begin, end, false);
      const flight = new Flight(block, part.begin, part.end, load, demand.local === true || !this.#elsewhere(object, block));
      flights.add(object.id, flight);
      flight.join(ticket, block - firstBlock, part.begin, part.end);
      return flight;
    });
    // What a loop waits for now is not to wait for more.
    if (demand.wide && priorityValue(demand.priority) > 0) started.push(...this.#neighbours(object, blocks, load));
    started.sort((a, b) => a.block - b.block);
    this.#track(this.#run({ object, load, demand, ticket }, started));
  }

  /** Holds a block that the caller has in a slot, if there is room. Best effort. */
  async admit(object: ObjectVersion, block: number, begin: number, slot: Slot): Promise<void> {
    const placement = await this.#place(object, block, slot.bytes.length);
    if (placement !== undefined) await this.#hold(object, block, begin, slot, placement);
  }

  /** The same of a block of an object that is being written here: whoever may own it, it need not be fetched again. */
  async keep(object: ObjectVersion, block: number, begin: number, slot: Slot): Promise<void> {
    const placement = await this.#parts.admission.place(object, slot.bytes.length);
    if (placement !== undefined) await this.#hold(object, block, begin, slot, placement);
  }

  /** Resolves when no fetch is under way any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #track(run: Promise<void>): void {
    const tracked = run.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  async #run(job: Job, flights: readonly Flight[]): Promise<void> {
    try {
      const missing = this.#parts.disk === undefined ? flights : await this.#fromDisk(job, this.#parts.disk, flights);
      if (missing.length > 0) await this.#fetchAll(job, await this.#plan(job, missing));
    } catch (error) {
      for (const flight of flights) this.#fail(job, flight, error);
    }
  }

  /** Lands what the disks have; returns the flights of what they have not. */
  async #fromDisk(job: Job, disk: DiskTier, flights: readonly Flight[]): Promise<Flight[]> {
    const { object } = job;
    const missing = await Promise.all(
      flights.map(async (flight) => {
        if (job.load.signal.aborted || !disk.mayHave(object.id, flight.block)) return flight;
        return (await this.#landFromDisk(job, disk, flight)) ? undefined : flight;
      }),
    );
    return missing.filter((flight) => flight !== undefined);
  }

  /** False where the disks do not have it. */
  async #landFromDisk(job: Job, disk: DiskTier, flight: Flight): Promise<boolean> {
    const { object } = job;
    const begin = flight.block * this.#parts.blockSize;
    const length = Math.min(this.#parts.blockSize, object.size - begin);
    const place = placeIn(job.demand.into, begin, begin + length);
    // A long read does not push out what memory has: only where there is room does it leave a copy there.
    const promoted = object.rules.admission === "lru" && (place === undefined || this.#parts.memory.hasRoom(length));
    const slot = await disk.read(object, flight.block, length, promoted ? undefined : place);
    if (slot === undefined) return false;
    if (promoted) this.#promote(object, flight.block, begin, slot);
    this.#land(job, flight, slot, begin, "disk");
    slot.release();
    return true;
  }

  /** Only `lru` data is held twice: a pinned block that moved up would shut another one out. */
  #promote(object: ObjectVersion, block: number, begin: number, slot: Slot): void {
    const { memory } = this.#parts;
    if (memory.index.get(object.id, block) === undefined && memory.reserve(slot.bytes.length, "lru"))
      memory.add(object, block, begin, slot);
  }

  /** Decides for each block whether it will be held, and so whether all of it is fetched. */
  async #plan(job: Job, flights: readonly Flight[]): Promise<Wanted[]> {
    const { object, load } = job;
    const { blockSize } = this.#parts;
    const lengthOf = (flight: Flight): number => Math.min(blockSize, object.size - flight.block * blockSize);
    const placements = await Promise.all(flights.map((flight) => this.#place(object, flight.block, lengthOf(flight))));
    const wanted = flights.flatMap((flight, i) => {
      const placement = placements[i];
      if (!flight.awaited && placement?.memory !== true) {
        // A neighbour that would not be held is not worth its bytes.
        this.#cancel(object, { block: flight.block, placement });
        this.#fail(job, flight, undefined);
        return [];
      }
      const apart = placement === undefined ? flight.narrow(MAX_GAP) : [];
      const part = partOf(flight.block, blockSize, object.size, flight.begin, flight.end, placement !== undefined);
      flight.seal(part.begin, part.end);
      for (const one of apart) this.#move(job, flight, one);
      return [{ ...part, flight, placement }];
    });
    if (load.signal.aborted) {
      for (const one of wanted) this.#cancel(object, one);
      throw abortedError(load.signal, "The read");
    }
    return wanted;
  }

  /** Flights, which nobody waits for yet, of the blocks around these that are neither held nor on their way. */
  #neighbours(object: ObjectVersion, blocks: readonly number[], load: Load): Flight[] {
    const { blockSize, flights, holdings } = this.#parts;
    if (object.rules.admission !== "pin" || blockSize >= WIDE_BYTES) return [];
    const width = WIDE_BYTES / blockSize;
    const from = Math.floor(blocks[0]! / width) * width;
    const to = Math.min(Math.ceil(object.size / blockSize), (Math.floor(blocks.at(-1)! / width) + 1) * width);
    const found: Flight[] = [];
    for (let block = from; block < to; block++) {
      // Another's are not kept here, and who stands in for it keeps what is needed until it is back.
      if (holdings.has(object.id, block) || flights.has(object.id, block) || this.#elsewhere(object, block)) continue;
      const part = partOf(block, blockSize, object.size, 0, 0, true);
      const flight = new Flight(block, part.begin, part.end, load, true);
      flights.add(object.id, flight);
      found.push(flight);
    }
    return found;
  }

  /** Gives a caller whose bytes a streamed block will not bring a flight that will: another's, or one of its own. */
  #move(job: Job, from: Flight, { ticket, slot, begin, end }: Apart): void {
    const { flights } = this.#parts;
    if (!flights.join(job.object.id, from.block, ticket, slot, begin, end)) {
      const load = new Load();
      const flight = new Flight(from.block, begin, end, load, from.local);
      flights.add(job.object.id, flight);
      flight.join(ticket, slot, begin, end);
      this.#track(this.#run({ ...job, load, demand: { ...job.demand, into: undefined }, ticket }, [flight]));
    }
    from.move(ticket);
  }

  #elsewhere(object: ObjectVersion, block: number): boolean {
    if (object.rules.local) return false;
    return this.#parts.sources.some((source) => source.elsewhere?.(object, block * this.#parts.blockSize) === true);
  }

  /** Others than the owner keep no copies, but for who stands in for it. */
  #keeps(object: ObjectVersion, block: number): boolean {
    const begin = block * this.#parts.blockSize;
    return !this.#elsewhere(object, block) || this.#parts.sources.some((source) => source.standsIn?.(object, begin) === true);
  }

  /** The re-check inside the flight: a block that came to be held meanwhile is not held a second time. */
  async #place(object: ObjectVersion, block: number, length: number): Promise<Placement | undefined> {
    if (!this.#keeps(object, block) || this.#parts.holdings.has(object.id, block)) return undefined;
    return this.#parts.admission.place(object, length);
  }

  /** What is elsewhere from the first source on, the rest from the last. */
  async #fetchAll(job: Job, wanted: readonly Wanted[]): Promise<void> {
    const [local, remote] = [true, false].map((is) => wanted.filter(({ flight }) => flight.local === is));
    await Promise.all([this.#fetchOwn(job, local!), this.#fetch(job, remote!, 0)]);
  }

  /** What a disk of several processes is to hold, one of them fetches; the others take it from there. */
  async #fetchOwn(job: Job, wanted: readonly Wanted[]): Promise<void> {
    const { disk, blockSize, sources } = this.#parts;
    const shared = disk !== undefined && disk.processes > 1 ? wanted.filter(({ placement }) => placement?.disk !== undefined) : [];
    if (shared.length === 0) return this.#fetch(job, wanted, sources.length - 1);
    const groups = new Map<number, Wanted[]>();
    for (const one of shared) {
      const group = Math.floor((one.block * blockSize) / WIDE_BYTES);
      groups.set(group, [...(groups.get(group) ?? []), one]);
    }
    const apart = wanted.filter(({ placement }) => placement?.disk === undefined);
    await Promise.all([
      this.#fetch(job, apart, sources.length - 1),
      ...Array.from(groups, ([group, ones]) => this.#fetchClaimed(job, disk!, group, ones)),
    ]);
  }

  async #fetchClaimed(job: Job, disk: DiskTier, group: number, wanted: readonly Wanted[]): Promise<void> {
    let missing = wanted;
    try {
      await disk.claims.once(`${job.object.id}-${group}`, {
        signal: job.load.signal,
        arrived: async () => {
          missing = await this.#fromOthers(job, disk, missing);
          return missing.length === 0;
        },
        fetch: async () => {
          const left = missing;
          missing = [];
          await this.#fetch(job, left, this.#parts.sources.length - 1);
          await disk.written();
        },
      });
    } catch (error) {
      this.#lose(job, missing, error);
    }
  }

  /** Lands what other processes have written meanwhile; returns the rest. */
  async #fromOthers(job: Job, disk: DiskTier, wanted: readonly Wanted[]): Promise<readonly Wanted[]> {
    const { object } = job;
    const found = await Promise.all(
      wanted.map(async ({ block, flight }) => (await disk.onDisk(object.id, block)) && this.#landFromDisk(job, disk, flight)),
    );
    for (const [i, one] of wanted.entries()) if (found[i]) this.#cancel(object, one);
    return wanted.filter((_, i) => !found[i]);
  }

  async #fetch(job: Job, wanted: readonly Wanted[], level: number): Promise<void> {
    const maxBytes = job.object.store.pace?.().spanBytes ?? SPAN_BYTES;
    const groupBytes = this.#parts.sources[level]!.groupBytes;
    const spans = planSpans(wanted, { maxBytes, groupBytes });
    await Promise.all(spans.map((span) => this.#fetchSpan(job, span, wanted.slice(span.first, span.first + span.count), level)));
  }

  async #fetchSpan(job: Job, span: Span, wanted: readonly Wanted[], level: number): Promise<void> {
    const { object, load } = job;
    const source = this.#parts.sources[level]!;
    try {
      const leases = await source.read(object, wanted[0]!.block, wanted.length, this.#demand(job, span));
      const missing: Wanted[] = [];
      for (const [i, one] of wanted.entries()) {
        const lease = leases[i];
        if (lease === undefined) missing.push(one);
        else await this.#arrived(job, one, lease, source.tier);
      }
      if (missing.length > 0) await this.#fetch(job, missing, level + 1);
    } catch (error) {
      this.#lose(job, wanted, error);
      if (load.signal.aborted) this.#parts.counters.abandoned++;
    }
  }

  #lose(job: Job, wanted: readonly Wanted[], error: unknown): void {
    for (const one of wanted) {
      this.#cancel(job.object, one);
      this.#fail(job, one.flight, error);
    }
  }

  #demand(job: Job, span: Span): Demand {
    const { counters } = this.#parts;
    const served: Demand["served"] = (tier, bytes, requests) => {
      if (tier === "origin") {
        counters.originFetchedBytes += bytes;
        counters.originRequests += requests;
      }
      job.demand.served?.(tier, 0, requests);
    };
    const { wide, into } = job.demand;
    return { begin: span.begin, end: span.end, priority: job.load.priority, signal: job.load.signal, wide, into, served };
  }

  async #arrived(job: Job, one: Wanted, lease: SlotLease, tier: Tier): Promise<void> {
    try {
      const { placement } = one;
      if (placement === undefined) this.#parts.counters.streamed++;
      else {
        const slot = lease.slot.borrowed ? this.#copyOf(lease.slot) : lease.slot;
        one.placement = undefined;
        await this.#hold(job.object, one.block, lease.begin, slot, placement);
        if (slot !== lease.slot) slot.release();
      }
      this.#land(job, one.flight, lease.slot, lease.begin, tier);
    } finally {
      lease.release();
    }
  }

  #copyOf({ bytes }: Slot): Slot {
    const slot = this.#parts.slab.allocate(bytes.length);
    copyBytes(slot.bytes, 0, bytes);
    return slot;
  }

  async #hold(object: ObjectVersion, block: number, begin: number, slot: Slot, placement: Placement): Promise<void> {
    const { memory, disk, admission } = this.#parts;
    const again = this.#parts.holdings.has(object.id, block);
    admission.settle(object.rules, slot.bytes.length);
    if (placement.memory && again) memory.cancel(slot.bytes.length);
    else if (placement.memory) memory.add(object, block, begin, slot);
    if (placement.disk === undefined) return;
    if (again) disk?.cancel(placement.disk);
    else await disk?.write(placement.disk, object, block, slot);
  }

  #cancel(object: ObjectVersion, one: Pick<Wanted, "block" | "placement">): void {
    const { placement } = one;
    if (placement === undefined) return;
    one.placement = undefined;
    const length = Math.min(this.#parts.blockSize, object.size - one.block * this.#parts.blockSize);
    this.#parts.admission.settle(object.rules, length);
    if (placement.memory) this.#parts.memory.cancel(length);
    if (placement.disk !== undefined) this.#parts.disk?.cancel(placement.disk);
  }

  /** Others who wait for a block that lies in a reader's own memory get a copy. */
  #land(job: Job, flight: Flight, slot: Slot, begin: number, tier: Tier): void {
    this.#parts.flights.remove(job.object.id, flight);
    if (!(slot.borrowed && flight.awaitedBeside(job.ticket))) {
      flight.land(slot, begin, tier);
      return;
    }
    const copy = this.#copyOf(slot);
    flight.land(copy, begin, tier);
    copy.release();
  }

  #fail(job: Job, flight: Flight, error: unknown): void {
    if (flight.ended) return;
    this.#parts.flights.remove(job.object.id, flight);
    flight.fail(error);
  }
}
