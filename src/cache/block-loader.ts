/**
 * Brings missing blocks: disk first, then the sources in order, the origin last. Every flight given to it lands or fails; it never rejects.
 */
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slot } from "../blocks/slab.js";
import { partOf } from "../blocks/span.js";
import { abortedError } from "../errors.js";
import { priorityValue } from "../storage/priority.js";
import type { Placement } from "./admission.js";
import { BlockFetch } from "./block-fetch.js";
import type { DiskTier } from "./disk-tier.js";
import { Landing } from "./landing.js";
import { type Job, type LoaderParts, type Wanted, WIDE_BYTES } from "./load-job.js";
import { type Apart, Flight, Load, type Ticket } from "./single-flight.js";

/** Between two callers' parts of a streamed block, bytes that are cheaper to read than to ask around: 0.7 ms at 90 MB/s. */
const MAX_GAP = 64 * 1024;

export class BlockLoader {
  readonly #parts: LoaderParts;
  readonly #landing: Landing;
  readonly #fetch: BlockFetch;
  readonly #running = new Set<Promise<void>>();

  constructor(parts: LoaderParts) {
    this.#parts = parts;
    this.#landing = new Landing(parts);
    this.#fetch = new BlockFetch(parts, this.#landing, (job, missing) => this.#standIn(job, missing));
  }

  /** Starts the fetch of blocks for a ticket, whose slot for block b is b − `firstBlock`. */
  start(object: ObjectVersion, blocks: readonly number[], begin: number, end: number, ticket: Ticket, demand: Job["demand"]): void {
    const { blockSize, flights } = this.#parts;
    const load = new Load();
    const firstBlock = Math.floor(begin / blockSize);
    const started = blocks.map((block) => {
      const part = partOf(block, blockSize, object.size, begin, end, false);
      const flight = new Flight(block, part.begin, part.end, load, demand.local === true || !this.#parts.isElsewhere(object, block));
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
    const placement = await this.#parts.admission.place(object, slot.bytes.length, this.#parts.isElsewhere(object, block));
    if (placement !== undefined) await this.#landing.hold(object, block, begin, slot, placement);
  }

  /** The same of a block of an object that is being written here: whoever may own it, it need not be fetched again. */
  async keep(object: ObjectVersion, block: number, begin: number, slot: Slot): Promise<void> {
    const placement = await this.#parts.admission.place(object, slot.bytes.length, false);
    if (placement !== undefined) await this.#landing.hold(object, block, begin, slot, placement);
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
      if (missing.length > 0) await this.#fetch.all(job, await this.#plan(job, missing));
    } catch (error) {
      for (const flight of flights) this.#landing.fail(job, flight, error);
    }
  }

  /** Lands what the disks have; returns the flights of what they have not. */
  async #fromDisk(job: Job, disk: DiskTier, flights: readonly Flight[]): Promise<Flight[]> {
    const { object } = job;
    const missing = await Promise.all(
      flights.map(async (flight) => {
        if (job.load.signal.aborted || !disk.mayHave(object.id, flight.block)) return flight;
        return (await this.#landing.fromDisk(job, disk, flight)) ? undefined : flight;
      }),
    );
    return missing.filter((flight) => flight !== undefined);
  }

  /** Decides for each block whether it will be held, and so whether all of it is fetched. */
  async #plan(job: Job, flights: readonly Flight[]): Promise<Wanted[]> {
    const { object, load } = job;
    const { blockSize } = this.#parts;
    const lengthOf = (flight: Flight): number => Math.min(blockSize, object.size - flight.block * blockSize);
    const placements = await Promise.all(flights.map((flight) => this.#place(job, flight.block, lengthOf(flight))));
    const wanted = flights.flatMap((flight, i) => {
      const placement = placements[i];
      if (!flight.awaited && placement?.memory !== true) {
        // A neighbour that would not be held is not worth its bytes.
        this.#landing.cancel(object, { block: flight.block, placement });
        this.#landing.fail(job, flight, undefined);
        return [];
      }
      const apart = placement === undefined ? flight.narrow(MAX_GAP) : [];
      const part = partOf(flight.block, blockSize, object.size, flight.begin, flight.end, placement !== undefined);
      flight.seal(part.begin, part.end);
      for (const one of apart) this.#move(job, flight, one);
      return [{ ...part, flight, placement }];
    });
    if (load.signal.aborted) {
      for (const one of wanted) this.#landing.cancel(object, one);
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
      if (holdings.has(object.id, block) || flights.has(object.id, block) || this.#parts.isElsewhere(object, block)) continue;
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

  /** The re-check inside the flight: a block that came to be held meanwhile is not held a second time. */
  async #place({ object, demand }: Job, block: number, length: number): Promise<Placement | undefined> {
    const { isElsewhere, copies, holdings, admission } = this.#parts;
    const copy = isElsewhere(object, block);
    if ((copy && demand.standIn !== true && !copies) || holdings.has(object.id, block)) return undefined;
    return admission.place(object, length, copy);
  }

  /** By flights that peers may join, which ask as well now, so that the origin is asked once; or from what was fetched for them already. */
  #standIn(job: Job, missing: readonly Wanted[]): void {
    const { flights, memory } = this.#parts;
    const { object } = job;
    const load = new Load();
    const started: Flight[] = [];
    // A peer or another reader that waits too must not see the memory of the one whose demand it is.
    let into = job.demand.into;
    for (const one of missing) {
      const { block, flight } = one;
      this.#landing.cancel(object, one);
      flights.remove(object.id, flight);
      const held = memory.index.get(object.id, block);
      if (held !== undefined) {
        flight.land(held.slot, held.begin, "memory");
        continue;
      }
      for (const { ticket, slot, begin, end } of flight.handOver()) {
        if (flights.join(object.id, block, ticket, slot, begin, end)) continue;
        const own = new Flight(block, begin, end, load, true);
        flights.add(object.id, own);
        own.join(ticket, slot, begin, end);
        if (ticket !== job.ticket) into = undefined;
        started.push(own);
      }
    }
    if (started.length > 0) this.#track(this.#run({ ...job, load, demand: { ...job.demand, into, standIn: true } }, started));
  }
}
