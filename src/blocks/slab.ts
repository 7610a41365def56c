/**
 * Memory for blocks: SharedArrayBuffer segments, allocated when first needed, reused, never dropped (a dropped SharedArrayBuffer puts no
 * pressure on the garbage collector: 7.7 GB resident where reuse held 115 MB). Two accounts: `tier`, what the memory tier holds, and
 * `working`, what is being read or is leased now and held by no tier. The tier bounds itself; working memory is bounded by the budgets of
 * those who ask, so the slab never refuses a slot.
 */
import { MillraceError } from "../errors.js";
import { crc32c } from "../util/crc32c.js";
import type { BlockLease } from "./block-source.js";
import { Segment } from "./segment.js";

/**
 * Slots are runs of 16 KiB: of a 110 KiB object 1.8 % is lost to rounding up. Units of 64 KiB would lose 14 %, more than the tenth of the
 * capacity that may go without data.
 */
export const SLOT_UNIT: number = 16 * 1024;
/**
 * A sixteenth of what there is, between these: a small cache is not rounded up by much, and a large one has not too many to search.
 */
const SEGMENT_BYTES = { share: 1 / 16, least: 16 * 2 ** 20, most: 256 * 2 ** 20 } as const;

export interface SlabStats {
  /** Bytes of all segments: what the slab has taken from the system and keeps. */
  readonly segmentBytes: number;
  /** Bytes of the slots that the memory tier holds, rounding included. */
  readonly tierBytes: number;
  /** Bytes of the slots that are leased or being filled and held by no tier, rounding included. */
  readonly workingBytes: number;
  /** Largest `workingBytes` so far. */
  readonly workingPeakBytes: number;
  /** Bytes lost to rounding in the slots that are taken now. */
  readonly wasteBytes: number;
  /** Slots taken now. */
  readonly slots: number;
  /** Segments added although enough units were free, for want of a run long enough. */
  readonly fragmentedSegments: number;
}

/** Memory of one block or part of one. Counted: freed when the last holder has released it. */
export class Slot {
  readonly bytes: Uint8Array;
  /** What it takes of the slab, rounding included. */
  readonly cost: number;
  /** Some of its memory was never used: the system makes its pages when it is first written to. */
  readonly fresh: boolean;
  readonly #free: (slot: Slot) => void;
  readonly #watchers: (() => void)[] = [];
  #holders = 1;
  #checksum: number | undefined;

  constructor(bytes: Uint8Array, cost: number, fresh: boolean, free: (slot: Slot) => void) {
    this.bytes = bytes;
    this.cost = cost;
    this.fresh = fresh;
    this.#free = free;
  }

  /** crc32c of its bytes, which must be there. Worked out once: nobody writes to a block that has come, but to a reader's own memory its reader may. */
  get checksum(): number {
    if (this.borrowed) return crc32c(this.bytes);
    this.#checksum ??= crc32c(this.bytes);
    return this.#checksum;
  }

  /** Its bytes are a reader's own: who else wants them, or wants to keep them, needs a copy. */
  get borrowed(): boolean {
    return this.cost === 0;
  }

  retain(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders !== 0) return;
    this.#free(this);
    for (const freed of this.#watchers) freed();
  }

  /** Calls `freed` when the last holder has released it: for those who know of it without holding it. */
  watch(freed: () => void): void {
    this.#watchers.push(freed);
  }

  /** A lease of the whole slot, whose first byte lies at `begin` in the object. */
  lease(begin: number): SlotLease {
    this.#holders++;
    return new SlotLease(this, begin);
  }
}

/** A BlockLease on a slot of the slab. */
export class SlotLease implements BlockLease {
  readonly begin: number;
  readonly bytes: Uint8Array;
  readonly slot: Slot;
  #held = true;

  constructor(slot: Slot, begin: number) {
    this.slot = slot;
    this.begin = begin;
    this.bytes = slot.bytes;
  }

  get checksum(): number {
    return this.slot.checksum;
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.slot.release();
  }
}

/** A slot in a reader's own memory, which takes nothing of the slab. */
export function borrowedSlot(bytes: Uint8Array): Slot {
  return new Slot(bytes, 0, false, () => {});
}

/** What a slot of `length` bytes takes of the slab. */
export function slotCost(length: number): number {
  return Math.ceil(length / SLOT_UNIT) * SLOT_UNIT;
}

