/**
 * Room for the copies that memory keeps of what comes to a reader's own memory. Taken when the bytes are asked for, so that its pages are made by
 * another thread while they come: else they are made by the one that reads the sockets, which costs it more than all else it does.
 */
import type { Destination } from "../blocks/block-source.js";
import type { Slab, Slot } from "../blocks/slab.js";
import { placeIn } from "../blocks/span-slots.js";
import { adjoinAll } from "../util/adjoin.js";
import { touchMemory } from "../util/touch-memory.js";
import type { Wanted } from "./load-job.js";

export class CopySlots {
  /** Nobody may write to the slots before. Never rejects. */
  readonly touched: Promise<unknown>;
  readonly #slots = new Map<Wanted, Slot>();

  /** For what memory has promised room for and has a place in `into`. Throws MILLRACE_NO_SPACE. */
  constructor(slab: Slab, into: Destination | undefined, wanted: readonly Wanted[]) {
    const copied = wanted.filter(({ placement, begin, end }) => placement?.memory === true && placeIn(into, begin, end) !== undefined);
    const slots = copied.length === 0 ? [] : slab.allocateRun(copied.map(({ begin, end }) => end - begin));
    for (const [i, one] of copied.entries()) this.#slots.set(one, slots[i]!);
    this.touched = Promise.all(adjoinAll(slots.flatMap(({ fresh, bytes }) => (fresh ? [bytes] : []))).map(touchMemory));
  }

  of(one: Wanted): Slot | undefined {
    return this.#slots.get(one);
  }

  /** Slots that nobody else holds are free then. A second call does nothing. */
  async release(): Promise<void> {
    await this.touched;
    for (const slot of this.#slots.values()) slot.release();
    this.#slots.clear();
  }
}
