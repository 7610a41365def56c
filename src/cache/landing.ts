/** Where bytes that have come go: to the tiers that room was promised in, and to those who wait. */
import type { Tier } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { Slot, SlotLease } from "../blocks/slab.js";
import { placeIn } from "../blocks/span-slots.js";
import { copyBytes } from "../util/copy-bytes.js";
import type { Placement } from "./admission.js";
import type { DiskTier } from "./disk-tier.js";
import type { Job, LoaderParts, Wanted } from "./load-job.js";
import type { Flight } from "./single-flight.js";

export class Landing {
  readonly #parts: LoaderParts;

  constructor(parts: LoaderParts) {
    this.#parts = parts;
  }

  /** False where the disks do not have it. */
  async fromDisk(job: Job, disk: DiskTier, flight: Flight): Promise<boolean> {
    const { object } = job;
    const begin = flight.block * this.#parts.blockSize;
    const length = Math.min(this.#parts.blockSize, object.size - begin);
    const place = placeIn(job.demand.into, begin, begin + length);
    // A long read does not push out what memory has: only where there is room does it leave a copy there.
    const promoted = object.rules.admission === "lru" && (place === undefined || this.#parts.memory.hasRoom(length));
    const slot = await disk.read(object, flight.block, length, promoted ? undefined : place);
    if (slot === undefined) return false;
    if (promoted) this.#promote(object, flight.block, begin, slot);
    this.land(job, flight, slot, begin, "disk");
    slot.release();
    return true;
  }

  /** `room`: for the copy that is held of what lies in a reader's own memory. */
  async arrived(job: Job, one: Wanted, lease: SlotLease, tier: Tier, room?: Slot): Promise<void> {
    let copy: Slot | undefined;
    try {
      const { placement } = one;
      if (placement === undefined) this.#parts.counters.streamed++;
      else {
        if (lease.slot.borrowed) copy = this.#copyOf(lease.slot, room);
        one.placement = undefined;
        await this.hold(job.object, one.block, lease.begin, copy ?? lease.slot, placement);
      }
      this.land(job, one.flight, lease.slot, lease.begin, tier, copy);
    } finally {
      copy?.release();
      lease.release();
    }
  }

  async hold(object: ObjectVersion, block: number, begin: number, slot: Slot, placement: Placement): Promise<void> {
    const { memory, disk, admission } = this.#parts;
    const again = this.#parts.holdings.has(object.id, block);
    admission.settle(object.rules, slot.bytes.length);
    if (placement.memory && again) memory.cancel(slot.bytes.length);
    else if (placement.memory) memory.add(object, block, begin, slot, placement.copy);
    if (placement.disk === undefined) return;
    if (again) disk?.cancel(placement.disk);
    else await disk?.write(placement.disk, object, block, slot, placement.copy);
  }

  /** Others who wait for a block that lies in a reader's own memory get a copy: `copy`, or one made for them. */
  land(job: Job, flight: Flight, slot: Slot, begin: number, tier: Tier, copy?: Slot): void {
    this.#parts.flights.remove(job.object.id, flight);
    if (!(slot.borrowed && flight.awaitedBeside(job.ticket))) {
      flight.land(slot, begin, tier);
      return;
    }
    const shared = copy ?? this.#copyOf(slot);
    flight.land(shared, begin, tier);
    if (shared !== copy) shared.release();
  }

  fail(job: Job, flight: Flight, error: unknown): void {
    if (flight.ended) return;
    this.#parts.flights.remove(job.object.id, flight);
    flight.fail(error);
  }

  lose(job: Job, wanted: readonly Wanted[], error: unknown): void {
    for (const one of wanted) {
      this.cancel(job.object, one);
      this.fail(job, one.flight, error);
    }
  }

  cancel(object: ObjectVersion, one: Pick<Wanted, "block" | "placement">): void {
    const { placement } = one;
    if (placement === undefined) return;
    one.placement = undefined;
    const length = Math.min(this.#parts.blockSize, object.size - one.block * this.#parts.blockSize);
    this.#parts.admission.settle(object.rules, length);
    if (placement.memory) this.#parts.memory.cancel(length);
    if (placement.disk !== undefined) this.#parts.disk?.cancel(placement.disk);
  }

  /** Only `lru` data is held twice: a pinned block that moved up would shut another one out. */
  #promote(object: ObjectVersion, block: number, begin: number, slot: Slot): void {
    const { memory, isElsewhere } = this.#parts;
    const copy = isElsewhere(object, block);
    if (memory.index.get(object.id, block) === undefined && memory.reserve(slot.bytes.length, copy ? "guest" : "lru"))
      memory.add(object, block, begin, slot, copy);
  }

  /** One more holder's. */
  #copyOf({ bytes }: Slot, room?: Slot): Slot {
    room?.retain();
    const slot = room ?? this.#parts.slab.allocate(bytes.length);
    copyBytes(slot.bytes, 0, bytes);
    return slot;
  }
}
