import { ChunkWindow, type EpochSequence, type OrderWindow, type Piece } from "./order-window.js";
import { PURPOSE, permutation } from "./prp.js";
import { type Slots, shuffledSlots } from "./slots.js";
import type { OrderSpec } from "./spec.js";
import { laneStart, staggeredFirstWindows } from "./stagger.js";

/** What does not change of a lane through the epoch. */
interface Lane {
  /** Its samples are those at offsets `begin` … `end` of the slots laid end to end. */
  readonly begin: number;
  readonly end: number;
  readonly firstSlot: number;
  /** Slots of its first window; the others have `windowChunks`. */
  readonly firstWindowSlots: number;
}

/** Chunks in random order, cut into lanes, each lane shuffled window by window. O(lanes) memory beside the slots. */
export class WindowOrder implements EpochSequence {
  readonly #spec: OrderSpec;
  readonly #epoch: number;
  readonly #slots: Slots;
  readonly #lanes: readonly Lane[];
  /** The window last asked for of each lane: in-order callers ask for its next sample, `lanes` positions on. */
  readonly #open: (OrderWindow | undefined)[];

  constructor(spec: OrderSpec, epoch: number) {
    this.#spec = spec;
    this.#epoch = epoch;
    this.#slots = shuffledSlots(spec.chunks, spec.seed, epoch);
    this.#lanes = layLanes(spec, this.#slots);
    this.#open = this.#lanes.map(() => undefined);
  }

  sampleAt(position: number): number {
    const lanes = this.#spec.lanes;
    const lane = position % lanes;
    let window = this.#open[lane];
    let i = window === undefined ? -1 : (position - window.firstPosition) / lanes;
    if (window === undefined || i < 0 || i >= window.size) {
      window = this.#windowAt(lane, Math.floor(position / lanes));
      this.#open[lane] = window;
      i = (position - window.firstPosition) / lanes;
    }
    return window.sampleAt(i);
  }

  *windows(fromPosition: number): Generator<OrderWindow, void, undefined> {
    const lanes = this.#spec.lanes;
    /** For each lane, the first position not yet covered: the least of them says which window is needed next. */
    const next = this.#lanes.map((_, lane) => lane + Math.max(0, Math.ceil((fromPosition - lane) / lanes)) * lanes);
    while (next.length > 0) {
      let lane = 0;
      for (let l = 1; l < next.length; l++) if (next[l]! < next[lane]!) lane = l;
      if (next[lane]! >= this.#spec.chunks.sampleCount) return; // lanes end within one round of positions
      const window = this.#windowAt(lane, Math.floor(next[lane]! / lanes));
      next[lane] = window.firstPosition + window.size * lanes;
      yield window;
    }
  }

  /** The window that holds the lane's `i`-th sample. */
  #windowAt(laneNumber: number, i: number): OrderWindow {
    const { seed, windowChunks, lanes, chunks } = this.#spec;
    const lane = this.#lanes[laneNumber]!;
    const slot = this.#slots.of(lane.begin + i) - lane.firstSlot;
    const number = slot < lane.firstWindowSlots ? 0 : 1 + Math.floor((slot - lane.firstWindowSlots) / windowChunks);
    const beginSlot = lane.firstSlot + (number === 0 ? 0 : lane.firstWindowSlots + (number - 1) * windowChunks);
    const endSlot = Math.min(this.#slots.count, lane.firstSlot + lane.firstWindowSlots + number * windowChunks);
    const begin = Math.max(lane.begin, this.#slots.start(beginSlot));
    const pieces: Piece[] = [];
    let offset = begin;
    for (let s = beginSlot; s < endSlot && offset < lane.end; s++) {
      const end = Math.min(lane.end, this.#slots.start(s + 1));
      if (end > offset) pieces.push({ first: chunks.first(this.#slots.chunk(s)) + offset - this.#slots.start(s), count: end - offset });
      offset = end;
    }
    const place = { lane: laneNumber, lanes, firstPosition: laneNumber + (begin - lane.begin) * lanes };
    const shuffle = permutation(offset - begin, [seed, this.#epoch, PURPOSE.window, laneNumber, number]);
    return new ChunkWindow(place, pieces, offset - begin, shuffle);
  }
}

/** A lane exists only as far as it has positions: with fewer samples than lanes, there are as many lanes as samples. */
function layLanes({ chunks, lanes, windowChunks }: OrderSpec, slots: Slots): Lane[] {
  const bounds = Array.from({ length: Math.min(lanes, chunks.sampleCount) }, (_, lane) => {
    const begin = laneStart(chunks.sampleCount, lanes, lane);
    return { begin, end: laneStart(chunks.sampleCount, lanes, lane + 1), firstSlot: slots.of(begin) };
  });
  const first = staggeredFirstWindows(
    bounds.map(({ begin, firstSlot }) => slots.start(firstSlot + 1) - begin),
    windowChunks,
  );
  return bounds.map((bound, lane) => ({ ...bound, firstWindowSlots: first[lane]! }));
}