export class Slab {
  readonly #segments: Segment[] = [];
  readonly #leastSegment: number;
  #taken = 0;
  #tier = 0;
  #waste = 0;
  #slots = 0;
  #workingPeak = 0;
  #fragmented = 0;

  /** `leastSegment`: smaller only in tests. */
  constructor(leastSegment: number = SEGMENT_BYTES.least) {
    this.#leastSegment = leastSegment;
  }

  /** A slot of `length` bytes with one holder, in the working account. Its bytes are whatever was there before. */
  allocate(length: number): Slot {
    const units = Math.ceil(length / SLOT_UNIT);
    for (const segment of this.#segments) {
      const first = segment.take(units);
      if (first !== -1) return this.#slot(segment, first, length);
    }
    const segment = this.#grow(units);
    return this.#slot(segment, segment.take(units), length);
  }

  /**
   * Slots for consecutive pieces of an object, all but the first and the last of whole units. Where a free run is long enough they lie one behind the other, so that a record across two of them
   * is read where it lies: joining copies of them took 2 % of an epoch's time.
   */
  allocateRun(lengths: readonly number[]): Slot[] {
    const units = lengths.reduce((sum, length) => sum + Math.ceil(length / SLOT_UNIT), 0);
    for (const segment of this.#segments) {
      const first = segment.take(units);
      if (first !== -1) return this.#run(segment, first, lengths);
    }
    if (this.#segmentBytes() - this.#taken >= units * SLOT_UNIT) return this.#scattered(lengths);
    const segment = this.#grow(units);
    return this.#run(segment, segment.take(units), lengths);
  }

  /** Moves a slot from the working account to the memory tier's. */
  enterTier(slot: Slot): void {
    this.#tier += slot.cost;
  }

  /** Moves a slot from the memory tier's account back to the working one. */
  leaveTier(slot: Slot): void {
    this.#tier -= slot.cost;
    this.#workingPeak = Math.max(this.#workingPeak, this.#taken - this.#tier);
  }

  stats(): SlabStats {
    return {
      segmentBytes: this.#segmentBytes(),
      tierBytes: this.#tier,
      workingBytes: this.#taken - this.#tier,
      workingPeakBytes: this.#workingPeak,
      wasteBytes: this.#waste,
      slots: this.#slots,
      fragmentedSegments: this.#fragmented,
    };
  }

  /** Slots wherever there is room. */
  #scattered(lengths: readonly number[]): Slot[] {
    const slots: Slot[] = [];
    try {
      for (const length of lengths) slots.push(this.allocate(length));
      return slots;
    } catch (error) {
      for (const slot of slots) slot.release();
      throw error;
    }
  }

  /** The first slot ends with its last unit, the others begin with their first: between them nothing is lost to rounding. */
  #run(segment: Segment, first: number, lengths: readonly number[]): Slot[] {
    let at = first;
    return lengths.map((length, i) => {
      const slot = this.#slot(segment, at, length, i === 0 ? slotCost(length) - length : 0);
      at += slot.cost / SLOT_UNIT;
      return slot;
    });
  }

  /** `skip`: bytes before the slot's in its first unit. */
  #slot(segment: Segment, first: number, length: number, skip = 0): Slot {
    const cost = slotCost(length);
    this.#taken += cost;
    this.#waste += cost - length;
    this.#slots++;
    this.#workingPeak = Math.max(this.#workingPeak, this.#taken - this.#tier);
    return new Slot(segment.view(first, skip, length), cost, segment.use(first, cost / SLOT_UNIT), () => {
      this.#taken -= cost;
      this.#waste -= cost - length;
      this.#slots--;
      segment.give(first, cost / SLOT_UNIT);
    });
  }

  #segmentBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  #grow(units: number): Segment {
    const total = this.#segmentBytes();
    const share = Math.min(SEGMENT_BYTES.most, Math.floor((total * SEGMENT_BYTES.share) / SLOT_UNIT) * SLOT_UNIT);
    const bytes = Math.max(this.#leastSegment, share, units * SLOT_UNIT);
    if (total - this.#taken >= units * SLOT_UNIT) this.#fragmented++;
    try {
      const segment = new Segment(bytes / SLOT_UNIT, SLOT_UNIT);
      this.#segments.push(segment);
      return segment;
    } catch (cause) {
      throw new MillraceError("MILLRACE_NO_SPACE", `No memory for another ${bytes} bytes of blocks; lower cache.memory`, { cause });
    }
  }
}
